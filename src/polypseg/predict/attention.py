"""The attention of one image: the map of each gate, and which of them to show first.

Decisions:
- A gate agrees with a mask as much as its map ranks the mask's pixels above the others: the area under the ROC curve,
  0.5 for a map that says nothing. It asks for no threshold, and a gate of a small range can agree as well as another.
- Maps are read at 8 bits, as they are shown, and within the lit field: outside of it both are 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

from polypseg.arrays import Mask, Probability
from polypseg.metrics.thresholds import level_histogram, roc_area, to_levels
from polypseg.preprocess import Field


class AttentionMap(NamedTuple):
    """The coefficients of one gate.

    Attributes:
        level: 1 is the finest gate.
        map: Shape (H, W) float32 in [0, 1], at the image's own size.
    """

    level: int
    map: Probability


def agreement(values: Probability, mask: Mask, field: Field | None = None) -> float:
    """How well a map ranks the pixels of a mask above the others, in [0, 1].

    Args:
        values: Shape (H, W), float in [0, 1].
        mask: Shape (H, W), bool.
        field: The part of the image that counts; None for all of it.

    Returns:
        The area under the ROC curve; 0.5 for a constant map, NaN where the mask is empty or full.
    """
    if field is not None:
        values, mask = field.crop(values), field.crop(mask)
    return roc_area(level_histogram(to_levels(values), mask))


def level_to_show(maps: Sequence[AttentionMap], mask: Mask, field: Field | None = None) -> int | None:
    """The level of the map that agrees best with the predicted mask; of equal ones, the finest.

    Args:
        maps: The finest level first.
        mask: What was predicted, shape (H, W), bool.
        field: As of `agreement`.

    Returns:
        The middle level (of an even number, the finer of the two) where the mask is empty or full; None without maps.
    """
    if not maps:
        return None
    scores = [agreement(each.map, mask, field) for each in maps]
    if scores[0] != scores[0]:
        return maps[(len(maps) - 1) // 2].level
    return maps[scores.index(max(scores))].level
