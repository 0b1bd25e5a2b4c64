"""Sums of two 8-bit products, which processors without int8 dot products keep in 16 bits.

Where AVX-512 VNNI (or AVX-VNNI, or AMX) is missing, the kernels of OpenVINO and of ONNX Runtime multiply unsigned
activations by signed weights with `vpmaddubsw`: it adds two products in 16 bits, and what does not fit becomes 32767
or -32768 without a word. A graph in which no such sum can leave 16 bits gives the same integers on every processor.

Decisions:
- `can_saturate` is a proof, not a measurement: it asks whether two products that an engine adds could leave 16 bits for
  any image at all. For activations up to 255 that is: two weights of a pair add up to more than 128, or to less than
  -128 (255 x 128 = 32640 fits, 255 x 129 = 32895 does not).
- `count_saturating` counts exactly, over images, the sums that do not fit.
- Pairs are those of both engines: two neighbouring input channels at one place of the kernel (oneDNN, which OpenVINO
  brings), and two neighbours in the order channel, column, row of the kernel (MLAS, ONNX Runtime's). They differ for an
  odd number of channels alone. Depthwise convolutions have one channel an output and no such pair in either engine.
- The activations come of ONNX Runtime without optimisation: in float, so that no integer kernel is asked.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Image
from polypseg.predict.engines.checking import IMAGE
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
    """The convolutions of an `onnx.ModelProto` whose activations and weights are both of 8 bits.

    An empty list where the activations of one are signed, as NNCF makes them behind layers without a ReLU: engines turn
    those into unsigned ones in their own ways, so that the pairs of such a graph are not known.
    """
    from onnx import numpy_helper

    values = {stored.name: numpy_helper.to_array(stored) for stored in graph.graph.initializer}
    makers = {output: node for node in graph.graph.node for output in node.output}
    found = []
    for node in graph.graph.node:
        if node.op_type not in CONVOLUTIONS:
            continue
        given, weights, *rest = (makers.get(name) for name in node.input)
        if not (_is_dequantised(given) and _is_dequantised(weights)) or given is None or weights is None:
            continue
        if weights.input[0] not in values:
            continue
        if values[given.input[2]].dtype == np.int8:
            return []
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


def pairings(layer: QuantisedConvolution) -> list[NDArray[np.intp]]:
    """Which two of the K products an engine adds in 16 bits, (P, 2) an engine, each product once; equal ones once."""
    length = layer.weights.shape[2]
    channels = length // (layer.kernel[0] * layer.kernel[1]) if layer.kind == "Conv" else length
    if layer.weights.shape[0] > 1 and channels == 1:
        return []
    by_channel = [(p + c, p + c + 1) for p in range(0, length, channels) for c in range(0, channels - 1, 2)]
    by_place = [(k, k + 1) for k in range(0, length - 1, 2)]
    found = [by_channel] if by_channel == by_place else [by_channel, by_place]
    return [np.array(pairs, np.intp) for pairs in found if pairs]


def can_saturate(weights: NDArray[np.int8], pairs: NDArray[np.intp]) -> NDArray[np.bool_]:
    """For each output whether two of its products could leave 16 bits, for whatever activations.

    Args:
        weights: Shape (..., K), int8.
        pairs: Which are added, (P, 2).

    >>> neighbours = np.array([[0, 1], [2, 3]])
    >>> can_saturate(np.array([[64, 64, -127, 9], [65, 64, 0, 0], [0, 9, -100, -29]], np.int8), neighbours).tolist()
    [False, True, True]
    """
    first, second = (weights[..., pairs[:, n]].astype(np.int32) for n in (0, 1))
    highest = np.maximum(first, 0) + np.maximum(second, 0)
    lowest = np.minimum(first, 0) + np.minimum(second, 0)
    return np.asarray(((highest > LARGEST_PAIR) | (lowest < -LARGEST_PAIR)).any(axis=-1))


def unsafe_outputs(layer: QuantisedConvolution) -> int:
    """How many outputs of a convolution (channels, or places of a transposed one's kernel) could saturate."""
    found = [can_saturate(layer.weights, pairs) for pairs in pairings(layer)]
    return int(np.any(found, axis=0).sum()) if found else 0


def unsafe_layers(graph: Any) -> dict[str, int]:
    """`unsafe_outputs` by convolution; those without one are left out."""
    found = {layer.name: unsafe_outputs(layer) for layer in quantised_convolutions(graph)}
    return {name: count for name, count in found.items() if count}


def count_saturating(graph: Any, squares: Iterable[Image]) -> dict[str, int]:
    """How many sums of two products leave 16 bits over the images, by convolution; exact.

    Args:
        graph: An `onnx.ModelProto`.
        squares: Each (size, size, 3) uint8.
    """
    layers = quantised_convolutions(graph)
    counts = {layer.name: 0 for layer in layers}
    open_layers = [layer for layer in layers if unsafe_outputs(layer)]
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


def columns(layer: QuantisedConvolution, given: NDArray[np.uint8], most: int | None = None) -> NDArray[np.uint8]:
    """What each output of a layer sees, (groups, K, places) uint8, padded with its zero point.

    Args:
        layer: A convolution.
        given: Its input, (C, H, W).
        most: About so many places, spread evenly; None for all.
    """
    groups = layer.weights.shape[0]
    if layer.kind == "ConvTranspose":
        places = _spread(given.shape[1] * given.shape[2], most)
        return given.reshape(1, len(given), -1)[:, :, places]
    top, left, bottom, right = layer.pads
    padded = np.pad(given, ((0, 0), (top, bottom), (left, right)), constant_values=layer.zero_point)
    windows = np.lib.stride_tricks.sliding_window_view(padded, layer.kernel, axis=(1, 2))
    windows = windows[:, :: layer.strides[0], :: layer.strides[1]]  # C, rows, columns, kernel row, kernel column
    rows, across = np.divmod(_spread(windows.shape[1] * windows.shape[2], most), windows.shape[2])
    seen = windows[:, rows, across].reshape(groups, len(given) // groups, len(rows), *layer.kernel)
    return seen.transpose(0, 3, 4, 1, 2).reshape(groups, layer.weights.shape[2], -1)


def _spread(count: int, most: int | None) -> NDArray[np.intp]:
    step = max(1, count // most) if most else 1
    return np.arange(step // 2, count, step)


def _count(layer: QuantisedConvolution, given: NDArray[np.uint8]) -> int:
    """Of one image, by the joint histogram of the two activations of each pair that could saturate."""
    total = 0
    pairs = {(int(a), int(b)) for found in pairings(layer) for a, b in found}
    for group, seen in enumerate(columns(layer, given)):
        weights, highest = layer.weights[group].astype(np.int32), seen.max(axis=1).astype(np.int32)
        for first, second in sorted(pairs):
            left, right = weights[:, first], weights[:, second]
            most = np.maximum(left, 0) * highest[first] + np.maximum(right, 0) * highest[second]
            least = np.minimum(left, 0) * highest[first] + np.minimum(right, 0) * highest[second]
            risky = np.flatnonzero((most > HIGHEST) | (least < LOWEST))
            if len(risky):
                total += _count_pair(seen[first], seen[second], left[risky], right[risky])
    return total


def _count_pair(
    first: NDArray[np.uint8], second: NDArray[np.uint8], left: NDArray[np.int32], right: NDArray[np.int32]
) -> int:
    """How many sums of one pair of inputs leave 16 bits, over all places and the outputs of those weights."""
    together = first.astype(np.int32) * _LEVELS + second
    histogram = np.bincount(together, minlength=_LEVELS**2).reshape(_LEVELS, _LEVELS)
    levels, total = np.arange(_LEVELS, dtype=np.int32), 0
    for one, other in zip(left, right, strict=True):
        sums = one * levels[:, None] + other * levels
        total += int(histogram[(sums > HIGHEST) | (sums < LOWEST)].sum())
    return total


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
