"""Whether a model gives what a polypseg model gives: one probability a pixel of the square that it sees.

Decisions:
- A model is asked once when it is opened, with a picture of noise and a grey one: what gives logits, several classes, a
  map of another size or no numbers is refused before anything is written. A run's own checkpoint is not asked.
- Each batch is looked at too, which costs a thousandth of the model: numbers may fail on some pictures alone.
- Weights in files beside an exported model are refused in every engine: its digest does not cover them.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import ModelError
from polypseg.predict.engines.engine import Engine

ROUNDING = 1e-3
"""By which an engine of less precision may leave [0, 1]."""

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


def ask(engine: Engine, source: str) -> None:
    """Nothing, if a model just opened answers a noisy and a grey picture as it should.

    Raises:
        ModelError: It does not.
    """
    noise = np.random.default_rng(0).random((1, engine.size, engine.size, 3), np.float32)
    for batch in (noise, np.full_like(noise, 0.5)):
        try:
            found = engine.run(batch)
        except Exception as error:  # the runtimes' own exceptions share no class
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(
                f"{source}: the model cannot run a picture of {engine.size}x{engine.size} pixels, as its file says it "
                f"does ({reason}); export it again"
            ) from error
        check_probabilities(found, 1, engine.size, source)


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
