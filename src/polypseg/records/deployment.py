"""The deployment report's files: what an evaluation of whole procedures leaves behind.

deployment.json  every figure, with intervals, definitions and provenance
procedures.csv   one row per procedure
lesions.csv      a row a lesion
frames.csv       one row per frame: lesions in sight, highest scores
findings.csv     a row a finding; `polypseg evaluate --predictions` reads it again
curves.npz       FROC and AFROC at every threshold
cases/           pictures of missed, found and false cases and their list, where they were asked for
report.html      the page
"""

import csv
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from polypseg.errors import ScoreError
from polypseg.metrics.procedures.curves import FrocCurves
from polypseg.records.atomic import building, replacing, write_bytes, write_text
from polypseg.records.reading import FileKind, Saved, read_json, read_npz, stream_cells, stream_rows

KIND = FileKind("deployment report", ScoreError, "evaluate again with: polypseg evaluate MODEL --videos DIR")
MOST_MIB = 4096
PICTURES_NAME = "cases.json"
PICTURES = FileKind("list of case pictures", ScoreError, "evaluate again with --case-pictures")
TABLE = FileKind("table of a deployment report", ScoreError, "evaluate the videos again", MOST_MIB)

FRAME_COLUMNS = ("procedure", "frame", "seconds", "num_lesions", "found_score", "false_score", "top_score")
"""Of frames.csv."""


class LesionRow(NamedTuple):
    """A row of lesions.csv, as far as the page shows it.

    Attributes:
        procedure: Its name.
        lesion: Its name.
        num_visible: Frames in which it is in sight.
        first_visible: The first of them, counted from 0.
        num_found: Frames in which it is found.
        latency_seconds: From its first sight until it is found; NaN where it never is.
        persistence: The share of its visible frames in which it is found.
    """

    procedure: str
    lesion: str
    num_visible: int
    first_visible: int
    num_found: int
    latency_seconds: float
    persistence: float


class Figure(Saved):
    """A figure and its interval over procedures; None where it is unknown.

    Attributes:
        value: The figure.
        low: Of its interval.
        high: Of its interval.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


class Alerts(Saved):
    """False alerts under one definition.

    Attributes:
        definition: Its name.
        num_alerts: In all procedures; None where how long an alert lasts is asked, and one of them is a single frame.
        per_minute: Over the length of all procedures.
        per_procedure: Mean over procedures.
    """

    definition: str
    num_alerts: int | None
    per_minute: Figure
    per_procedure: Figure


class FrameFigures(Saved):
    """Frame by frame; counts and shares.

    Attributes:
        num_frames: All of them.
        num_lesion_frames: With a lesion in sight.
        num_clean: Without.
        sensitivity: Share of the frames with a lesion in which one is found.
        specificity: Share of the clean frames in which nothing is found.
        false_positive_rate: The rest of them.
        lesion_sensitivity: Share of the lesions, counted in each of their frames, that are found.
        false_per_frame: False findings a frame.
        false_percent: Mean area of a false finding, in per cent of the frame.
    """

    num_frames: int
    num_lesion_frames: int
    num_clean: int
    sensitivity: Figure
    specificity: Figure
    false_positive_rate: Figure
    lesion_sensitivity: Figure
    false_per_frame: Figure
    false_percent: Figure


class LesionFigures(Saved):
    """Lesion by lesion; shares are over all lesions, those that are never found too.

    Attributes:
        num_lesions: All of them.
        num_found: Found in any frame.
        found: Their share.
        persistent: By share of the visible frames (`0.25`), the share of lesions that are found in so many.
        within_seconds: By seconds after they become visible (`1`), the share of lesions that are found by then.
        persistence: Mean share of the visible frames in which a lesion is found.
        median_latency_seconds: Over the lesions that are found.
        median_lasting_latency_seconds: Over those with a lasting detection.
        lasting: Share of lesions with a lasting detection.
        num_fragments: Mean number of stretches in which a found lesion is found.
    """

    num_lesions: int
    num_found: int
    found: Figure
    persistent: dict[str, Figure]
    within_seconds: dict[str, Figure]
    persistence: Figure
    median_latency_seconds: float | None
    median_lasting_latency_seconds: float | None
    lasting: Figure
    num_fragments: float | None


class BoundaryFigures(Saved):
    """Outlines where a lesion is found, and failures over all frames in which a lesion is visible.

    Attributes:
        num_compared: Lesions, counted in each frame, whose outlines were compared.
        dice: Mean.
        boundary_iou: Mean.
        empty: Share of the visible lesions that nothing meets.
        low_dice: Share of the compared ones with a Dice below 0.5.
        low_boundary_iou: Share of the compared ones with a boundary IoU below 0.2.
    """

    num_compared: int
    dice: Figure
    boundary_iou: Figure
    empty: Figure
    low_dice: Figure
    low_boundary_iou: Figure


class Point(Saved):
    """All figures at one threshold.

    Attributes:
        name: Which threshold it is.
        threshold: The score from which on a finding counts.
        procedures: Over which procedures.
        frames: Frame by frame.
        alerts: False alerts, by definition.
        lesions: Lesion by lesion.
        by_look: The same in parts, by way (`size`) and part (`small`).
        boundary: Outlines; None without masks.
    """

    name: str
    threshold: float
    procedures: tuple[str, ...]
    frames: FrameFigures
    alerts: tuple[Alerts, ...]
    lesions: LesionFigures
    by_look: dict[str, dict[str, LesionFigures]] = Field(default_factory=dict)
    boundary: BoundaryFigures | None = None


class MatchedPoint(Saved):
    """The threshold at a given burden.

    Attributes:
        definition: Of the burden.
        budget: What was allowed.
        threshold: None where no score keeps within the budget.
        burden: On the procedures on which it was chosen.
        sensitivity: Frame sensitivity there.
        chosen_on: The procedures.
        is_optimistic: Whether it is evaluated on the procedures on which it was chosen.
    """

    definition: str
    budget: float
    threshold: float | None
    burden: float
    sensitivity: float
    chosen_on: tuple[str, ...]
    is_optimistic: bool


class Variation(Saved):
    """What changes with smoothing, withheld frames and threshold.

    Attributes:
        smoothing: Its name.
        withhold: Frames.
        threshold: The score.
        sensitivity: Of frames.
        false_positive_rate: Of clean frames; None without one.
        found: Share of lesions.
        alerts_per_minute: Of half a second and more.
    """

    smoothing: str
    withhold: int
    threshold: float
    sensitivity: float | None
    false_positive_rate: float | None
    found: float | None
    alerts_per_minute: float | None


class CasePicture(Saved):
    """A picture of a case.

    Attributes:
        kind: `missed`, `found` or `false`.
        file: Its name in the folder of pictures.
        procedure: Where it was seen.
        frame: Its name.
        caption: What is to be said of it.
    """

    kind: str
    file: str
    procedure: str
    frame: str
    caption: str


class Deployment(Saved):
    """A deployment report.

    Attributes:
        title: Whose findings.
        points: At the model's threshold first, then at the matched one.
        matched: How that was chosen; None where nothing was asked for.
        afroc_area: Area under AFROC; None without clean frames.
        variations: Sensitivity analyses.
        provenance: Command, versions, inputs, settings.
        notes: What a reader must know.
    """

    title: str
    points: tuple[Point, ...]
    matched: MatchedPoint | None = None
    afroc_area: float | None = None
    variations: tuple[Variation, ...] = ()
    provenance: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeploymentFolder:
    """Where the files lie.

    Attributes:
        folder: Made where it is missing.
    """

    folder: Path

    @property
    def record_path(self) -> Path:
        """Every figure."""
        return self.folder / "deployment.json"

    @property
    def page_path(self) -> Path:
        """The page."""
        return self.folder / "report.html"

    @property
    def curves_path(self) -> Path:
        """FROC and AFROC."""
        return self.folder / "curves.npz"

    def table_path(self, name: str) -> Path:
        """`procedures`, `lesions`, `frames` or `findings`."""
        return self.folder / f"{name}.csv"

    def read(self) -> Deployment:
        """The record.

        Raises:
            ScoreError: It is missing or damaged.
        """
        return read_json(self.record_path, Deployment, KIND)

    def read_lesions(self) -> list[LesionRow]:
        """The rows of the table of lesions; errors as `read`."""
        path = self.table_path("lesions")
        try:
            return [
                LesionRow(procedure, lesion, int(visible), int(first), int(found), float(latency), float(persistence))
                for procedure, lesion, visible, first, found, latency, persistence in stream_cells(
                    path, LesionRow._fields, TABLE
                )
            ]
        except ValueError as error:
            raise TABLE.damaged(path, error) from error

    def stream_frames(self) -> Iterator[list[str]]:
        """The rows of the table of frames, cells as in `FRAME_COLUMNS`; errors as `read`."""
        return stream_rows(self.table_path("frames"), FRAME_COLUMNS, TABLE)

    def read_curves(self) -> FrocCurves:
        """FROC and AFROC; errors as `read`."""
        arrays = read_npz(self.curves_path, FrocCurves._fields, TABLE)
        return FrocCurves(*(arrays[name] for name in FrocCurves._fields))

    @property
    def pictures_folder(self) -> Path:
        """The pictures of cases, where they were asked for."""
        return self.folder / "cases"

    def pictures(self) -> list[CasePicture]:
        """The pictures of cases; none where they were not asked for; errors as `read`."""
        path = self.pictures_folder / PICTURES_NAME
        return read_json(path, list[CasePicture], PICTURES) if path.exists() else []

    def write_pictures(self, pictures: Sequence[CasePicture], contents: Sequence[bytes]) -> None:
        """Write pictures, the content of a JPEG file each, and their list; those of before are removed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with building(self.pictures_folder, overwrite=True) as temporary:
            for picture, content in zip(pictures, contents, strict=True):
                write_bytes(temporary / picture.file, content)
            listed = [picture.model_dump() for picture in pictures]
            write_text(temporary / PICTURES_NAME, json.dumps(listed, indent=1) + "\n")

    def write(self, record: Deployment, tables: Mapping[str, "Table"], curves: FrocCurves) -> None:
        """Write all but the page; the record last, so that it stands for whole files. Earlier pictures are removed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.pictures_folder / PICTURES_NAME).exists():  # else they would be shown as cases of these findings
            shutil.rmtree(self.pictures_folder)
        for name, table in tables.items():
            table.write(self.table_path(name))
        with replacing(self.curves_path) as temporary, temporary.open("wb") as opened:
            np.savez_compressed(opened, **curves._asdict())  # type: ignore[arg-type]
        write_text(self.record_path, record.model_dump_json(indent=1) + "\n")


@dataclass(frozen=True)
class Table:
    """A CSV table.

    Attributes:
        columns: Their names.
        rows: Cells as they are written.
    """

    columns: Sequence[str]
    rows: Iterable[Sequence[Any]]

    def write(self, path: Path) -> None:
        """Write the lines, row by row; numbers with all their digits."""
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as opened:
            writer = csv.writer(opened, lineterminator="\n")
            writer.writerow(self.columns)
            writer.writerows(self.rows)
