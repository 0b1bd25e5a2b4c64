"""The frames to look at again: a column of the table, and a folder of pictures, the most doubtful first.

Decisions:
- There is an order for each of two kinds of failure (`predict.doubt`); both take turns, or the caller names one. A
  budget says how many frames are looked at.
- It is worked out when all frames are predicted, over all rows of the table: earlier calls' too.
- A picture's name begins with its place, so that any viewer shows them in order.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from polypseg.errors import DataError, ImageError
from polypseg.overlay import contour, line_width_px, overlay
from polypseg.predict.doubt import UNKNOWN, Doubt, to_review
from polypseg.predict.images.outputs import REVIEW, OutputFolder, encode_png, write_bytes_within
from polypseg.predict.images.sources import STDIN, ImageSource
from polypseg.predict.images.table import Row, read_rows, text_cell, write_rows
from polypseg.preprocess import MAX_PIXELS, read_mask

_OURS = re.compile(r"\d{4,}_.*\.png")


def write_review(
    output: OutputFolder, sources: Sequence[ImageSource], budget: float, max_pixels: int = MAX_PIXELS
) -> Path:
    """Mark the frames to look at again in the table, and write their pictures.

    Args:
        output: The folder; all its frames are predicted.
        sources: Of this call: pictures are written of these alone.
        budget: Share of the frames, above 0 and at most 1.
        max_pixels: As they were predicted with.

    Returns:
        The folder of the pictures.

    Raises:
        UsageError: Another budget.
    """
    rows = read_rows(output.table_path)
    doubts = [_doubt(row) for row in rows]
    is_marked = [row.area_px > 0 for row in rows]
    again = to_review(doubts, is_marked, budget, output.options.review_for)
    places = [each.place for each in again]
    ranks = {place: rank for rank, place in enumerate(places, 1)}
    reasons = dict(again)
    marked = [
        replace(
            row,
            look_again=math.nan if math.isnan(doubts[place].outline) else ranks.get(place, 0),
            look_again_for=reasons.get(place, ""),
        )
        for place, row in enumerate(rows)
    ]
    write_rows(output.table_path, marked)
    folder = output.folder / REVIEW
    for path in folder.glob("*.png"):
        if _OURS.fullmatch(path.name):
            path.unlink()
    by_cell = {text_cell(source.name): source for source in sources}
    for place in places:
        source = by_cell.get(rows[place].name)
        picture = None if source is None else _picture(output, source, max_pixels)
        if source is not None and picture is not None:
            name = f"{ranks[place]:04}_{source.name.replace('/', '_')}.png"
            write_bytes_within(output.folder, folder / name, picture)
    return folder


def _doubt(row: Row) -> Doubt:
    """What a row says; unknown where it was not predicted, or by an earlier version."""
    if row.fault or math.isnan(row.outline_doubt):
        return UNKNOWN
    return Doubt(row.mark_doubt, row.outline_doubt)


def _picture(output: OutputFolder, source: ImageSource, max_pixels: int) -> bytes | None:
    """The image with its mask; None where it cannot be read a second time."""
    if source.path == STDIN:
        return None
    try:
        image, mask = source.read(max_pixels), read_mask(output.mask_path(source.name))
    except (ImageError, DataError, OSError):
        return None
    if image.shape[:2] != mask.shape:
        return None
    drawn = overlay(image, np.asarray(mask, bool), opacity=0.3)
    return encode_png(contour(drawn, mask, width_px=line_width_px(mask.shape)))
