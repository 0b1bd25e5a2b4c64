"""Rewritten graphs against ONNX Runtime's answer to the graph as it was."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

openvino = pytest.importorskip("openvino")

from polypseg.predict.engines.openvino_graph import (  # noqa: E402
    LARGEST_HALF,
    enlarging_matrix,
    joined_kernel,
    kernel_halves,
    speed_up,
)

NOTHING = {"upsampling": 0, "enlargement": 0, "rounding": 0, "halves": 0}


def noise(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def graph(nodes, inputs, outputs, weights):
    def described(shapes):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    made = helper.make_graph(
        nodes,
        "small",
        described(inputs),
        described(outputs),
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def rewritten_and_expected(content, **inputs):
    """Counts of rewritten places, OpenVINO's answer after them, ONNX Runtime's without."""
    core = openvino.Core()
    model = core.read_model(content)
    counts = speed_up(model)
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return counts, compiled(inputs)[0], session.run(None, inputs)[0]


def decoder_level(strides=(1, 1), batch="N"):
    """3 channels of skip, 4 coarse ones upsampled to 2, joined and convolved to 5; 6x10 pixels."""
    size = (6, 10) if strides == (1, 1) else (3, 5)
    nodes = [
        helper.make_node("ConvTranspose", ["coarse", "k", "kb"], ["up"], "up", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Concat", ["skip", "up"], ["joined"], "join", axis=1),
        helper.make_node("Conv", ["joined", "w", "wb"], ["z"], "conv", pads=[1, 1, 1, 1], strides=list(strides)),
        helper.make_node("Relu", ["z"], ["y"], "relu"),
    ]
    weights = {"k": noise(4, 2, 2, 2), "kb": noise(2) + 3, "w": noise(5, 5, 3, 3), "wb": noise(5)}
    inputs = {"skip": [batch, 3, 6, 10], "coarse": [batch, 4, 3, 5]}
    return graph(nodes, inputs, {"y": [batch, 5, *size]}, weights)


def test_a_kind_that_is_left_out_stays_as_it_was():
    core = openvino.Core()
    assert speed_up(core.read_model(decoder_level()), ("upsampling",)) == NOTHING
    assert speed_up(core.read_model(decoder_level()), ("halves",)) == NOTHING | {"upsampling": 1}


def test_joined_kernel_by_hand():
    # One channel each, upsampling by ones: element (t, s) sums the 3x3 kernel's elements d with r - d + 2 = t. Of
    # w = e(0, 0) that is r + 2 = t: the lower right 2x2. The bias 5 of the upsampled map stands in the last row.
    kernel = joined_kernel(
        np.ones((1, 1, 2, 2), np.float32),
        np.array([5.0], np.float32),
        np.eye(9, dtype=np.float32)[0].reshape(1, 1, 3, 3),
    )
    corner = np.zeros((4, 4))
    corner[2:, 2:] = 1
    np.testing.assert_array_equal(kernel[:, 0], [corner, 5 * corner])


def test_upsampling_is_joined_and_says_the_same_to_the_border():
    counts, given, expected = rewritten_and_expected(decoder_level(), skip=noise(2, 3, 6, 10), coarse=noise(2, 4, 3, 5))
    assert counts == {**NOTHING, "upsampling": 1}
    np.testing.assert_allclose(given, expected, atol=2e-5)


def test_upsampling_before_a_convolution_of_another_stride_is_left_alone():
    counts, given, expected = rewritten_and_expected(
        decoder_level(strides=(2, 2)), skip=noise(1, 3, 6, 10), coarse=noise(1, 4, 3, 5)
    )
    assert counts == NOTHING
    np.testing.assert_allclose(given, expected, atol=2e-5)


def enlargement(channels, mode="half_pixel"):
    node = helper.make_node(
        "Resize", ["x", "", "scales"], ["y"], "resize", mode="linear", coordinate_transformation_mode=mode
    )
    weights = {"scales": np.array([1, 1, 2, 2], np.float32)}
    return graph([node], {"x": ["N", channels, 3, 5]}, {"y": ["N", channels, 6, 10]}, weights)


@pytest.mark.parametrize(
    ("channels", "mode", "count"), [(1, "half_pixel", 1), (2, "half_pixel", 0), (1, "asymmetric", 0)]
)
def test_a_single_channel_is_enlarged_by_products(channels, mode, count):
    counts, given, expected = rewritten_and_expected(enlargement(channels, mode), x=noise(2, channels, 3, 5))
    assert counts == {**NOTHING, "enlargement": count}
    np.testing.assert_allclose(given, expected, atol=1e-6)


def test_enlarging_matrix_keeps_a_constant_map():
    np.testing.assert_allclose(enlarging_matrix(5, 15).sum(1), 1, atol=1e-6)


def rounded(last):
    """A convolution whose values are rounded to steps of 1/4 from -32 on, and then `last`."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["z"], "conv"),
        helper.make_node("QuantizeLinear", ["z", "scale", "zero"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], "d"),
        helper.make_node(last, ["d"], ["y"], "last"),
    ]
    weights = {"w": noise(1, 2, 1, 1), "b": noise(1), "scale": np.float32(0.25), "zero": np.uint8(128)}
    return graph(nodes, {"x": ["N", 2, 3, 3]}, {"y": ["N", 1, 3, 3]}, weights)


def test_logits_are_not_rounded_before_a_sigmoid():
    x = noise(1, 2, 3, 3)
    counts, given, _ = rewritten_and_expected(rounded("Sigmoid"), x=x)
    logits = np.einsum("nchw,oc->nohw", x, noise(1, 2, 1, 1)[..., 0, 0]) + noise(1)
    assert counts == {**NOTHING, "rounding": 1}
    np.testing.assert_allclose(given, 1 / (1 + np.exp(-logits)), atol=1e-6)


def test_what_goes_on_in_eight_bits_stays_rounded():
    counts, given, expected = rewritten_and_expected(rounded("Neg"), x=noise(1, 2, 3, 3))
    assert counts == NOTHING
    np.testing.assert_allclose(given, expected, atol=1e-6)
    assert np.all(given % 0.25 == 0)


def test_kernel_halves_by_hand():
    # Outputs of one input each: 100 gives steps of 100/64 and of 100/64/128. 37 is 23.68 of the first: 24, which leaves
    # -0.5 = -40.96 of the second: -41. A channel of zeros is two of zeros.
    (coarse, step), (left, finer) = kernel_halves(np.float32([[[[100, 37]]], [[[0, 0]]]]))
    np.testing.assert_array_equal(coarse[:, 0, 0], [[64, 24], [0, 0]])
    np.testing.assert_array_equal(left[:, 0, 0], [[0, -41], [0, 0]])
    np.testing.assert_array_equal(step[0], [[[1.5625]]])
    np.testing.assert_array_equal(finer[0], [[[0.01220703125]]])


def test_kernel_halves_sum_to_the_kernel_and_cannot_leave_16_bits():
    kernel = noise(40, 30, 3, 3)
    halves = kernel_halves(kernel)
    largest = np.abs(kernel).max(axis=(1, 2, 3), keepdims=True)
    assert np.all(np.abs(sum(step * whole for whole, step in halves) - kernel) <= largest / 16384 * 1.01)
    assert max(np.abs(whole.astype(int)).max() for whole, _ in halves) == LARGEST_HALF
    assert 2 * 255 * LARGEST_HALF < 2**15


def convolution_after(rounding, kernel=3):
    """3 channels, rounded to steps of 1/4 from -32 on or not, and a convolution in float to 5."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], "d"),
    ]
    last = helper.make_node(
        "Conv", ["d" if rounding else "x", "w", "b"], ["y"], "conv", pads=[kernel // 2] * 4, strides=[2, 2]
    )
    weights = {"w": noise(5, 3, kernel, kernel), "b": noise(5)}
    if rounding:
        weights |= {"scale": np.float32(0.25), "zero": np.uint8(128)}
    given = [*nodes, last] if rounding else [last]
    return graph(given, {"x": ["N", 3, 6, 8]}, {"y": ["N", 5, 3, 4]}, weights)


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_convolution_of_eight_bits_is_the_sum_of_two_in_integers(kernel):
    x = 20 * noise(2, 3, 6, 8)
    counts, given, expected = rewritten_and_expected(convolution_after(rounding=True, kernel=kernel), x=x)
    assert counts == {**NOTHING, "halves": 1}
    np.testing.assert_allclose(given, expected, atol=np.abs(expected).max() * 2e-4)


def test_a_convolution_of_floats_stays_one():
    counts, given, expected = rewritten_and_expected(convolution_after(rounding=False), x=noise(1, 3, 6, 8))
    assert counts == NOTHING
    np.testing.assert_allclose(given, expected, atol=1e-5)
