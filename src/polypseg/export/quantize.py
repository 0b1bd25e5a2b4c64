"""int8 after training: weights by channel, activations by tensor, their ranges taken from calibration images.

Two tools are known: ONNX Runtime's static quantiser and NNCF. Either gives one ONNX file of float operations between
QuantizeLinear and DequantizeLinear, which ONNX Runtime and OpenVINO both turn into integer ones.

Decisions:
- The sigmoids, and all that comes after the last convolution, stay in float: eight bits of a logit are too few where
  probabilities are cut at a threshold. It costs under 3 % of the time and takes most of the change in Dice away.
- Everything else is quantised, additions, concatenations and resizes too: where only convolutions are, every
  value goes to float and back (polyp-lite: half as fast again).
- Where blocks have a linear bottleneck, the first block stays in float, with what reads it. Its output has no ReLU, so
  that few values far from zero make its 256 steps wide, and all later layers carry its error on: of the rounding of
  polyp-lite 3.0 it is a third. It costs 8 to 9 % of the time.
- More careful variants are tried in turn where the first changes the Dice by too much: the first and the last
  convolution in float as well; or the first layers, whose errors all others carry on (polyp-lite: a tenth slower).
- `auto` makes both tools' files and keeps the one that takes less processor time in the default engine. Processor time
  in one thread, the least of some runs: what else the machine does hardly moves it.
"""

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Image
from polypseg.errors import missing_extra
from polypseg.export.graph import stamp
from polypseg.predict.engines.checking import IMAGE, PROBABILITY
from polypseg.predict.engines.engine import Engine
from polypseg.preprocess import normalise

METHODS = ("auto", "onnxruntime", "nncf")
NUM_CALIBRATION = 400
"""Calibration images at most: with 100 polyp-lite's Dice changed by 0.003, with 400 by 0.001."""
EARLY_SHARE = 0.4
"""Of the convolutions that the most careful variant leaves in float."""
_NUM_TIMED = 12


def methods(method: str) -> list[str]:
    """The tools to try.

    Raises:
        MissingExtraError: NNCF is asked for and not installed.
    """
    has_nncf = find_spec("nncf") is not None
    if method == "nncf" and not has_nncf:
        raise missing_extra("nncf", "export")
    return ["onnxruntime", *(["nncf"] if has_nncf else [])] if method == "auto" else [method]


def variants(graph: Any) -> Iterator[tuple[str, list[str]]]:
    """What stays in float, in words, and the names of its nodes; the fastest first."""
    head, block = kept_in_float(graph), first_block(graph)
    head = _unique([*head, *block])
    yield "sigmoids and the first block in float" if block else "sigmoids in float", head
    convolutions = [node.name for node in graph.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    yield "sigmoids, first and last convolution in float", _unique([*head, convolutions[0], last_convolution(graph)])
    last = convolutions[int(EARLY_SHARE * len(convolutions))]
    names = [node.name for node in graph.graph.node]
    yield "sigmoids and the first layers in float", _unique([*head, *names[: names.index(last) + 1]])


def _unique(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))


def kept_in_float(graph: Any) -> list[str]:
    """The names of the sigmoids and of what lies between the last convolution and `probability`."""
    tail, _ = _tail(graph)
    return sorted({node.name for node in graph.graph.node if node.op_type == "Sigmoid"} | set(tail))


def first_block(graph: Any) -> list[str]:
    """The names of the nodes up to the first linear bottleneck, and of those that read it; empty where there is none.

    A linear bottleneck is a convolution behind a depthwise or grouped one, with no activation function after it
    (Sandler et al., MobileNetV2, CVPR 2018).
    """
    from onnx import helper

    makers = {output: node for node in graph.graph.node for output in node.output}
    readers: dict[str, list[Any]] = {}
    for node in graph.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    nodes = list(graph.graph.node)
    for number, node in enumerate(nodes):
        if node.op_type != "Conv":
            continue
        before = makers.get(node.input[0])
        while before is not None and before.op_type in _ACTIVATIONS:
            before = makers.get(before.input[0])
        groups = before is not None and {each.name: helper.get_attribute_value(each) for each in before.attribute}
        after = readers.get(node.output[0], [])
        if groups and groups.get("group", 1) > 1 and not any(each.op_type in _ACTIVATIONS for each in after):
            return [each.name for each in nodes[: number + 1]] + [each.name for each in after]
    return []


_ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "PRelu")


def last_convolution(graph: Any) -> str:
    """The name of the convolution that gives the logits."""
    return _tail(graph)[1]


def quantise(graph: Any, squares: Sequence[Image], method: str, in_float: Sequence[str]) -> Any:
    """An int8 copy of an `onnx.ModelProto`.

    Args:
        graph: In fp32; every node has a name.
        squares: Calibration images, each (size, size, 3) uint8.
        method: `onnxruntime` or `nncf`.
        in_float: Names of nodes that stay in float.
    """
    with _quiet():
        by = _by_nncf if method == "nncf" else _by_onnxruntime
        quantised = by(graph, squares, in_float)
    stamp(quantised)
    return quantised


def processor_seconds(engine: Engine) -> float:
    """Processor time that an engine of one thread takes for an image: the least of some runs."""
    batch = np.random.default_rng(0).random((1, engine.size, engine.size, 3), np.float32)
    taken = []
    for _ in range(_NUM_TIMED):
        began = process_time()
        engine.run(batch)
        taken.append(process_time() - began)
    return min(taken)


def _tail(graph: Any) -> tuple[list[str], str]:
    """The names of the nodes between the last convolution and `probability`, and that convolution's."""
    makers = {output: node for node in graph.graph.node for output in node.output}
    tail, node = [], makers[PROBABILITY]
    while node.op_type not in ("Conv", "ConvTranspose"):
        tail.append(node.name)
        node = makers[next(name for name in node.input if name in makers)]
    return tail, node.name


def _by_onnxruntime(graph: Any, squares: Sequence[Image], in_float: Sequence[str]) -> Any:
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(graph, source)
        quantize_static(
            source,
            target,
            _Reader(squares),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(in_float),
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(target)


def _by_nncf(graph: Any, squares: Sequence[Image], in_float: Sequence[str]) -> Any:
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, QuantizationParameters

    nncf.set_log_level("ERROR")
    return nncf.quantize(
        graph,
        nncf.Dataset([{IMAGE: normalise(square[None])} for square in squares]),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(squares),
        ignored_scope=nncf.IgnoredScope(names=list(in_float)),
        advanced_parameters=AdvancedQuantizationParameters(
            activations_quantization_params=QuantizationParameters(per_channel=False)
        ),
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Neither tool's warnings (of a preparation that the graph does not need) nor its own bars."""
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


class _Reader:
    """Calibration images as ONNX Runtime's quantiser takes them: one at a time, then None."""

    def __init__(self, squares: Sequence[Image]) -> None:
        self._waiting = iter(squares)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        square = next(self._waiting, None)
        return None if square is None else {IMAGE: normalise(square[None])}
