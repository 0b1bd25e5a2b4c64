"""A model small enough to follow by hand, as an exported file."""

import threading

import numpy as np
from onnx import TensorProto, helper

from polypseg.predict.engines.model_file import write_model_file
from polypseg.records.model_facts import ModelFacts

SIZE = 16


def write_red_model(path, attention=True, size=SIZE, **facts):
    """The probability is the image's red, the coefficient of gate 1 its green, of gate 2 its blue at half the size."""
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", size, size, 3])]
    outputs = [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N", size, size, 1])]
    nodes = [helper.make_node("Split", ["image"], ["probability", "attention_1", "blue"], axis=3, num_outputs=3)]
    if attention:
        half = size // 2
        outputs.append(helper.make_tensor_value_info("attention_1", TensorProto.FLOAT, ["N", size, size, 1]))
        outputs.append(helper.make_tensor_value_info("attention_2", TensorProto.FLOAT, ["N", half, half, 1]))
        nodes += [
            helper.make_node("Transpose", ["blue"], ["blue_first"], perm=[0, 3, 1, 2]),
            helper.make_node("MaxPool", ["blue_first"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Transpose", ["pooled"], ["attention_2"], perm=[0, 2, 3, 1]),
        ]
    graph = helper.make_graph(nodes, "red", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    levels = (1, 2) if attention else ()
    known = {"size": size, "name": "red", "version": "1.0", "attention_levels": levels} | facts
    write_model_file(path, model.SerializeToString(), ModelFacts(**known))
    return path


class GatedEngine:
    """Probability is red, as above; each run waits until `gate` is set, and is counted."""

    name, threshold = "gated", 0.5

    def __init__(self, size=SIZE):
        self.size, self.facts = size, ModelFacts(size=size, name="gated")
        self.gate, self.batches = threading.Event(), []

    def run(self, batch):
        if self.batches:  # the first run is the server's own, to warm up
            assert self.gate.wait(30)
        self.batches.append(len(batch))
        return np.ascontiguousarray(batch[..., :1])
