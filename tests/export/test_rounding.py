import numpy as np
import onnxruntime
import pytest

from export.integer_graph import integer_graph, squares, weights_of
from polypseg.export.float_weights import convolution_weights, keep_in_float
from polypseg.export.pair_sums import quantised_convolutions, unsafe_layers
from polypseg.export.rounding import layer_statistics, round_rows, round_safely
from polypseg.predict.engines.float_graph import in_float
from polypseg.preprocess import normalise


def answers(graph, images):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["probability"], {"image": normalise(np.stack(images))})[0]


@pytest.fixture(scope="module")
def graph():
    """Weights whose pairs saturate, of a size that leaves the sigmoid its slope."""
    first, second = weights_of(127, seed=3)
    return integer_graph(first, (second // 4).astype(np.int8))


def test_rounded_graph_cannot_saturate_and_is_near(graph):
    assert "conv" in unsafe_layers(graph)
    images = squares(8)
    safe = round_safely(graph, convolution_weights(in_float(graph)), images)
    assert unsafe_layers(safe.graph) == {}
    assert set(safe.losses) == {"conv", "up"}
    assert 0 < max(safe.losses.values()) < 1e-3
    before, after = answers(graph, images), answers(safe.graph, images)
    assert before.std() > 0.02
    assert 0 < np.abs(before - after).mean() < 0.02 * before.std() + 0.002


def test_it_loses_less_than_a_coarser_step_for_all():
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(1, 20, 40))
    rows[0, :, 0] *= 4  # one large weight each, which a common step of seven bits follows
    mixing = generator.normal(size=(40, 40))
    covariance = (mixing @ mixing.T)[None]
    channels = np.arange(20)[None]
    neighbours = np.arange(40).reshape(20, 2)
    found = round_rows(rows, covariance, channels, np.zeros(20), [neighbours])
    steps = np.abs(rows).max(axis=2) / 64
    coarse = np.rint(rows / steps[..., None]) * steps[..., None]

    def loss(values):
        return (((values - rows) @ covariance) * (values - rows)).sum()

    assert loss(found.values * found.steps[..., None]) < 0.5 * loss(coarse)
    sums = found.values[0].reshape(20, 20, 2)
    assert np.maximum(sums, 0).sum(axis=2).max() <= 128
    assert np.minimum(sums, 0).sum(axis=2).min() >= -128
    assert np.abs(found.values).max() <= 127


def test_statistics_are_of_what_a_layer_sees(graph):
    images = squares(4)
    layers = quantised_convolutions(graph)[:1]
    found = layer_statistics(graph, layers, images)["conv"]
    padded = np.pad(np.stack(images).astype(float), ((0, 0), (0, 1), (0, 1), (0, 0)))
    corner = padded[:, 0:12:2, 0:12:2]  # row 0, column 0 of the kernel
    assert found.means[0, :3] == pytest.approx(corner.mean(axis=(0, 1, 2)), rel=1e-5)
    assert found.covariance[0, 1, 1] == pytest.approx(corner[..., 1].var(), rel=1e-4)


def test_float_graph_is_the_quantised_one_without_rounding(graph):
    plain = in_float(graph)
    kinds = {node.op_type for node in plain.graph.node}
    assert not kinds & {"QuantizeLinear", "DequantizeLinear"}
    images = squares(3)
    # Rounding of what lies between moves a sum by half a step (0.01) of each of 5 channels, the answer by a quarter.
    assert 0 < np.abs(answers(graph, images) - answers(plain, images)).max() < 5 * 0.01 * 0.32 / 4 + 1e-3


def test_range_of_eight_bits_stays_a_clip(graph):
    plain = in_float(graph)
    values = {stored.name: stored for stored in plain.graph.initializer}
    import onnx

    low, high = (onnx.numpy_helper.to_array(values[f"between_dq_{end}"]) for end in ("low", "high"))
    assert (float(low), float(high)) == pytest.approx((0, 255 * 0.02))  # the ReLU that was taken out


def test_kept_weights_are_floats_and_the_rest_stays(graph):
    weights = {"conv": convolution_weights(in_float(graph))["conv"]}
    kept = keep_in_float(graph, weights)
    assert [layer.name for layer in quantised_convolutions(kept)] == ["up"]
    assert "w1_q" not in {stored.name for stored in kept.graph.initializer}
    images = squares(2)
    np.testing.assert_allclose(answers(kept, images), answers(graph, images), atol=1e-6)
