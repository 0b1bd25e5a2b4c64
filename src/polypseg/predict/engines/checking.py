"""Whether a model gives what a polypseg model gives: one probability a pixel of the square that it sees.

Decisions:
- A model is asked when it is opened, with a picture of noise, a grey one, and the first again: what gives logits,
  several classes, a map of another size or no numbers is refused before anything is written; so is what answers one
  picture in two ways, or all with one number (its weights are lost). A run's own checkpoint is not asked.
- An exported file's inputs and outputs must be those of an export, in type too: OpenVINO feeds whatever there is, and a
  number that becomes a whole one on its way is no share any more.
- Each batch is looked at too, which costs a thousandth of the model: numbers may fail on some pictures alone.
- Weights in files beside an exported model are refused in every engine: its digest does not cover them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import ModelError
from polypseg.predict.engines.engine import Engine

ROUNDING = 1e-3
"""By which an engine of less precision may leave [0, 1]."""

IMAGE, PROBABILITY, ATTENTION = "image", "probability", "attention_"
"""Names in an exported graph: its input, its output, and what begins the name of a gate's coefficients."""

REPEATED = 0.02
"""Two answers to one picture differ by less, however its sums are rounded."""

_FLOAT, _FLOATS = ("tensor(float)", "f32"), ("tensor(float)", "tensor(float16)", "tensor(double)", "f32", "f16", "f64")
"""What ONNX Runtime and OpenVINO call the type of what goes in, and of what may come out."""

_GRAPH, _NODE, _INITIALIZER, _ATTRIBUTE, _TENSOR, _SUBGRAPH, _TENSORS, _SUBGRAPHS = 7, 1, 5, 5, 5, 6, 10, 11
_SPARSE, _VALUES, _INDICES = 15, 1, 2
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


def check_probabilities(found: NDArray[np.float32], num_images: int, size: int, source: str) -> None:
    """Nothing, if a model's answer to a batch is one probability a pixel.

    Args:
        found: What it gave.
        num_images: That it was given.
        size: Side in pixels of the square that it saw.
        source: The model, for the message.

    Raises:
        ModelError: Another shape, no numbers, or values out of [0, 1].
    """
    expected = (num_images, size, size, 1)
    if found.shape != expected:
        raise ModelError(
            f"{source}: the model gives {found.shape} for a batch; expected {expected}, one probability a pixel"
        )
    low, high = float(found.min()), float(found.max())
    if np.isnan(low) or np.isnan(high):
        raise ModelError(
            f"{source}: the model gives no number (NaN) for some pixels; its weights or its file are damaged"
        )
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise ModelError(
            f"{source}: the model gives values from {low:.3g} to {high:.3g}; expected probabilities in [0, 1]: end it "
            "with a sigmoid"
        )


class Port(NamedTuple):
    """An input or an output of an exported graph.

    Attributes:
        name: In the graph.
        kind: The type of its numbers, as its runtime calls it.
        num_channels: The length of its last axis; None where the graph leaves it open.
    """

    name: str
    kind: str
    num_channels: int | None


def check_ports(inputs: Sequence[Port], outputs: Sequence[Port], levels: Sequence[int], source: str) -> None:
    """Nothing, if a graph has the inputs and outputs of an export.

    Args:
        inputs: All of them.
        outputs: All of them.
        levels: Of the gates whose coefficients the file says that it gives.
        source: The model, for the message.

    Raises:
        ModelError: It has others.
    """
    fault = ""
    if [(port.name, port.kind in _FLOAT, port.num_channels in (3, None)) for port in inputs] != [(IMAGE, True, True)]:
        found = ", ".join(f"{port.name} ({port.kind})" for port in inputs) or "none"
        fault = f"its inputs are {found}; expected one, {IMAGE}, of 3 channels and 32-bit floats"
    known = {port.name: port for port in outputs}
    for name in (PROBABILITY, *(f"{ATTENTION}{level}" for level in levels)):
        port = known.get(name)
        if port is None:
            fault = fault or f"it has no output {name}; it has {', '.join(known) or 'none'}"
        elif port.kind not in _FLOATS or port.num_channels not in (1, None):
            shape = "" if port.num_channels is None else f", {port.num_channels} channels"
            fault = fault or f"its output {name} is {port.kind}{shape}; expected floats, one channel"
    if fault:
        raise ModelError(f"{source}: not a model that polypseg exported, or a changed one: {fault}; export it again")


def ask(engine: Engine, source: str) -> None:
    """Nothing, if a model just opened answers a noisy picture, a grey one and the noisy one again as it should.

    Raises:
        ModelError: It does not.
    """
    noise = np.random.default_rng(0).random((1, engine.size, engine.size, 3), np.float32)
    has_attention = bool(engine.facts.attention_levels) and engine.name in ("onnxruntime", "openvino")
    answers = []
    for number, batch in enumerate((noise, np.full_like(noise, 0.5), noise)):
        try:
            found, maps = engine.run_with_attention(batch) if has_attention and not number else (engine.run(batch), {})
        except ModelError as error:
            raise ModelError(f"{source}: {error}") from error
        except Exception as error:  # the runtimes' own exceptions share no class
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(
                f"{source}: the model cannot run a picture of {engine.size}x{engine.size} pixels, as its file says it "
                f"does ({reason}); export it again"
            ) from error
        check_probabilities(found, 1, engine.size, source)
        _check_maps(maps, source)
        answers.append(found)
    apart = float(np.abs(answers[2] - answers[0]).max())
    if apart > REPEATED:
        raise ModelError(
            f"{source}: the model answers one picture in two ways (probabilities {apart:.2g} apart); export it as it "
            "predicts, without dropout or other chance"
        )
    level = float(answers[0].flat[0])
    is_constant = all(bool((found == level).all()) for found in answers)
    if is_constant and ROUNDING < level < 1 - ROUNDING:  # 0 or 1 everywhere may be said of noise
        raise ModelError(
            f"{source}: the model says {level:.3g} of every pixel of every picture; its weights are lost: export it "
            "again"
        )


def _check_maps(maps: Mapping[int, NDArray[np.float32]], source: str) -> None:
    """Nothing, if the coefficients of gates are shares.

    Raises:
        ModelError: They are not.
    """
    for level, found in maps.items():
        if found.ndim != 3 or not np.isfinite(found).all() or found.min() < -ROUNDING or found.max() > 1 + ROUNDING:
            raise ModelError(
                f"{source}: the attention of level {level} is no map of shares: {found.shape}, {found.min():.3g} to "
                f"{found.max():.3g}; expected one map of values in [0, 1]: export it again"
            )


def refuse_external_weights(content: bytes, source: str) -> None:
    """Nothing, if an ONNX file holds all its weights itself.

    Args:
        content: Of the file.
        source: The file, for the message.

    Raises:
        ModelError: Some lie in another file.
    """
    if any(_is_external(tensor) for tensor in _tensors(memoryview(content))):
        raise ModelError(
            f"{source}: keeps weights in another file beside it; expected one file that holds them all: export it again"
        )


def _tensors(model: memoryview) -> Iterator[memoryview]:
    """The tensors of the graph, of its nodes' attributes and of the graphs within them."""
    graphs = [content for number, content in _fields(model) if number == _GRAPH]
    while graphs:
        for number, content in _fields(graphs.pop()):
            if number == _INITIALIZER:
                yield content
            elif number == _SPARSE:
                yield from (part for key, part in _fields(content) if key in (_VALUES, _INDICES))
            elif number == _NODE:
                for key, attribute in _fields(content):
                    if key == _ATTRIBUTE:
                        parts = list(_fields(attribute))
                        yield from (part for kind, part in parts if kind in (_TENSOR, _TENSORS))
                        graphs += [part for kind, part in parts if kind in (_SUBGRAPH, _SUBGRAPHS)]


def _is_external(tensor: memoryview) -> bool:
    return any(number in (_EXTERNAL_DATA, _DATA_LOCATION) and any(content) for number, content in _fields(tensor))


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field of a protocol buffer; it ends where a field is damaged, which engines tell."""
    place = 0
    while place < len(message):
        try:
            key, place = _number(message, place)
            kind, begin = key & 7, place
            if kind == 0:
                _, place = _number(message, place)
            elif kind == 2:
                length, begin = _number(message, place)
                place = begin + length
            elif kind in (1, 5):
                place += 8 if kind == 1 else 4
            else:
                return
        except IndexError:
            return
        yield key >> 3, message[begin:place]


def _number(message: memoryview, place: int) -> tuple[int, int]:
    """A whole number in groups of seven bits, the lowest first, and the place behind it."""
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128 or shift > 63:
            return value, place
