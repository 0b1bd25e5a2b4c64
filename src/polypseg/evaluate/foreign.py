"""Files of others that are to be scored or scored against: whether the folder as a whole is what it is taken for.

Decisions:
- A map is read as level / 255. Labels (0/1, 0/2), colours and transparency read so would score 0, or nearly, and nobody
  would know; so all files are looked at before the first is scored.
- A single file tells little: a confident model's map may have no level but 0 and 1, above all without a polyp. A
  folder of files that all have two levels is one of masks, and there the second must be 255 where there is a polyp.
- What is dark or bright everywhere may be the answer of a bad model: it is scored, with a note.
- Maps that fit their references far better turned, mirrored or inverted are refused, and named in a note where the
  folder is too small to be sure.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.data.masks import inverted, set_faults
from polypseg.data.samples import MaskFacts, Sample, mask_facts
from polypseg.errors import ImageError, ScoreError, listed
from polypseg.evaluate.selection import ImageToScore
from polypseg.preprocess import image_size, read_map, read_mask
from polypseg.preprocess.outlines import is_outline
from polypseg.progress import Track

FEW = 8
"""A file of at most so many levels, none of them lost, may be one of labels."""

LABEL, TINY = 32, 8
"""A file of two levels that gets no brighter than the first, or of few that gets no brighter than the second, is in
another encoding than the white ones beside it; a polyp that a model of few steps missed is brighter."""

SIDE = 64
"""Maps and references are compared at this size: a map that was turned and then resized is turned at this one."""

COMPARED = 40
"""So many pairs are compared."""

BRIGHT = 100
"""No map is darker: background is no probability of 0.39, unless a sigmoid was applied twice (then it is 0.5)."""

MOST_OUTLINES = 0.8
"""A folder of so many outlines, among its maps of two levels, was not filled."""

ONE_AS_IT_IS, ONE_UNDONE = 0.3, 0.9
"""A single map that fits no better than the first as it is, and better than the second undone, is named."""

MOST_AS_IT_IS, GAIN, SURE = 0.4, 0.3, 4
"""Maps that lie wrong fit no better than this as they are, and by so much Dice better undone; in so many pairs at least
it is no chance."""

_Turn = Callable[[NDArray[np.float32]], NDArray[np.float32]]

_TURNS: Mapping[str, _Turn] = MappingProxyType(
    {
        "mirrored left to right": lambda grey: grey[:, ::-1],
        "upside down": lambda grey: grey[::-1],
        "turned by 180 degrees": lambda grey: grey[::-1, ::-1],
        "turned left": lambda grey: np.rot90(grey, -1),
        "turned right": lambda grey: np.rot90(grey),
        "transposed": lambda grey: grey.T,
        "transposed along the other diagonal": lambda grey: grey[::-1, ::-1].T,
        "inverted (polyp black)": lambda grey: 1 - grey,
    }
)
"""What was done to the maps, and what undoes it."""


class _Look(NamedTuple):
    """What a map looks like, and whether its reference holds a polyp (None where it was not read).

    It is an outline only where it has two levels.
    """

    name: str
    has_polyp: bool | None
    levels: tuple[int, ...]
    darkest: int
    brightest: int
    is_coloured: bool
    is_transparent: bool
    is_outline: bool


def judge_references(cases: Sequence[ImageToScore], track: Track) -> dict[str, bool]:
    """Whether each reference holds a polyp, by name; files that cannot be read are left out, scoring tells of them.

    Raises:
        ScoreError: They do not agree, or look inverted.
    """
    masked = [case for case in cases if case.reference_path is not None]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(track(pool.map(_facts, masked), "looking at references", len(masked)))
    facts = [fact for fact in found if fact is not None]
    with_polyp = {fact.name: fact.share > 0 for fact in facts}
    if not facts:
        return with_polyp
    rule = masked[0].mask_rule
    doubtful = [f"{fault.name}: {fault.reason}" for fault in inverted(facts, rule)]
    problems = set_faults(facts, rule, empty_masks=True) or doubtful[:1]
    if problems:
        more = f" ({len(doubtful) - 1} more)" if problems == doubtful[:1] and len(doubtful) > 1 else ""
        raise ScoreError(f"the references: {problems[0]}{more}")
    return with_polyp


def judge_predictions(
    folder: Path, cases: Sequence[ImageToScore], with_polyp: Mapping[str, bool], track: Track
) -> list[str]:
    """What a reader of the scores should know of a folder of maps.

    Args:
        folder: For messages.
        cases: With their predictions' files.
        with_polyp: From `judge_references`.
        track: Shows progress.

    Raises:
        ScoreError: The files are no probability maps or masks of these references.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        looked = pool.map(lambda case: _look(case, with_polyp.get(case.name)), cases)
        found = list(track(looked, "looking at predictions", len(cases)))
    looks = [look for look in found if look is not None]
    _refuse_pictures(folder, looks)
    _refuse_labels(folder, looks)
    _refuse_outlines(folder, looks)
    _refuse_swapped_sides(folder, cases)
    return [*_dim_note(looks, cases), *_bright_note(looks), *_turned_note(folder, cases)]


def _facts(case: ImageToScore) -> MaskFacts | None:
    if case.reference_path is None:
        return None
    with suppress(ImageError):  # said when it is scored
        return mask_facts(Sample(case.name, case.reference_path, case.reference_path, mask_rule=case.mask_rule))[1]
    return None


def _look(case: ImageToScore, has_polyp: bool | None) -> _Look | None:
    if case.prediction_path is None:
        return None
    with suppress(ImageError):  # said when it is scored
        found = read_map(case.prediction_path)
        is_few = found.num_levels <= FEW and not found.is_lossy
        levels = tuple(np.unique(found.grey).tolist()) if is_few else ()
        darkest, brightest = int(found.grey.min()), int(found.grey.max())
        name = case.prediction_path.name
        is_line = len(levels) == 2 and is_outline(found.grey == brightest)
        return _Look(name, has_polyp, levels, darkest, brightest, found.is_coloured, found.is_transparent, is_line)
    return None


def _refuse_pictures(folder: Path, looks: Sequence[_Look]) -> None:
    for kind, names in (
        ("in colours (a heat map, a label map)", [look.name for look in looks if look.is_coloured]),
        ("transparent in parts", [look.name for look in looks if look.is_transparent]),
    ):
        if names:
            raise ScoreError(
                f"{folder}: {len(names)} of {len(looks)} predictions are {kind}; expected grey maps or black and white "
                f"masks, 0 no polyp and 255 polyp: save them so{listed(names, 3)}"
            )


def _refuse_labels(folder: Path, looks: Sequence[_Look]) -> None:
    """Nothing, unless the folder holds labels rather than levels of 0 to 255."""
    shown = [look for look in looks if look.brightest and look.has_polyp is not False]
    if not shown or not all(look.levels for look in shown):
        return
    highest = max(look.brightest for look in shown)
    are_masks = all(len(look.levels) <= 2 for look in shown)
    limit = 127 if highest <= 127 else LABEL if are_masks else TINY
    dim = [look for look in shown if look.brightest <= limit]
    if dim:
        values = ", ".join(str(value) for value in sorted({look.brightest for look in dim})[:5])
        raise ScoreError(
            f"{folder}: {len(dim)} of {len(shown)} predictions have a largest value of {values}; "
            "expected 0 to 255 (0 no polyp, 255 polyp) in every file: multiply 0/1 masks by 255"
            f"{listed([look.name for look in dim], 3)}"
        )


def _refuse_outlines(folder: Path, looks: Sequence[_Look]) -> None:
    masks = [look for look in looks if len(look.levels) == 2]
    lines = [look.name for look in masks if look.is_outline]
    if lines and len(lines) >= MOST_OUTLINES * len(masks):
        raise ScoreError(
            f"{folder}: {len(lines)} of {len(looks)} predictions are outlines without their filling; expected masks: "
            f"fill them{listed(lines, 3)}"
        )


def _refuse_swapped_sides(folder: Path, cases: Sequence[ImageToScore]) -> None:
    swapped = []
    for case in cases:
        with suppress(ImageError):
            if case.prediction_path is not None and case.reference_path is not None:
                high, wide = image_size(case.prediction_path)
                if high != wide and (wide, high) == image_size(case.reference_path):
                    swapped.append(case.name)
    if swapped:
        raise ScoreError(
            f"{folder}: {len(swapped)} of {len(cases)} predictions have the height and width of their reference "
            f"swapped; they are turned or transposed: turn them back{listed(swapped, 3)}"
        )


def _dim_note(looks: Sequence[_Look], cases: Sequence[ImageToScore]) -> list[str]:
    highest = max((look.brightest for look in looks), default=0)
    if not looks or highest > 127 or all(case.reference_path is None for case in cases):
        return []
    if highest == 0:
        words = "all predictions are black: no polyp is found anywhere"
        return [words] if any(look.has_polyp for look in looks) else []
    return [
        f"no prediction is brighter than {highest} of 255, so that none reaches the threshold 0.5; were they stored as "
        "0 to 1 or 0 to 100?"
    ]


def _bright_note(looks: Sequence[_Look]) -> list[str]:
    lowest = min((look.darkest for look in looks), default=0)
    if lowest < BRIGHT:
        return []
    return [f"no prediction is darker than {lowest} of 255 anywhere; was a sigmoid applied twice?"]


def _turned_note(folder: Path, cases: Sequence[ImageToScore]) -> list[str]:
    """A note where the maps fit better in another way up, and the folder is too small to be sure.

    Raises:
        ScoreError: It is sure.
    """
    pairs = _small_pairs(cases)
    if not pairs:
        return []
    as_it_is = np.array([_soft_dice(grey, mask) for _, grey, mask in pairs])
    undone = {
        done: np.array([_soft_dice(undo(grey), mask) for _, grey, mask in pairs]) for done, undo in _TURNS.items()
    }
    done, turned = max(undone.items(), key=lambda item: float(item[1].mean()))
    is_better = as_it_is.mean() < MOST_AS_IT_IS and turned.mean() > as_it_is.mean() + GAIN
    if not is_better or np.mean(turned > as_it_is) < 0.8:
        best = np.max(list(undone.values()), axis=0)
        alone = np.flatnonzero((as_it_is <= ONE_AS_IT_IS) & (best >= ONE_UNDONE))
        return [_alone_note([pairs[place][0] for place in alone])] if alone.size else []
    words = (
        f"the predictions look {done}: undone, {len(pairs)} of them have a mean Dice of {turned.mean():.2f} "
        f"instead of {as_it_is.mean():.2f}"
    )
    if len(pairs) >= SURE:
        raise ScoreError(f"{folder}: {words}; save them as their references lie")
    return [words]


def _alone_note(names: Sequence[str]) -> str:
    """Of single maps among others that lie right."""
    more = ", …" if len(names) > 5 else ""
    return f"fits its reference only if turned, mirrored or inverted: {', '.join(names[:5])}{more}"


def _small_pairs(cases: Sequence[ImageToScore]) -> list[tuple[str, NDArray[np.float32], NDArray[np.float32]]]:
    """Name, map and reference of some of the cases with a polyp, both in [0, 1] and of one small size."""
    chosen = [case for case in cases if case.prediction_path is not None and case.reference_path is not None]
    pairs = []
    for case in chosen[:: max(1, len(chosen) // COMPARED)][:COMPARED]:
        if case.prediction_path is None or case.reference_path is None:
            continue
        with suppress(ImageError):
            mask = read_mask(case.reference_path, case.mask_rule)
            grey = read_map(case.prediction_path).grey
            if mask.any():
                pairs.append((case.name, _small((grey / 255).astype(np.float32)), _small(mask.astype(np.float32))))
    return pairs


def _small(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)


def _soft_dice(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    return float(2 * np.minimum(first, second).sum() / max(1e-6, first.sum() + second.sum()))
