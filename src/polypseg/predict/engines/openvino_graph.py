"""An exported graph, rewritten to one that OpenVINO runs faster and that says the same.

Decisions:
- The file stays as it is: ONNX Runtime is slower with the first rewrite (docs/explanation/speed.md). What does not look
  as expected is left alone.
- A transposed 2x2 convolution, joined to a skip and convolved by 3x3, is linear up to there. It becomes the convolution
  of the skip plus one transposed 4x4 convolution of the coarse features: 8 multiplies instead of 11 for each pair of
  channels and pixel, and nothing is joined. The bias of the upsampled half ends where the image ends; a channel of
  ones beside the coarse features says so exactly, at any size.
- A map of one channel is enlarged by two matrix products: OpenVINO's own way of it goes channel by channel.
- A value that is rounded to eight bits only to be used in float, or to be rounded once more after it was joined to
  another, is not rounded: faster, and nearer to the source.
- A convolution in float of values of eight bits becomes the sum of two in integers: its kernel to 6 bits and sign, and
  what that leaves, to as many bits again. Two of them take less time than one in float where the processor multiplies
  8-bit integers fast, and no longer elsewhere; no sum of two products leaves 16 bits on any (export/pair_sums.py).
"""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_HALF = 64
"""Of a half's integers: two of them times 255 fit into 16 bits."""

_ENDS_IN_FLOAT = frozenset({"Sigmoid", "Interpolate", "MatMul"})


def speed_up(model: Any, leave_out: Collection[str] = ()) -> dict[str, int]:
    """How many places were rewritten, by kind; the `openvino.Model` is changed.

    Args:
        model: As OpenVINO read it.
        leave_out: Kinds that are not wanted; for measuring what each of them gains.
    """
    kinds = {
        "upsampling": ("Concat", _join_upsampling),
        "rounding": ("FakeQuantize", _drop_rounding),
        "enlargement": ("Interpolate", _enlarge_by_products),
        "halves": ("Convolution", _convolve_in_halves),
    }
    counts = dict.fromkeys(kinds, 0)
    for node in model.get_ordered_ops():
        for kind, (begins_with, rewrite) in kinds.items():
            if kind not in leave_out and node.get_type_name() == begins_with:
                counts[kind] += rewrite(node)
    model.validate_nodes_and_infer_types()
    return counts


def joined_kernel(
    upsampling: NDArray[np.float32], bias: NDArray[np.float32], convolution: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The kernel (G + 1, C, 4, 4) of the one transposed convolution, stride 2, padding 1; its last row is of ones.

    Coarse place i gives u[2i + r] = k[r] g[i], the convolution y[o] = sum over d of w[d] u[o + d - 1]. So g[i] comes
    into y[o] with w[d] k[r] where r - d = o - 2i - 1, which is element o - 2i + 1 = r - d + 2 of the kernel.

    Args:
        upsampling: Kernel of the transposed convolution, (G, U, 2, 2).
        bias: Of it, (U,).
        convolution: Kernel of the convolution after it, as far as it sees the upsampled half, (C, U, 3, 3).
    """
    ones = np.broadcast_to(bias[None, :, None, None], (1, bias.size, 2, 2))
    whole = np.concatenate([upsampling, ones]).astype(np.float64)
    joined = np.zeros((whole.shape[0], convolution.shape[0], 4, 4))
    turned = convolution[:, :, ::-1, ::-1].astype(np.float64)
    for row in range(2):
        for column in range(2):
            spread = np.tensordot(whole[:, :, row, column], turned, (1, 1))
            joined[:, :, row : row + 3, column : column + 3] += spread
    return joined.astype(np.float32)


def enlarging_matrix(size: int, larger: int) -> NDArray[np.float32]:
    """The matrix (larger, size) that enlarges bilinearly, pixels being areas and edges going on beyond the map.

    >>> enlarging_matrix(2, 4).tolist()
    [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    place = np.clip((np.arange(larger) + 0.5) * size / larger - 0.5, 0, size - 1)
    distance = np.abs(place[:, None] - np.arange(size))
    return np.asarray(np.maximum(1 - distance, 0), np.float32)


def kernel_halves(kernel: NDArray[np.float32]) -> list[tuple[NDArray[np.int8], NDArray[np.float32]]]:
    """Integers and their step of two kernels whose sum is within 1/16384 of the largest weight of an output channel.

    >>> [(whole.ravel().tolist(), step.item()) for whole, step in kernel_halves(np.float32([[[[32.25, -64]]]]))]
    [([32, -64], 1.0), ([32, 0], 0.0078125)]

    Args:
        kernel: Shape (outputs, inputs, rows, columns).
    """
    largest = np.abs(kernel).max(axis=(1, 2, 3), keepdims=True).astype(np.float64)
    step = np.where(largest > 0, largest, 1) / LARGEST_HALF
    coarse = np.rint(kernel / step)
    finer = step / (2 * LARGEST_HALF)
    left = np.rint((kernel - step * coarse) / finer)
    return [(coarse.astype(np.int8), step.astype(np.float32)), (left.astype(np.int8), finer.astype(np.float32))]


def _convolve_in_halves(node: Any) -> bool:
    import openvino.opset13 as ov

    kernel, given = _values(node.input_value(1)), node.input_value(0)
    if kernel is None or not _is_of_eight_bits(given.get_node()):
        return False
    places = (node.get_attributes()[name] for name in ("strides", "pads_begin", "pads_end", "dilations"))
    strides, begin, end, dilations = ([int(number) for number in found] for found in places)
    coarse, left = (
        ov.convolution(given, ov.multiply(ov.convert(whole, "f32"), step), strides, begin, end, dilations)
        for whole, step in kernel_halves(kernel)
    )
    node.output(0).replace(ov.add(coarse, left).output(0))
    return True


def _is_of_eight_bits(node: Any) -> bool:
    """Whether a node ends the rounding of a value to eight bits."""
    for kind in ("Multiply", "Subtract", "Convert", "Convert"):
        if node.get_type_name() != kind:
            return False
        node = node.input_value(0).get_node()
    return str(node.get_type_name()) == "FakeQuantize"


def _join_upsampling(concatenation: Any) -> bool:
    import openvino.opset13 as ov

    convolution = _only_user(concatenation)
    if not _is(convolution, "Convolution", strides=[1, 1], pads_begin=[1, 1], pads_end=[1, 1], dilations=[1, 1]):
        return False
    if len(concatenation.inputs()) != 2 or concatenation.get_attributes()["axis"] not in (1, -3):
        return False
    skip, upsampled = (place.get_source_output() for place in concatenation.inputs())
    transposed, bias = _without_bias(upsampled.get_node())
    if not _is(transposed, "ConvolutionBackpropData", strides=[2, 2], pads_begin=[0, 0], pads_end=[0, 0]):
        return False
    kernel, upsampling = _values(convolution.input_value(1)), _values(transposed.input_value(1))
    if kernel is None or upsampling is None or kernel.shape[2:] != (3, 3) or upsampling.shape[2:] != (2, 2):
        return False
    if len(transposed.inputs()) != 2 or not _is_only_used_by(upsampled.get_node(), concatenation):
        return False
    num_skip = kernel.shape[1] - upsampling.shape[1]
    joined = joined_kernel(
        upsampling, np.zeros(upsampling.shape[1], np.float32) if bias is None else bias, kernel[:, num_skip:]
    )
    begin, end = np.array([0, 0, 0, 0]), np.array([0, 1, 0, 0])
    coarse = ov.pad(transposed.input_value(0), begin, end, "constant", np.float32(1))
    up = ov.convolution_backprop_data(coarse, joined, [2, 2], pads_begin=[1, 1], pads_end=[1, 1])
    level = ov.convolution(skip, np.ascontiguousarray(kernel[:, :num_skip]), [1, 1], [1, 1], [1, 1], [1, 1])
    convolution.output(0).replace(ov.add(level, up).output(0))
    return True


def _enlarge_by_products(node: Any) -> bool:
    import openvino.opset13 as ov

    attributes, source, given = node.get_attributes(), node.input_value(0), node.output(0).get_partial_shape()
    mode = (attributes["mode"], attributes["coordinate_transformation_mode"], attributes["antialias"])
    if mode not in (("linear_onnx", "half_pixel", False), ("linear", "half_pixel", False)):
        return False
    shapes = [shape[axis] for shape in (source.get_partial_shape(), given) for axis in (1, 2, 3)]
    if not all(length.is_static for length in shapes):
        return False
    channels, height, width, _, higher, wider = (length.get_length() for length in shapes)
    if channels != 1 or higher < height or wider < width:
        return False
    rows = ov.matmul(ov.constant(enlarging_matrix(height, higher)), source, False, False)
    columns = ov.matmul(rows, ov.constant(enlarging_matrix(width, wider)), False, True)
    node.output(0).replace(columns.output(0))
    return True


def _drop_rounding(node: Any) -> bool:
    """Take out a value's rounding, from FakeQuantize to the Multiply that ends it."""
    last = node
    for kind in ("Convert", "Convert", "Subtract", "Multiply"):
        last = _only_user(last)
        if last is None or last.get_type_name() != kind:
            return False
    users = {user.get_type_name() for user in _users(last)}
    source = node.input_value(0)
    is_joined = users == {"Concat"} and source.get_node().get_type_name() in ("Multiply", "Interpolate")
    if not users or not (users <= _ENDS_IN_FLOAT or is_joined):
        return False
    if not is_joined and source.get_node().get_type_name() != "Add":  # a convolution and its bias
        return False
    last.output(0).replace(source)
    return True


def _users(node: Any) -> list[Any]:
    """The nodes that take a node's values; some of the importer ask for its shape alone."""
    found = [place.get_node() for place in node.output(0).get_target_inputs()]
    return [user for user in found if user.get_type_name() != "ShapeOf"]


def _only_user(node: Any) -> Any:
    users = _users(node)
    return users[0] if len(users) == 1 else None


def _is_only_used_by(node: Any, user: Any) -> bool:
    return [found.get_friendly_name() for found in _users(node)] == [user.get_friendly_name()]


def _is(node: Any, kind: str, **expected: list[int]) -> bool:
    if node is None or node.get_type_name() != kind:
        return False
    attributes = node.get_attributes()
    return all([int(number) for number in attributes[name]] == value for name, value in expected.items())


def _without_bias(node: Any) -> tuple[Any, NDArray[np.float32] | None]:
    """A node and None, or what an addition of a value by channel adds to, and these values."""
    if node.get_type_name() != "Add":
        return node, None
    shaped = node.input_value(1).get_node()  # by the importer, from one value a channel
    bias = _values(shaped.input_value(0)) if shaped.get_type_name() == "Reshape" else None
    return (node, None) if bias is None or bias.ndim != 1 else (node.input_value(0).get_node(), bias)


def _values(output: Any) -> NDArray[np.float32] | None:
    """The values of a constant, or of one that is stored in half precision; None of anything else."""
    node = output.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant" or not node.get_output_element_type(0).is_real():
        return None
    return np.asarray(node.get_data(), np.float32)
