"""A small graph of integers, written by hand: two convolutions, whose weights may let sums saturate."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SIZE = 12


def integer_graph(first, second, size=SIZE):
    """image -> 8 bits -> 3x3 convolution of stride 2 -> 8 bits (a ReLU) -> transposed 2x2 one -> sigmoid.

    Args:
        first: int8, (C, 3, 3, 3).
        second: int8, (C, 1, 2, 2).
        size: Of the image.
    """
    stored = []

    def keep(name, values, kind=np.float32):
        stored.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def rounded(name, source, step, zero):
        parts = [keep(f"{name}_step", step), keep(f"{name}_zero", zero, np.uint8)]
        return [
            helper.make_node("QuantizeLinear", [source, *parts], [f"{name}_q"], name=f"{name}_q"),
            helper.make_node("DequantizeLinear", [f"{name}_q", *parts], [name], name=f"{name}_dq"),
        ]

    def weights(name, values, axis):
        parts = [keep(f"{name}_q", values, np.int8), keep(f"{name}_step", np.full(values.shape[axis], 0.01))]
        parts.append(keep(f"{name}_zero", np.zeros(values.shape[axis]), np.int8))
        return helper.make_node("DequantizeLinear", parts, [name], name=name, axis=axis)

    def bias(name, steps):
        parts = [keep(f"{name}_q", np.arange(len(steps)) * 10, np.int32), keep(f"{name}_step", steps)]
        return helper.make_node("DequantizeLinear", parts, [name], name=name, axis=0)

    nodes = [
        helper.make_node("Transpose", ["image"], ["first"], name="first", perm=[0, 3, 1, 2]),
        *rounded("seen", "first", 1 / 255, 0),
        weights("w1", first, 0),
        bias("b1", np.full(len(first), 0.01 / 255, np.float32)),
        helper.make_node("Conv", ["seen", "w1", "b1"], ["c1"], name="conv", strides=[2, 2], pads=[0, 0, 1, 1]),
        *rounded("between", "c1", 0.02, 0),
        weights("w2", second, 1),
        helper.make_node("ConvTranspose", ["between", "w2"], ["c2"], name="up", strides=[2, 2]),
        helper.make_node("Sigmoid", ["c2"], ["s"], name="s"),
        helper.make_node("Transpose", ["s"], ["probability"], name="last", perm=[0, 2, 3, 1]),
    ]
    values = [("image", 3), ("probability", 1)]
    given, answer = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", size, size, c]) for n, c in values)
    graph = helper.make_graph(nodes, "integers", [given], [answer], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def weights_of(largest, seed=0, channels=5):
    """Two arrays of weights up to that size."""
    generator = np.random.default_rng(seed)
    first = generator.integers(-largest, largest + 1, (channels, 3, 3, 3))
    second = generator.integers(-largest, largest + 1, (channels, 1, 2, 2))
    return first.astype(np.int8), second.astype(np.int8)


def squares(count=3, size=SIZE, seed=1):
    return list(np.random.default_rng(seed).integers(0, 256, (count, size, size, 3)).astype(np.uint8))
