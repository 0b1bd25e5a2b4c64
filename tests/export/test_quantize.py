from collections import Counter

import numpy as np
import onnx
import pytest

from export.models import SIDE, small_attention_unet, small_polyp_lite
from export.test_graph import answers, noise
from polypseg.errors import MissingExtraError
from polypseg.export import quantize
from polypseg.export.graph import convert
from polypseg.export.quantize import (
    first_block,
    kept_in_float,
    last_convolution,
    methods,
    processor_seconds,
    quantise,
    variants,
)


@pytest.fixture(scope="module")
def graph():
    return convert(small_attention_unet())


@pytest.fixture(scope="module")
def squares():
    return list(np.random.default_rng(2).integers(0, 256, (6, SIDE, SIDE, 3), np.uint8))


def float_inputs(graph, name):
    """How many of a node's inputs do not come from a DequantizeLinear."""
    makers = {output: node.op_type for node in graph.graph.node for output in node.output}
    node = next(node for node in graph.graph.node if node.name == name)
    return sum(makers.get(value) != "DequantizeLinear" for value in node.input)


def test_sigmoids_and_what_follows_the_last_convolution_stay_in_float(graph):
    kept = kept_in_float(graph)
    kinds = Counter(node.op_type for node in graph.graph.node if node.name in kept)
    assert kinds["Sigmoid"] == 3
    assert set(kinds) <= {"Sigmoid", "Reshape", "Transpose"}
    assert "head_logits" in next(n.input[1] for n in graph.graph.node if n.name == last_convolution(graph))


def test_later_variants_keep_more_in_float_than_the_first(graph):
    (_, first), (_, second), (_, third) = variants(graph)
    assert set(first) < set(second)
    added = [node.op_type for node in graph.graph.node if node.name in set(second) - set(first)]
    assert added == ["Conv", "Conv"]
    # Of 17 convolutions and 2 transposed ones those up to place int(0.4 * 19) = 7: eight of them
    early = [node.op_type for node in graph.graph.node if node.name in set(third) - set(first)]
    assert sum(kind in ("Conv", "ConvTranspose") for kind in early) == 8


def test_first_block_of_a_network_with_bottlenecks_stays_in_float_with_its_readers(squares):
    graph = convert(small_polyp_lite())
    convolutions = [node.name for node in graph.graph.node if node.op_type == "Conv"]
    block = first_block(graph)
    # Stem, depthwise and 1x1 convolution; then what reads the block: the next expansion, and the gate with its product
    stays = [name for name in convolutions if name in block]
    assert [name.split("/")[1].removesuffix("_convolution_1") for name in stays] == [
        "encoder_stem",
        "encoder_block_1_depthwise",
        "encoder_block_1_project",
        "gate_1_theta_1",
        "encoder_block_2_expand",
    ]
    assert sum("gate_1_gated" in name for name in block) == 1

    (words, in_float), *_ = variants(graph)
    assert words == "sigmoids and the first block in float"
    assert set(in_float) == set(block) | set(kept_in_float(graph))
    quantised = quantise(
        graph, [np.kron(square, np.ones((2, 2, 1), np.uint8)) for square in squares], "onnxruntime", in_float
    )
    assert [float_inputs(quantised, name) for name in stays] == [3] * 5
    assert float_inputs(quantised, convolutions[convolutions.index(stays[-1]) + 1]) == 0


def test_network_without_bottlenecks_has_no_such_block(graph):
    assert first_block(graph) == []
    assert next(variants(graph)) == ("sigmoids in float", kept_in_float(graph))


@pytest.mark.parametrize("method", ["onnxruntime", "nncf"])
def test_quantised_graph_is_near_its_source_and_holds_integers(graph, squares, method):
    if method == "nncf":
        pytest.importorskip("nncf")
    quantised = quantise(graph, squares, method, kept_in_float(graph))
    kinds = Counter(node.op_type for node in quantised.graph.node)
    assert kinds["QuantizeLinear"] > 10
    assert {entry.domain for entry in quantised.opset_import} == {""}
    assert not quantised.metadata_props
    image = squares[0][None].astype(np.float32) / 255
    whole, eight = answers(graph, image)[0], answers(quantised, image)[0]
    assert 0 < np.abs(whole - eight).mean() < 0.03


def test_weights_have_a_scale_for_each_channel(graph, squares):
    quantised = quantise(graph, squares, "onnxruntime", [])
    scales = [w for w in quantised.graph.initializer if w.name.endswith("_scale") and list(w.dims) == [4]]
    assert scales
    assert any(w.data_type == onnx.TensorProto.INT8 and len(w.dims) == 4 for w in quantised.graph.initializer)


def test_what_is_kept_in_float_stays_there(graph, squares):
    last = last_convolution(graph)
    assert float_inputs(quantise(graph, squares, "onnxruntime", []), last) == 0
    # Kernel and bias; the features still come from an integer convolution
    assert float_inputs(quantise(graph, squares, "onnxruntime", [last]), last) == 2


def test_other_calibration_images_give_other_ranges(graph, squares):
    dark = [square // 8 for square in squares]
    image = noise(1, SIDE, SIDE, 3)
    bright = answers(quantise(graph, squares, "onnxruntime", []), image)[0]
    assert np.abs(bright - answers(quantise(graph, dark, "onnxruntime", []), image)[0]).max() > 1e-3


def test_auto_tries_what_is_installed(monkeypatch):
    assert methods("onnxruntime") == ["onnxruntime"]
    monkeypatch.setattr(quantize, "find_spec", lambda name: object())
    assert methods("auto") == ["onnxruntime", "nncf"]
    monkeypatch.setattr(quantize, "find_spec", lambda name: None)
    assert methods("auto") == ["onnxruntime"]
    with pytest.raises(MissingExtraError, match=r'pip install "polypseg\[export\]"'):
        methods("nncf")


def test_processor_time_is_the_least_of_the_runs(monkeypatch):
    class Slow:
        size = 4

        def run(self, batch):
            assert batch.shape == (1, 4, 4, 3)

    # Runs of 3, 1, 2, 2, ... seconds: the least is 1
    times, now = [3, 1, *[2] * 20], [0.0]
    readings = []
    for taken in times:
        readings += [now[0], now[0] + taken]
        now[0] += taken
    monkeypatch.setattr(quantize, "process_time", iter(readings).__next__)
    assert processor_seconds(Slow()) == 1
