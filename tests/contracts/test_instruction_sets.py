"""What every engine must do on every instruction set: the same int8 file gives the same answer, newer or older."""

import numpy as np
import onnxruntime
import pytest

from export.integer_graph import integer_graph, squares, weights_of
from polypseg.export.float_weights import convolution_weights
from polypseg.export.pair_sums import count_saturating, unsafe_layers
from polypseg.export.proof import proving_engines
from polypseg.export.rounding import round_safely
from polypseg.predict.engines.float_graph import in_float
from polypseg.predict.engines.model_file import write_model_file
from polypseg.preprocess import normalise
from polypseg.records.model_facts import ModelFacts

pytest.importorskip("openvino")

SIZE, CHANNELS = 32, 32
TOLERANCE = 1e-4
"""Mean difference in a probability between any two engines, int8: a step of the rounding here and there."""


def bright(count=2):
    """Images in which many sums of the unsafe weights leave 16 bits."""
    return [np.maximum(square, 160) for square in squares(count, SIZE)]


@pytest.fixture(scope="module")
def unsafe():
    first, second = weights_of(127, channels=CHANNELS)
    first[CHANNELS // 2 :] = np.abs(first[CHANNELS // 2 :])
    return integer_graph(first, (second // 8).astype(np.int8), SIZE)


def in_integers_without_loss(graph, batch):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["probability"], {"image": batch})[0]


def differences(graph, folder):
    """Of each engine on each instruction set of this machine, from what the integers stand for."""
    path = folder / "model.onnx"
    write_model_file(path, graph.SerializeToString(), ModelFacts(size=SIZE, precision="int8"))
    batch = normalise(np.stack(bright()))
    expected = in_integers_without_loss(graph, batch)
    assert expected.std() > 0.05
    with proving_engines(path) as engines:
        return {name: float(np.abs(engine.run(batch) - expected).mean()) for name, engine in engines.items()}


def test_a_safe_file_is_the_same_on_every_instruction_set(unsafe, tmp_path):
    safe = round_safely(unsafe, convolution_weights(in_float(unsafe)), bright(4)).graph
    assert unsafe_layers(safe) == {}
    assert sum(count_saturating(safe, bright()).values()) == 0
    found = differences(safe, tmp_path)
    assert any(name.startswith("openvino") for name in found)
    assert max(found.values()) < TOLERANCE, found


def test_a_file_whose_sums_saturate_shows_it_on_older_processors(unsafe, tmp_path):
    assert count_saturating(unsafe, bright())["conv"] > 1000
    found = differences(unsafe, tmp_path)
    old = {name: value for name, value in found.items() if name == "openvino on AVX2"}
    if not old:
        pytest.skip("no x86 processor with AVX2")
    assert max(old.values()) > 20 * TOLERANCE, found
