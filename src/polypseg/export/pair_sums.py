"""Sums of two 8-bit products, which processors without int8 dot products keep in 16 bits.

Where AVX-512 VNNI (or AVX-VNNI, or AMX) is missing, the kernels of OpenVINO and of ONNX Runtime multiply unsigned
activations by signed weights with `vpmaddubsw`: it adds two products in 16 bits, and what does not fit becomes 32767
or -32768 without a word. A graph in which no such sum can leave 16 bits gives the same integers on every processor.

Decisions:
- `can_saturate` is a proof, not a measurement: it asks whether any two products of one output could leave 16 bits for
  any image at all, in whatever order a kernel pairs them. For activations up to 255 that is: the two largest weights of
  an output channel add up to more than 128, or the two smallest to less than -128 (255 x 128 = 32640 fits,
  255 x 129 = 32895 does not).
- `count_saturating` counts exactly, over images, the sums that do not fit, in the order in which both engines pair:
  two neighbouring input channels at one place of the kernel (oneDNN, which OpenVINO brings), or two neighbours in the
  order channel, column, row of the kernel (MLAS, ONNX Runtime's). They differ for an odd number of channels alone.
- Depthwise convolutions have one channel an output and no such pair in either engine; the proof holds them to the same
  bound, for other programs.
- The activations come of ONNX Runtime without optimisation: in float, so that no integer kernel is asked.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Image
from polypseg.predict.engines.onnx_engine import IMAGE
from polypseg.preprocess import normalise

CONVOLUTIONS = ("Conv", "ConvTranspose")
LARGEST_PAIR = 128
"""Of the sum of two weights: 255 times it fits into 16 bits, 255 times one more does not."""
HIGHEST, LOWEST = 32767, -32768
_LEVELS = 256


class QuantisedConvolution(NamedTuple):
    """One convolution of a graph of QuantizeLinear and DequantizeLinear.

    Attributes:
        name: Of its node.
        kind: `Conv` or `ConvTranspose`.
        activation: The name of its input, uint8.
        zero_point: Of that input.
        step: Of that input.
        weights: int8, (groups, outputs of a group, K); K is kernel row, kernel column, input channel of the group, the
            channel fastest; of a transposed one, whose places each see one place of the kernel, outputs are output
            channel, kernel row, kernel column, and K is the input channel.
        kernel: Height and width.
        strides: Of rows and columns.
        pads: Top, left, bottom, right.
        stored: Names in the graph: the weights, their steps, the bias, its steps; the last two empty without one.
    """

    name: str
    kind: str
    activation: str
    zero_point: int
    step: float
    weights: NDArray[np.int8]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    stored: tuple[str, str, str, str]


def quantised_convolutions(graph: Any) -> list[QuantisedConvolution]:
    """The convolutions of an `onnx.ModelProto` whose activations and weights are both of 8 bits."""
    from onnx import numpy_helper

    values = {stored.name: numpy_helper.to_array(stored) for stored in graph.graph.initializer}
    makers = {output: node for node in graph.graph.node for output in node.output}
    found = []
    for node in graph.graph.node:
        if node.op_type not in CONVOLUTIONS:
            continue
        given, weights, *rest = (makers.get(name) for name in node.input)
        if not (_is_dequantised(given) and _is_dequantised(weights)) or weights is None:
            continue
        if weights.input[0] not in values:
            continue
        found.append(_read(node, (given, weights, rest[0] if rest else None), values))
    return found


def rows_of(weights: NDArray[Any], kind: str, groups: int) -> NDArray[Any]:
    """Weights in ONNX's order of axes as `QuantisedConvolution.weights` has them."""
    if kind == "ConvTranspose":
        turned = weights.transpose(1, 2, 3, 0)
        return turned.reshape(1, -1, turned.shape[3])
    turned = weights.transpose(0, 2, 3, 1)
    return turned.reshape(groups, turned.shape[0] // groups, -1)


def from_rows(rows: NDArray[Any], kind: str, shape: Sequence[int]) -> NDArray[Any]:
    """The opposite of `rows_of`, for weights of that shape in ONNX's order."""
    if kind == "ConvTranspose":
        inputs, outputs, height, width = shape
        return np.ascontiguousarray(rows.reshape(outputs, height, width, inputs).transpose(3, 0, 1, 2))
    outputs, inputs, height, width = shape
    return np.ascontiguousarray(rows.reshape(outputs, height, width, inputs).transpose(0, 3, 1, 2))


def can_saturate(weights: NDArray[np.int8]) -> NDArray[np.bool_]:
    """For each output whether two of its products could leave 16 bits, for whatever activations.

    Args:
        weights: Shape (..., K), int8.

    >>> can_saturate(np.array([[64, 64, -127], [65, 64, 0], [-100, -29, 127]], np.int8)).tolist()
    [False, True, True]
    """
    if weights.shape[-1] < 2:
        return np.zeros(weights.shape[:-1], bool)
    ordered = np.sort(weights.astype(np.int32), axis=-1)
    highest = np.maximum(ordered[..., -2:], 0).sum(axis=-1)
    lowest = np.minimum(ordered[..., :2], 0).sum(axis=-1)
    return np.asarray((highest > LARGEST_PAIR) | (lowest < -LARGEST_PAIR))


def unsafe_layers(graph: Any) -> dict[str, int]:
    """How many output channels (or places) could saturate, by convolution; those without one are left out."""
    found = {layer.name: int(can_saturate(layer.weights).sum()) for layer in quantised_convolutions(graph)}
    return {name: count for name, count in found.items() if count}


def count_saturating(graph: Any, squares: Iterable[Image]) -> dict[str, int]:
    """How many sums of two products leave 16 bits over the images, by convolution; exact.

    Args:
        graph: An `onnx.ModelProto`.
        squares: Each (size, size, 3) uint8.
    """
    layers = quantised_convolutions(graph)
    counts = {layer.name: 0 for layer in layers}
    open_layers = [layer for layer in layers if can_saturate(layer.weights).any() and layer.weights.shape[0] == 1]
    if not open_layers:
        return counts
    for found in activations(graph, squares, open_layers):
        for layer in open_layers:
            counts[layer.name] += _count(layer, found[layer.activation])
    return counts


def activations(
    graph: Any, squares: Iterable[Image], layers: Sequence[QuantisedConvolution]
) -> Iterator[dict[str, NDArray[np.uint8]]]:
    """What goes into each convolution, image by image: (C, H, W) uint8 by name."""
    import onnx
    import onnxruntime

    wanted = sorted({layer.activation for layer in layers})
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.helper.make_tensor_value_info(n, onnx.TensorProto.UINT8, None) for n in wanted)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for square in squares:
        given = session.run(wanted, {IMAGE: normalise(square[None])})
        yield {name: value[0] for name, value in zip(wanted, given, strict=True)}


def columns(layer: QuantisedConvolution, given: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What each output of a layer sees, (groups, K, places) uint8, padded with its zero point.

    Args:
        layer: A convolution.
        given: Its input, (C, H, W).
    """
    if layer.kind == "ConvTranspose":
        return given.reshape(1, len(given), -1)
    top, left, bottom, right = layer.pads
    padded = np.pad(given, ((0, 0), (top, bottom), (left, right)), constant_values=layer.zero_point)
    windows = np.lib.stride_tricks.sliding_window_view(padded, layer.kernel, axis=(1, 2))
    windows = windows[:, :: layer.strides[0], :: layer.strides[1]]  # C, rows, columns, kernel row, kernel column
    groups = layer.weights.shape[0]
    split = windows.reshape(groups, len(given) // groups, *windows.shape[1:])
    return split.transpose(0, 4, 5, 1, 2, 3).reshape(groups, layer.weights.shape[2], -1)


def _count(layer: QuantisedConvolution, given: NDArray[np.uint8]) -> int:
    """Of one image, by the joint histogram of the two activations of each pair that could saturate."""
    seen, weights = columns(layer, given)[0], layer.weights[0].astype(np.int32)
    highest = seen.max(axis=1).astype(np.int32)
    total = 0
    levels = np.arange(_LEVELS, dtype=np.int32)
    for first, second in _pairs(layer):
        left, right = weights[:, first], weights[:, second]
        most = np.maximum(left, 0) * highest[first] + np.maximum(right, 0) * highest[second]
        least = np.minimum(left, 0) * highest[first] + np.minimum(right, 0) * highest[second]
        risky = np.flatnonzero((most > HIGHEST) | (least < LOWEST))
        if not len(risky):
            continue
        together = seen[first].astype(np.int32) * _LEVELS + seen[second]
        histogram = np.bincount(together, minlength=_LEVELS**2).reshape(_LEVELS, _LEVELS)
        for output in risky:
            sums = left[output] * levels[:, None] + right[output] * levels
            total += int(histogram[(sums > HIGHEST) | (sums < LOWEST)].sum())
    return total


def _pairs(layer: QuantisedConvolution) -> list[tuple[int, int]]:
    """Which two of the K products an engine adds in 16 bits."""
    length = layer.weights.shape[2]
    channels = length // (layer.kernel[0] * layer.kernel[1]) if layer.kind == "Conv" else length
    by_channel = {
        (place + channel, place + channel + 1)
        for place in range(0, length, channels)
        for channel in range(0, channels - 1, 2)
    }
    return sorted(by_channel | {(k, k + 1) for k in range(0, length - 1, 2)})


def _read(node: Any, makers: tuple[Any, Any, Any], values: dict[str, NDArray[Any]]) -> QuantisedConvolution:
    from onnx import helper

    given, weights, bias = makers
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    kept = values[weights.input[0]]
    groups = attributes.get("group", 1)
    bias_names = (bias.input[0], bias.input[1]) if bias is not None else ("", "")
    return QuantisedConvolution(
        name=node.name,
        kind=node.op_type,
        activation=given.input[0],
        zero_point=int(values[given.input[2]]) if len(given.input) > 2 else 0,
        step=float(values[given.input[1]]),
        weights=rows_of(kept, node.op_type, groups),
        kernel=(int(kept.shape[2]), int(kept.shape[3])),
        strides=tuple(attributes.get("strides", (1, 1))),
        pads=tuple(attributes.get("pads", (0, 0, 0, 0))),
        stored=(weights.input[0], weights.input[1], *bias_names),
    )


def _is_dequantised(node: Any) -> bool:
    return node is not None and node.op_type == "DequantizeLinear"
