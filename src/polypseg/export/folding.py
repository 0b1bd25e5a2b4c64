"""Batch normalisation folded into the convolution before it, where tf2onnx leaves it.

tf2onnx folds it where nothing stands between. Behind a convolution of one channel it leaves two reshapes there, which
`graph.convert` takes out.
"""

from typing import Any

import numpy as np


def fold_normalisations(graph: Any) -> None:
    """Fold each batch normalisation that directly follows a convolution with nothing else behind it, in place."""
    from onnx import helper, numpy_helper

    stored = {value.name: value for value in graph.graph.initializer}
    makers = {name: node for node in graph.graph.node for name in node.output}
    uses = [name for node in graph.graph.node for name in node.input] + [value.name for value in graph.graph.output]
    for node in [node for node in graph.graph.node if node.op_type == "BatchNormalization"]:
        before = makers.get(node.input[0])
        if before is None or before.op_type != "Conv" or uses.count(node.input[0]) != 1:
            continue
        if any(name not in stored for name in (*before.input[1:], *node.input[1:])):
            continue
        scale, offset, mean, variance = (numpy_helper.to_array(stored[name]) for name in node.input[1:])
        epsilon = next((helper.get_attribute_value(a) for a in node.attribute if a.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        kernel = numpy_helper.to_array(stored[before.input[1]]) * factor[:, None, None, None]
        bias = numpy_helper.to_array(stored[before.input[2]]) if len(before.input) > 2 else np.zeros_like(mean)
        folded = {"weights": kernel, "bias": (bias - mean) * factor + offset}
        names = {what: f"{before.name}_{what}_fused_bn" for what in folded}  # as tf2onnx names them
        for what, value in folded.items():
            graph.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), names[what]))
        del before.input[1:]
        before.input.extend([names["weights"], names["bias"]])
        before.output[0] = node.output[0]
        graph.graph.node.remove(node)
