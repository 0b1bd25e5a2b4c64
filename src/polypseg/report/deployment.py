"""The page of a deployment report, and its section of a model card: read from the saved folder alone.

Decisions:
- As the page of an evaluation: it stands alone, without script or network. It shows no picture of the data but those
  of cases that were asked for.
- A timeline has a column for each part of a procedure; a column shows what happens in any of its frames.
"""

from array import array
from collections.abc import Iterator, Mapping
from functools import partial
from heapq import nlargest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from polypseg import __version__
from polypseg.errors import plural
from polypseg.metrics.procedures.curves import FrocCurves
from polypseg.preprocess import read_image
from polypseg.records.atomic import write_text
from polypseg.records.deployment import TABLE, Deployment, DeploymentFolder, Figure, LesionFigures, Point
from polypseg.report.canvas import BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, SMALL_PT, blank_figure, style_panel
from polypseg.report.cases import data_uri
from polypseg.report.curve_panels import plot_panel
from polypseg.report.documents import render_html, render_markdown, trusted
from polypseg.report.html import Chart
from polypseg.report.svg import inline_svg
from polypseg.report.timeline import BACKGROUND, NUM_COLUMNS, covered, frame_seconds

MOST_TIMELINES = 40
"""Procedures with a timeline; the others are in frames.csv."""

MOST_POINTS = 2000
"""Points of a drawn curve."""

NUM_CASES = 10
"""Rows of each table of cases."""

PICTURE_KINDS = {"missed": "Missed", "found": "Found, latest first", "false": "Longest false alerts"}

STRIPS = (("lesion in sight", PURPLE), ("found", GREEN), ("missed", ORANGE), ("false alert", BLUE))


class Course(NamedTuple):
    """A procedure, one value per frame.

    Attributes:
        seconds: Since its first frame.
        num_lesions: In sight.
        found: The highest score of a finding on a lesion; 0 for none.
        false: The highest score of a false finding; 0 for none.
    """

    seconds: NDArray[np.float64]
    num_lesions: NDArray[np.float64]
    found: NDArray[np.float64]
    false: NDArray[np.float64]


def write_deployment_page(folder: DeploymentFolder) -> Path:
    """The path of the page, once it is written into the folder, and the model card's section beside it."""
    write_text(folder.page_path, render_deployment(folder))
    record = folder.read()
    write_text(folder.folder / "model_card_section.md", card_section(record))
    return folder.page_path


def render_deployment(folder: DeploymentFolder) -> str:
    """The page."""
    record = folder.read()
    first = record.points[0]
    courses = read_courses(folder)
    filmed = [name for name in first.procedures if name in courses and len(courses[name].seconds) > 1]
    shown = filmed[:MOST_TIMELINES]
    return render_html(
        "deployment.html.j2",
        version=__version__,
        record=record,
        tiles=list(tiles(first)),
        frame_rows=frame_rows(record.points),
        alert_rows=alert_rows(record.points),
        lesion_rows=lesion_rows([(point.name, point.lesions) for point in record.points]),
        look_rows={
            way: lesion_rows([(part, found) for part, found in parts.items()]) for way, parts in first.by_look.items()
        },
        boundary_rows=boundary_rows(record.points),
        curves=list(_curve_charts(folder, record)),
        timelines=[_timeline_chart(name, courses[name], first.threshold, number) for number, name in enumerate(shown)],
        num_hidden=len(filmed) - len(shown),
        num_single=len(first.procedures) - len(filmed),
        cases=_cases(folder, first, courses),
        pictures=_pictures(folder),
        variations=record.variations,
        text=text,
    )


def card_section(record: Deployment) -> str:
    """What a model card says of whole procedures, in Markdown."""
    return render_markdown(
        "deployment_section.md.j2",
        record=record,
        rows=[*frame_rows(record.points), *alert_rows(record.points)],
        lesion_rows=lesion_rows([(point.name, point.lesions) for point in record.points]),
    )


def text(figure: Figure | float | None, percent: bool = False) -> str:
    """A figure with its interval; a dash where it is unknown.

    >>> text(Figure(value=0.5, low=0.25, high=0.75)), text(0.125, percent=True), text(None)
    ('0.500 (0.250 to 0.750)', '12.5 %', '–')
    """
    value = figure.value if isinstance(figure, Figure) else figure
    if value is None:
        return "–"

    def one(number: float) -> str:
        return f"{100 * number:.1f}" if percent else f"{number:.3f}"

    unit = " %" if percent else ""
    if isinstance(figure, Figure) and figure.low is not None and figure.high is not None:
        return f"{one(value)}{unit} ({one(figure.low)} to {one(figure.high)})"
    return f"{one(value)}{unit}"


def tiles(point: Point) -> Iterator[tuple[str, str, str]]:
    """The figures that the page begins with: label, value, detail."""
    lesions, frames = point.lesions, point.frames
    yield "lesions found", f"{lesions.num_found} of {lesions.num_lesions}", text(lesions.found, percent=True)
    yield (
        "frame sensitivity",
        text(frames.sensitivity.value, percent=True),
        f"{plural(frames.num_lesion_frames, 'frame')}",
    )
    yield "frame specificity", text(frames.specificity.value, percent=True), f"{frames.num_clean:,} clean frames"
    for alerts in point.alerts:
        if alerts.definition == "alerts-0.5s":
            yield "false alerts a minute", text(alerts.per_minute.value), "of half a second and more"
    seconds = lesions.median_latency_seconds
    yield "time to first detection", "–" if seconds is None else f"{seconds:.2f} s", "median of the lesions found"


def frame_rows(points: tuple[Point, ...]) -> list[list[str]]:
    """Name of a figure, and its value at each point."""
    wanted = (
        ("frame sensitivity", "sensitivity", True),
        ("specificity (clean frames)", "specificity", True),
        ("false-positive rate (clean frames)", "false_positive_rate", True),
        ("lesions found, counted in each frame", "lesion_sensitivity", True),
        ("false findings a frame", "false_per_frame", False),
        ("area of a false finding, % of the frame", "false_percent", False),
    )
    rows = [["threshold", *(f"{point.threshold:.4g}" for point in points)]]
    return rows + [
        [label, *(text(getattr(point.frames, name), percent) for point in points)] for label, name, percent in wanted
    ]


def alert_rows(points: tuple[Point, ...]) -> list[list[str]]:
    """Definition, and false alerts a minute and a procedure at each point; two rows for each definition."""
    return [
        [f"{alerts.definition}, a {unit}", *(text(getattr(point.alerts[place], f"per_{unit}")) for point in points)]
        for place, alerts in enumerate(points[0].alerts)
        for unit in ("minute", "procedure")
    ]


def lesion_rows(parts: list[tuple[str, LesionFigures]]) -> list[list[str]]:
    """Name of a figure, and its value in each part."""

    def row(label: str, cells: Iterator[str]) -> list[str]:
        return [label, *cells]

    found = [figures for _, figures in parts]
    rows = [
        row("", (name for name, _ in parts)),
        row("lesions", (str(figures.num_lesions) for figures in found)),
        row("found in any frame", (text(figures.found, percent=True) for figures in found)),
    ]
    for share in found[0].persistent if found else ():
        label = f"found in {100 * float(share):g} % of their frames"
        rows.append(row(label, (text(figures.persistent[share], percent=True) for figures in found)))
    for seconds in found[0].within_seconds if found else ():
        label = f"found within {seconds} s"
        rows.append(row(label, (text(figures.within_seconds[seconds], percent=True) for figures in found)))
    for label, name in (
        ("median latency, s", "median_latency_seconds"),
        ("median latency of a lasting detection, s", "median_lasting_latency_seconds"),
        ("fragments, of a found lesion", "num_fragments"),
    ):
        rows.append(row(label, (text(getattr(figures, name)) for figures in found)))
    rows.append(row("lasting detection", (text(figures.lasting, percent=True) for figures in found)))
    return rows


def boundary_rows(points: tuple[Point, ...]) -> list[list[str]]:
    """Name of a figure, and its value at each point; none without masks."""
    if points[0].boundary is None:
        return []
    wanted = (
        ("Dice where found", "dice", False),
        ("boundary IoU where found", "boundary_iou", False),
        ("failure: nothing on the lesion", "empty", True),
        ("failure: Dice below 0.5", "low_dice", True),
        ("failure: boundary IoU below 0.2", "low_boundary_iou", True),
    )
    return [
        [label, *(text(getattr(point.boundary, name), percent) for point in points if point.boundary is not None)]
        for label, name, percent in wanted
    ]


def read_courses(folder: DeploymentFolder) -> dict[str, Course]:
    """Each procedure of frames.csv."""
    columns: dict[str, array[float]] = {}
    for procedure, _, seconds, number, found, false, _ in folder.stream_frames():
        try:
            columns.setdefault(procedure, array("d")).extend(map(float, (seconds, number, found, false)))
        except ValueError as error:
            raise TABLE.damaged(folder.table_path("frames"), error) from error
    return {name: Course(*np.array(values).reshape(-1, 4).T) for name, values in columns.items()}


def plot_course(course: Course, threshold: float) -> Drawing:
    """When a lesion is in sight, found or missed, and when an alert is false."""
    lengths = frame_seconds(course.seconds)
    end = float(course.seconds[-1] + lengths[-1])
    edges = np.stack([course.seconds, course.seconds + lengths], axis=1) / end * NUM_COLUMNS
    sight, found = course.num_lesions > 0, course.found >= threshold
    chosen = (sight, found, sight & ~found, course.false >= threshold)
    drawing = blank_figure(9.6, 1.75)
    axes = drawing.add_axes((0.13, 0.26, 0.85, 0.7))
    for place, (is_in, (_, colour)) in enumerate(zip(chosen, STRIPS, strict=True)):
        for columns, ink in ((np.ones(NUM_COLUMNS, bool), BACKGROUND), (covered(edges, is_in), colour)):
            _strip(axes, columns, len(STRIPS) - 1 - place, ink, end)
    digits = 1 if end >= 60 else 2  # a frame of a short clip is no "0.0 s"
    labels = [f"{name}, {lengths[is_in].sum():.{digits}f} s" for is_in, (name, _) in zip(chosen, STRIPS, strict=True)]
    axes.set_yticks(range(len(STRIPS) - 1, -1, -1), labels, fontsize=SMALL_PT, color=INK)
    axes.tick_params(axis="both", labelsize=SMALL_PT, colors=INK, length=2, width=0.6)
    axes.set_xlim(0, end)
    axes.set_xlabel("time, s", fontsize=SMALL_PT, color=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set(color=FAINT, linewidth=0.7)
    return drawing


def _strip(axes: Axes, columns: NDArray[np.bool_], place: int, colour: str, end: float) -> None:
    bounds = np.flatnonzero(np.diff(np.concatenate([[False], columns, [False]]).astype(int))) * end / NUM_COLUMNS
    axes.broken_barh([(a, b - a) for a, b in bounds.reshape(-1, 2)], (place - 0.35, 0.7), color=colour, linewidth=0)


def _timeline_chart(name: str, course: Course, threshold: float, number: int) -> Chart:
    caption = f"{name}: {plural(len(course.seconds), 'frame')}"
    svg = inline_svg(plot_course(course, threshold), f"course{number}", f"What was found when in {caption}")
    return Chart(trusted(svg), caption, is_wide=True)


def _curve_charts(folder: DeploymentFolder, record: Deployment) -> Iterator[Chart]:
    drawn = FrocCurves(*map(_thinned, folder.read_curves()))
    if not len(drawn.thresholds) or np.isnan(drawn.sensitivity).all():
        return
    for name, label, title in (
        ("false_positive_rate", "clean frames with a finding, share", "AFROC"),
        ("false_per_frame", "false findings a frame", "FROC"),
    ):
        if np.isnan(getattr(drawn, name)).all():
            continue
        caption = f"{title}: lesions found, counted in each of their frames, at every threshold"
        if name == "false_positive_rate" and record.afroc_area is not None:
            caption += f"; area {record.afroc_area:.3f}"
        chart = plot_panel(partial(_draw, drawn=drawn, record=record, name=name, label=label, title=title))
        yield Chart(trusted(inline_svg(chart, name, caption)), caption)


def _draw(axes: Axes, drawn: FrocCurves, record: Deployment, name: str, label: str, title: str) -> None:
    axes.plot(np.append(0, getattr(drawn, name)), np.append(0, drawn.sensitivity), color=BLUE, linewidth=1.2)
    for point, colour in zip(record.points, (INK, ORANGE), strict=False):
        x = getattr(point.frames, name).value
        y = point.frames.lesion_sensitivity.value
        if x is not None and y is not None:
            axes.plot([x], [y], "o", color=colour, markersize=4, label=f"{point.name}, {point.threshold:.3g}")
    axes.legend(fontsize=SMALL_PT, frameon=False, loc="lower right")
    axes.set_ylim(0, 1.02)
    axes.set_xlim(left=0)
    style_panel(axes, title, label, "lesions found, share")


def _thinned(values: NDArray[Any]) -> NDArray[Any]:
    if len(values) <= MOST_POINTS:
        return values
    return np.asarray(values[np.unique(np.linspace(0, len(values) - 1, MOST_POINTS).astype(int))])


def _cases(folder: DeploymentFolder, first: Point, courses: Mapping[str, Course]) -> dict[str, list[list[str]]]:
    """The lesions that were missed or found late, and the longest false alerts."""
    lesions = [row for row in folder.read_lesions() if row.procedure in first.procedures]
    missed = [
        [row.lesion, row.procedure, str(row.num_visible), str(row.first_visible)]
        for row in sorted(lesions, key=lambda row: -row.num_visible)
        if row.num_found == 0
    ]
    late = [
        [row.lesion, row.procedure, f"{row.latency_seconds:.2f}", f"{row.persistence:.3f}"]
        for row in sorted(lesions, key=lambda row: -np.nan_to_num(row.latency_seconds))
        if row.latency_seconds > 0
    ]
    return {"missed": missed[:NUM_CASES], "late": late[:NUM_CASES], "false": _longest_false(courses, first)}


def _pictures(folder: DeploymentFolder) -> dict[str, list[tuple[str, str, str]]]:
    """By heading, where, what and the data URI of each picture of a case."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for picture in folder.pictures():
        image = read_image(folder.pictures_folder / picture.file)
        is_named = picture.frame.startswith(picture.procedure)
        where = picture.frame if is_named else f"{picture.procedure}, frame {picture.frame}"
        told = (where, picture.caption, data_uri(image))
        found.setdefault(PICTURE_KINDS.get(picture.kind, picture.kind), []).append(told)
    return found


def _longest_false(courses: Mapping[str, Course], first: Point) -> list[list[str]]:
    """Procedure, first second, length in seconds and highest score of the longest false alerts."""
    found: list[tuple[float, str, int, int]] = []
    for name, course in courses.items():
        if name not in first.procedures:
            continue
        lengths = frame_seconds(course.seconds) if len(course.seconds) > 1 else np.zeros(1)  # a still has no length
        bounds = np.flatnonzero(
            np.diff(np.concatenate([[False], course.false >= first.threshold, [False]]).astype(int))
        )
        own = ((float(lengths[a:b].sum()), name, a, b) for a, b in bounds.reshape(-1, 2).tolist())
        found = nlargest(NUM_CASES, (*found, *own), key=lambda alert: alert[0])
    return [
        [
            name,
            f"{courses[name].seconds[a]:.2f}",
            f"{length:.2f}" if length else "–",
            f"{courses[name].false[a:b].max():.3f}",
        ]
        for length, name, a, b in found
    ]
