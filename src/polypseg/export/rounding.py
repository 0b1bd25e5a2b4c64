"""Weights rounded to 8 bits so that no sum of two products can leave 16 bits, with little lost.

A step of twice the size for all weights (7 bits, `reduce_range`) is safe and costs Dice. Here a channel's step is as
small as its pairs of weights allow, or smaller where clipping these costs less than a coarser step, and what the
rounding of one weight does to the layer's outputs is taken back by the weights that are rounded after it.

Decisions:
- What counts is the error of the layer's outputs over calibration images, not that of its weights. Its mean goes into
  the bias.
- The steps and zero points of the activations, and the graph, stay as the quantiser made them.

Reference:
    Frantar, Ashkboos, Hoefler and Alistarh, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
    Transformers", ICLR 2023 (the order of rounding and its correction). Nagel, van Baalen, Blankevoort and Welling,
    "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019 (the bias).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Image
from polypseg.export.pair_sums import (
    LARGEST_PAIR,
    QuantisedConvolution,
    activations,
    columns,
    from_rows,
    pairings,
    quantised_convolutions,
    rows_of,
)

if TYPE_CHECKING:
    from onnx import TensorProto

LARGEST_WEIGHT = 127
SHRINKS = (1.0, 0.9, 0.8)
"""Steps that are tried, as shares of the one that clips nothing."""
NUM_IMAGES = 48
"""Calibration images at most that its statistics are taken from."""
PLACES = 256
"""Of an image and a layer at most, spread evenly, that its statistics are taken from."""
DAMPING = 0.01
"""Of the mean of the diagonal; keeps the correction small where an input hardly varies."""
BLOCK = 64
"""Weights after which the ones that come later are corrected, in one matrix product."""
_LARGEST_BIAS = 2**30

Array = NDArray[np.float64]


class Statistics(NamedTuple):
    """Of what a layer sees, its zero point taken off.

    Attributes:
        covariance: Of two inputs, (groups, K, K).
        means: (groups, K).
    """

    covariance: Array
    means: Array


class Safe(NamedTuple):
    """A quantised graph of which no two products can leave 16 bits.

    Attributes:
        graph: An `onnx.ModelProto`.
        losses: By convolution, what the rounding changes in its outputs over how much they vary (both squared).
    """

    graph: Any
    losses: dict[str, float]


class Rounded(NamedTuple):
    """Rows of weights in 8 bits.

    Attributes:
        values: Whole numbers, (groups, rows, K).
        steps: What one of them stands for, (groups, rows).
    """

    values: Array
    steps: Array


def round_safely(graph: Any, weights: Mapping[str, NDArray[np.float32]], squares: Sequence[Image]) -> Safe:
    """A copy of a quantised graph with new weights, of which no two products can leave 16 bits.

    Args:
        graph: An `onnx.ModelProto` of QuantizeLinear and DequantizeLinear.
        weights: The weights in float, by the name of the convolution's node, in ONNX's order of axes.
        squares: Calibration images, each (size, size, 3) uint8.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    stored = {value.name: value for value in copy.graph.initializer}
    layers = quantised_convolutions(copy)
    statistics = layer_statistics(graph, layers, squares)
    losses = {}
    for layer in layers:
        kernels = np.asarray(weights[layer.name], np.float64)
        rows = rows_of(kernels, layer.kind, layer.weights.shape[0])
        bias = _bias(stored, layer)
        least = np.abs(bias) / (_LARGEST_BIAS * layer.step)  # else the bias would leave 32 bits
        channels = _by_channel(np.arange(len(bias)), rows.shape, layer)
        covariance = statistics[layer.name].covariance
        rounded = round_rows(rows, covariance, channels, least, pairings(layer))
        _store(stored, layer, rounded, kernels.shape)
        error = rounded.values * rounded.steps[..., None] - rows
        changed, whole = (float(((each @ covariance) * each).sum()) for each in (error, rows))
        losses[layer.name] = changed / whole if whole else 0.0
        if layer.stored[2]:
            shift = np.einsum("grk,gk->gr", error, statistics[layer.name].means) * layer.step
            means = np.bincount(channels.ravel(), shift.ravel()) / np.bincount(channels.ravel())
            _store_bias(stored, layer, bias - means)
    return Safe(copy, losses)


def layer_statistics(
    graph: Any, layers: Sequence[QuantisedConvolution], squares: Sequence[Image]
) -> dict[str, Statistics]:
    """What each convolution sees over the images, by its name."""
    sums = {layer.name: np.zeros(layer.weights.shape[::2], np.float64) for layer in layers}
    products = {layer.name: np.zeros((*sums[layer.name].shape, layer.weights.shape[2]), np.float64) for layer in layers}
    counts = dict.fromkeys(sums, 0)
    for found in activations(graph, squares, layers):
        for layer in layers:
            values = columns(layer, found[layer.activation], PLACES).astype(np.float32) - layer.zero_point
            sums[layer.name] += values.sum(axis=2)
            products[layer.name] += values @ values.transpose(0, 2, 1)
            counts[layer.name] += values.shape[2]
    result = {}
    for layer in layers:
        means = sums[layer.name] / counts[layer.name]
        moments = products[layer.name] / counts[layer.name]
        result[layer.name] = Statistics(moments - means[:, :, None] * means[:, None, :], means)
    return result


def round_rows(
    rows: Array,
    covariance: Array,
    channels: NDArray[np.intp],
    least: Array,
    pairs: Sequence[NDArray[np.intp]],
) -> Rounded:
    """Rows in 8 bits, no pair of whose weights is too large together, of the least error in what they give.

    Args:
        rows: (groups, rows, K).
        covariance: Of what they see, (groups, K, K).
        channels: (groups, rows): rows of one number share a step.
        least: The smallest step that each of the numbers may have.
        pairs: Of products that are added in 16 bits, as `pair_sums.pairings`.
    """
    spare, limits = _limits(rows, pairs)
    shared = np.zeros(len(least))
    np.maximum.at(shared, channels, spare)
    inverse = _inverse_root(covariance)
    best: Rounded | None = None
    best_error = np.full(len(least), np.inf)
    for shrink in SHRINKS:
        steps = np.maximum(np.where(shared > 0, shared, 1.0) * shrink, least)[channels]
        values = _round_in_turn(rows, steps, inverse, limits)
        wrong = values * steps[..., None] - rows
        errors = np.bincount(channels.ravel(), ((wrong @ covariance) * wrong).sum(axis=2).ravel(), len(least))
        is_better = (errors < best_error)[channels]
        best_error = np.minimum(errors, best_error)
        if best is None:
            best = Rounded(values, steps)
        else:
            best = Rounded(np.where(is_better[..., None], values, best.values), np.where(is_better, steps, best.steps))
    return best if best is not None else Rounded(rows, np.ones(rows.shape[:2]))


def _limits(rows: Array, pairs: Sequence[NDArray[np.intp]]) -> tuple[Array, tuple[Array, Array]]:
    """For each row the step at which its largest pair just fits, and how far each weight may go."""
    needed = np.abs(rows).max(axis=2) / LARGEST_WEIGHT
    bounds = []
    for sign in (1, -1):
        ahead, bound = np.maximum(sign * rows, 0), np.full(rows.shape, float(LARGEST_WEIGHT))
        for first, second in (found.T for found in pairs):
            one, both = ahead[..., first], ahead[..., first] + ahead[..., second]
            needed = np.maximum(needed, both.max(axis=2) / LARGEST_PAIR)
            share = np.divide(one, both, out=np.full(one.shape, 0.5), where=both > 0)
            own = np.clip(np.round(LARGEST_PAIR * share), LARGEST_PAIR - LARGEST_WEIGHT, LARGEST_WEIGHT)
            bound[..., first] = np.minimum(bound[..., first], own)
            bound[..., second] = np.minimum(bound[..., second], LARGEST_PAIR - own)
        bounds.append(bound)
    return needed, (-bounds[1], bounds[0])


def _inverse_root(covariance: Array) -> Array:
    """The upper triangular root U of the inverse, U transposed times U, by group."""
    size = covariance.shape[1]
    diagonal = np.einsum("gkk->gk", covariance)
    damping = DAMPING * diagonal.mean(axis=1) + 1e-6
    inverse = np.linalg.inv(covariance + damping[:, None, None] * np.eye(size))
    root = np.linalg.cholesky((inverse + inverse.transpose(0, 2, 1)) / 2).transpose(0, 2, 1)
    return np.asarray(root, np.float64)


def _round_in_turn(rows: Array, steps: Array, root: Array, limits: tuple[Array, Array]) -> Array:
    """Weight after weight, each error taken back by those that come later; later blocks are told once a block."""
    wanted, values = rows.copy(), np.empty_like(rows)
    low, high = limits
    for begin in range(0, rows.shape[2], BLOCK):
        end = min(begin + BLOCK, rows.shape[2])
        wrong = np.empty((*rows.shape[:2], end - begin))
        for k in range(begin, end):
            values[..., k] = np.clip(np.rint(wanted[..., k] / steps), low[..., k], high[..., k])
            wrong[..., k - begin] = (wanted[..., k] - values[..., k] * steps) / root[:, k, k, None]
            wanted[..., k + 1 : end] -= wrong[..., k - begin, None] * root[:, None, k, k + 1 : end]
        wanted[..., end:] -= wrong @ root[:, begin:end, end:]
    return values


def _by_channel(channels: NDArray[np.intp], shape: Sequence[int], layer: QuantisedConvolution) -> NDArray[np.intp]:
    """Whose output channel's each row is: of a transposed convolution a row a place of the kernel."""
    places = layer.kernel[0] * layer.kernel[1] if layer.kind == "ConvTranspose" else 1
    return np.repeat(channels, places).reshape(shape[0], shape[1])


def _bias(stored: Mapping[str, "TensorProto"], layer: QuantisedConvolution) -> Array:
    """In float, by output channel; zeros where the layer has none."""
    from onnx import numpy_helper

    if not layer.stored[2]:
        steps = stored[layer.stored[1]]  # a quantiser may write that of a single channel without a dimension
        return np.zeros(steps.dims[0] if steps.dims else 1)
    values, steps = (numpy_helper.to_array(stored[name]).astype(np.float64) for name in layer.stored[2:])
    return np.asarray(values * steps)


def _store(
    stored: Mapping[str, "TensorProto"], layer: QuantisedConvolution, rounded: Rounded, shape: Sequence[int]
) -> None:
    values = from_rows(rounded.values.astype(np.int8), layer.kind, shape)
    places = layer.kernel[0] * layer.kernel[1] if layer.kind == "ConvTranspose" else 1
    _put(stored, layer.stored[0], values)
    steps = rounded.steps.ravel()[::places].astype(np.float32)
    _put(stored, layer.stored[1], steps.reshape(tuple(stored[layer.stored[1]].dims)))


def _store_bias(stored: Mapping[str, "TensorProto"], layer: QuantisedConvolution, bias: Array) -> None:
    from onnx import numpy_helper

    steps = (layer.step * numpy_helper.to_array(stored[layer.stored[1]]).astype(np.float64)).astype(np.float32)
    _put(stored, layer.stored[2], np.rint(bias / steps).astype(np.int32))
    _put(stored, layer.stored[3], steps)


def _put(stored: Mapping[str, "TensorProto"], name: str, values: NDArray[Any]) -> None:
    from onnx import numpy_helper

    stored[name].CopyFrom(numpy_helper.from_array(values, name))
