"""A second look in float at the images on which 8 bits may decide otherwise.

An int8 file rounds every value, and where a region's highest probability lies near the peak threshold, or much of an
outline near the threshold, that rounding decides whether a polyp is marked. Engines and processors round in different
ways, so that their masks differ there, and only there. Such images, about one in 15, are predicted again by the
same file's graph in 32 bits, in which they agree.

Decisions:
- Which images, is told by the probabilities alone (`is_close_call`); the rule was chosen on validation images.
- The graph in float is made of the file itself, when the first such image comes: nothing more is shipped.
- Only files whose facts say so have it: a file is run as it was proved.
"""

from collections.abc import Callable
from threading import Lock

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.predict.engines.engine import Engine, Outputs
from polypseg.predict.engines.float_graph import in_float
from polypseg.predict.engines.model_file import OpenedModel

BELOW_PEAK, ABOVE_PEAK = 1.7, 0.7
"""How far from the peak threshold, in logits, a region's highest probability is close: 0.78 to 0.97 of 0.95."""
LEAST_SHARE = 0.05
"""Of the marked area: where a region of a share s comes or goes, the Dice changes by s at most, so by 0.05 here."""
AROUND_THRESHOLD = 1.0
"""How far from the threshold, in logits, a pixel is close: 0.26 to 0.72 of 0.488."""
MOST_CLOSE = 0.4
"""Close pixels a marked one: above it the outline is a close call."""


def is_close_call(probability: NDArray[np.float32], threshold: float, peak_threshold: float = 0.0) -> bool:
    """Whether rounding to 8 bits may have changed the mask of an image.

    Args:
        probability: Shape (size, size), float32 in [0, 1].
        threshold: A pixel is polyp from this probability on, in (0, 1).
        peak_threshold: What one pixel of a region must reach; 0 for anything.
    """
    marked = probability >= np.float32(threshold)
    left, top, wide, high = cv2.boundingRect(marked.view(np.uint8))
    if wide == 0:
        return False
    num_marked = int(np.count_nonzero(marked))
    if peak_threshold > threshold:
        inside = slice(top, top + high), slice(left, left + wide)
        areas, reaches = _regions(marked[inside], probability[inside], peak_threshold)
        kept = int(areas[reaches == _PEAK].sum() + areas[reaches == _SURE].sum())
        close = (reaches == _NEAR) | (reaches == _PEAK)
        if (close & (areas > LEAST_SHARE * np.maximum(kept, areas))).any():
            return True
        if not reaches.any():
            return False
    lowest, highest = (np.float32(shifted(threshold, way * AROUND_THRESHOLD)) for way in (-1, 1))
    num_close = np.count_nonzero(probability >= lowest) - np.count_nonzero(probability >= highest)
    return bool(num_close > MOST_CLOSE * num_marked)


def _regions(
    marked: NDArray[np.bool_], probability: NDArray[np.float32], peak_threshold: float
) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Of each 8-connected region its area in pixels and what its highest probability reaches.

    The latter is 0, `_NEAR` (close below the peak threshold), `_PEAK` (it, and close) or `_SURE`.
    """
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(marked).view(np.uint8), connectivity=8
    )
    reaches = np.zeros(count, np.int8)
    limits = (shifted(peak_threshold, -BELOW_PEAK), peak_threshold, shifted(peak_threshold, ABOVE_PEAK))
    for reached, limit in zip((_NEAR, _PEAK, _SURE), limits, strict=True):
        reaches[labels[probability >= np.float32(limit)]] = reached
    return statistics[1:, cv2.CC_STAT_AREA], reaches[1:]


_NEAR, _PEAK, _SURE = 1, 2, 3


def shifted(probability: float, logits: float) -> float:
    """A probability, so many logits further.

    >>> round(shifted(0.5, 1.0), 3)
    0.731
    """
    if not 0 < probability < 1:
        return probability
    return float(1 / (1 + (1 - probability) / probability * np.exp(-logits)))


class SecondLook:
    """Implements `Engine`: the first engine, and a second one on close calls.

    Attributes:
        first: Of the int8 file.
        num_images: That were predicted.
        num_again: Of them, predicted again.
    """

    def __init__(self, first: Engine, open_second: Callable[[], Engine]) -> None:
        """Look again at nothing yet.

        Args:
            first: Of the int8 file.
            open_second: Opens the same in float; called once, when it is needed.
        """
        self.first = first
        self.name, self.facts, self.size, self.threshold = first.name, first.facts, first.size, first.threshold
        self.num_images = self.num_again = 0
        self._open_second, self._lock = open_second, Lock()
        self._second: Engine | None = None

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `Engine.run`."""
        found = self.first.run(batch)
        again = self._close_calls(found)
        if again.any():
            found = found.copy()
            found[again] = self.second().run(np.ascontiguousarray(batch[again]))
        return found

    def run_with_attention(self, batch: NDArray[np.float32]) -> Outputs:
        """As `Engine.run_with_attention`."""
        found = self.first.run_with_attention(batch)
        again = self._close_calls(found.probabilities)
        if not again.any():
            return found
        second = self.second().run_with_attention(np.ascontiguousarray(batch[again]))
        probabilities = found.probabilities.copy()
        probabilities[again] = second.probabilities
        attention = {level: maps.copy() for level, maps in found.attention.items()}
        for level, maps in second.attention.items():
            attention[level][again] = maps
        return Outputs(probabilities, attention)

    def second(self) -> Engine:
        """The engine in float; opened at the first call."""
        with self._lock:
            if self._second is None:
                self._second = self._open_second()
            return self._second

    def _close_calls(self, found: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Of each image of a batch, whether it is one, (N,) bool."""
        calls = [is_close_call(each[..., 0], self.threshold, self.facts.peak_threshold) for each in found]
        with self._lock:
            self.num_images, self.num_again = self.num_images + len(calls), self.num_again + sum(calls)
        return np.array(calls, bool)


def without_second_look(engine: Engine) -> Engine:
    """What looks first, or the engine itself where nothing looks again."""
    return engine.first if isinstance(engine, SecondLook) else engine


def share_looked_at_again(engine: Engine) -> float | None:
    """Of the images that an engine has predicted; None where nothing looks again, or no image was predicted."""
    if not isinstance(engine, SecondLook) or not engine.num_images:
        return None
    return engine.num_again / engine.num_images


def model_in_float(model: OpenedModel) -> OpenedModel:
    """What an exported model computes, in 32 bits, in memory and unproved."""
    import onnx

    graph = onnx.load_from_string(model.content)
    del graph.metadata_props[:]
    facts = model.facts.model_copy(update={"precision": "fp32", "self_test": "", "second_look": False})
    return OpenedModel(model.path, in_float(graph).SerializeToString(), facts)
