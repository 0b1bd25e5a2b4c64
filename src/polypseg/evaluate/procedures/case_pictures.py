"""Pictures of the cases of whole procedures: crops of what was missed, found, and falsely marked.

Decisions:
- They are made on request alone: pictures of the data may be private, and the rest of a report shows none.
- Missed are the lesions that are never found, in the frame in which they are largest; where there are fewer than
  `NUM_PICTURES`, the largest sights that are missed of the others, one a lesion. Found are lesions in their first found
  frame, the latest first. False are the longest false alerts, in the frame of their highest score.
- The lesion's box is white, a finding that meets one blue, a false one yellow. A crop holds both boxes and their
  surroundings.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from polypseg.arrays import Image
from polypseg.errors import ScoreError, plural
from polypseg.evaluate.procedures.facts import Facts
from polypseg.evaluate.procedures.films import Film, film_frames, read_film_frame
from polypseg.evaluate.procedures.frames import Frames, natural
from polypseg.metrics.procedures.alerts import stretches
from polypseg.metrics.procedures.lesions import LesionTable, lesion_table
from polypseg.metrics.procedures.tables import Flags, Numbers, Procedures
from polypseg.overlay import FALSE_POSITIVE, OUTLINE, TRUE_POSITIVE, line_width_px
from polypseg.records.deployment import CasePicture, DeploymentFolder

NUM_PICTURES = 6
"""Of each kind."""

SURROUNDINGS, LEAST_SHARE = 0.6, 0.4
"""Of a crop: so much of the boxes' longer side around them, and at least so much of the frame's shorter side."""

LEAST_LINE_PX = 2
"""A thinner line loses its colour in a JPEG."""


class Case(NamedTuple):
    """What is shown: its kind, the frame, and what is to be said of it."""

    kind: str
    frame: int
    caption: str


class Filmed(NamedTuple):
    """Where the frames are: the films, and the frames of the references, whose names those of videos get."""

    films: Sequence[Film]
    known: Frames | None


def check_films(films: Sequence[Film], frames: Frames) -> None:
    """Nothing, if each procedure has its film. Frames of a folder are looked up; a video file is not read.

    Raises:
        ScoreError: A film, or a frame of a folder, is missing.
    """
    by_name = {film.name: film for film in films}
    for name in frames.names:
        film = by_name.get(name)
        if film is None:
            there = ", ".join(list(by_name)[:3])
            raise ScoreError(f"procedure {name}: missing in the videos, which have {there}; expected the same names")
        lacking = [] if film.is_video else sorted(set(frames.keys_of(name)) - {path.stem for path in film.files})
        if lacking:
            raise ScoreError(
                f"{name}: {plural(len(lacking), 'frame is', 'frames are')} "
                f"missing in the videos, as {lacking[0]}; add them"
            )


def draw_cases(
    facts: Facts, names: Sequence[str], threshold: float, withhold: int, filmed: Filmed, folder: DeploymentFolder
) -> list[CasePicture]:
    """The pictures, once they and their list are written to the folder.

    Args:
        facts: All that is known.
        names: Of the procedures that are evaluated.
        threshold: The score from which on a finding counts.
        withhold: Frames; findings of shorter tracks do not count.
        filmed: Where the frames are.
        folder: Of the report.

    Raises:
        ImageError: A frame cannot be read any more.
        ScoreError: A video ends before a frame.
    """
    procedures = facts.withheld(withhold)
    cases = list(choose_cases(procedures, threshold, names))
    wanted = {(_name(procedures, case.frame), facts.keys[case.frame]) for case in cases}
    images = dict(_read(filmed, wanted))
    pictures, contents = [], []
    for number, case in enumerate(cases, 1):
        name, key = _name(procedures, case.frame), facts.keys[case.frame]
        image = images.get((name, key))
        if image is not None:
            shown = crop(image, *_boxes(facts, case.frame, threshold, withhold), case.kind == "false")
            contents.append(cv2.imencode(".jpg", cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))[1].tobytes())
            file = f"{number:02d}-{case.kind}.jpg"
            pictures.append(CasePicture(kind=case.kind, file=file, procedure=name, frame=key, caption=case.caption))
    folder.write_pictures(pictures, contents)
    return pictures


def choose_cases(procedures: Procedures, threshold: float, names: Sequence[str]) -> Iterator[Case]:
    """What is shown, a few of each kind, over the procedures of these names."""
    is_wanted = np.isin(np.array(procedures.names), names)
    table = lesion_table(procedures, threshold)
    yield from _missed(procedures, table, threshold, is_wanted)
    starts = np.searchsorted(procedures.procedure, procedures.lesion_procedure)
    is_found = (table.num_found > 0) & is_wanted[procedures.lesion_procedure]
    latest = sorted(np.flatnonzero(is_found).tolist(), key=lambda place: -table.latency_frames[place])
    for place in latest[:NUM_PICTURES]:
        late = table.latency_seconds[place]
        told = f"lesion {procedures.lesions[place]}, found " + (f"after {late:.2f} s" if late > 0 else "at once")
        yield Case("found", int(starts[place] + table.first_found[place]), told)
    is_false = (procedures.false_score >= threshold) & is_wanted[procedures.procedure]
    first, last = stretches(is_false, procedures.is_first)
    for begins, ends in sorted(zip(first.tolist(), last.tolist(), strict=True), key=lambda run: run[0] - run[1])[
        :NUM_PICTURES
    ]:
        frame = begins + int(np.argmax(procedures.false_score[begins : ends + 1]))
        length = f"{ends - begins + 1} frames" if ends > begins else "1 frame"
        yield Case("false", frame, f"{length}, score {procedures.false_score[frame]:.2f}")


def _missed(procedures: Procedures, table: LesionTable, threshold: float, is_wanted: Flags) -> Iterator[Case]:
    """The lesions that are never found first, then the largest missed sights of the others."""
    is_missed = (procedures.sight_score < threshold) & is_wanted[procedures.lesion_procedure[procedures.sight_lesion]]
    size = np.nan_to_num(procedures.sight_percent)
    never = (table.num_found == 0)[procedures.sight_lesion]
    order = np.flatnonzero(is_missed)[np.lexsort([-size[is_missed], ~never[is_missed]])]
    shown: set[int] = set()
    for place in order.tolist():
        lesion = int(procedures.sight_lesion[place])
        if lesion not in shown and len(shown) < NUM_PICTURES:
            shown.add(lesion)
            found = int(table.num_found[lesion])
            told = f"lesion {procedures.lesions[lesion]}, found in {found} of {table.num_visible[lesion]} frames"
            yield Case("missed", int(procedures.sight_frame[place]), told)


def crop(image: Image, lesions: Numbers, true: Numbers, false: Numbers, of_false: bool) -> Image:
    """The part of a frame around what a case is about, with boxes.

    Args:
        image: Shape (H, W, 3), uint8.
        lesions: Boxes, shape (N, 4), of the lesions in sight; NaN where only the time is known.
        true: Of findings that meet one.
        false: Of the others.
        of_false: Whether the case is about the false ones.
    """
    part = _part(image.shape, false if of_false else np.concatenate([lesions, true]))
    drawn = image[part].copy()
    width = max(LEAST_LINE_PX, line_width_px(drawn.shape))  # of what is shown: a small crop is shown large
    top, left = part[0].start, part[1].start
    for boxes, colour in ((lesions, OUTLINE), (true, TRUE_POSITIVE), (false, FALSE_POSITIVE)):
        for x, y, wide, high in boxes[np.isfinite(boxes).all(axis=1)].tolist():
            corners = (round(x) - left, round(y) - top), (round(x + wide) - left, round(y + high) - top)
            cv2.rectangle(drawn, *corners, colour, width)
    return drawn


def _part(shape: tuple[int, ...], about: Numbers) -> tuple[slice, slice]:
    """Rows and columns around boxes; all of the frame where their place is unknown."""
    about = about[np.isfinite(about).all(axis=1)]
    if not len(about):
        return slice(0, shape[0]), slice(0, shape[1])
    low, high = about[:, :2].min(axis=0), (about[:, :2] + about[:, 2:]).max(axis=0)
    side = max(float((high - low).max()) * (1 + 2 * SURROUNDINGS), LEAST_SHARE * min(shape[:2]))
    left, top = (np.maximum(0, (low + high - side) / 2)).astype(int).tolist()
    return slice(top, top + round(side)), slice(left, left + round(side))


def _boxes(facts: Facts, frame: int, threshold: float, withhold: int) -> tuple[Numbers, Numbers, Numbers]:
    """The boxes of a frame's lesions, of the findings that meet one, and of the others."""
    counts = facts.counting(withhold) & (facts.findings.frame == frame) & (facts.findings.score >= threshold)
    is_true, boxes = facts.procedures.is_true[counts], facts.findings.box[counts]
    return facts.sights.box[facts.sights.frame == frame], boxes[is_true], boxes[~is_true]


def _name(procedures: Procedures, frame: int) -> str:
    return procedures.names[int(procedures.procedure[frame])]


def _read(filmed: Filmed, wanted: set[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], Image]]:
    """The wanted frames, each film read once and no further than it must be."""
    for film in filmed.films:
        left = {key for name, key in wanted if name == film.name}
        if not film.is_video:
            for path in film.files:
                if path.stem in left:
                    yield (film.name, path.stem), read_film_frame(path)
            continue
        for frame in film_frames(film, filmed.known) if left else ():
            if frame.key in left and frame.image is not None:
                yield (film.name, frame.key), frame.image
            left.discard(frame.key)
            if not left:
                break
        if left:
            raise ScoreError(f"{film.files[0]}: has no frame {min(left, key=natural)}; name the videos of the findings")
