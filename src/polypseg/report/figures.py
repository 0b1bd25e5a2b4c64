"""The figures of a run: training curves, samples, attention, scores, cases.

Every figure comes twice: `plot_NAME(…)` returns a Matplotlib `Figure` (for a page, a notebook), `NAME(…, path)` saves
it (.png, .svg or .pdf) and returns the path. Arrays and records go in: saved results are drawn again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray

from polypseg.arrays import Image, Mask, Probability, check_image, check_mask, check_same_shape
from polypseg.errors import DataError, plural
from polypseg.overlay import (
    COMPARE_OPACITY,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    TRUE_POSITIVE,
    Colour,
    compare_overlay,
    contour,
    heat_map,
    line_width_px,
    overlay,
)
from polypseg.report import canvas, panels
from polypseg.report.canvas import FAINT, INK, SMALL_PT, TEXT_PT, save_figure

PANELS = (("loss", "Loss"), ("dice", "Dice"), ("iou", "IoU"))
CHARACTER_IN = 0.062
"""Width of a character of the row labels in inches, with some room."""

KINDS = (("found", TRUE_POSITIVE), ("missed", FALSE_NEGATIVE), ("false alarm", FALSE_POSITIVE))


@dataclass(frozen=True)
class SampleRow:
    """One sample as the figures show it.

    Attributes:
        name: The sample's name.
        image: Shape (H, W, 3), uint8.
        reference: Shape (H, W), bool.
        predicted: Shape (H, W), bool.
        dice: Of predicted against reference; NaN where it is not defined.
        attention: Shape (H, W), float in [0, 1]; None where there is none.
        level: Of that attention map; 1 is the finest.
    """

    name: str
    image: Image
    reference: Mask
    predicted: Mask
    dice: float
    attention: Probability | None = None
    level: int = 1


def training_curves(history: Sequence[Mapping[str, float]], path: Path | str, monitor: str = "val_loss") -> Path:
    """The path of the saved figure; see `plot_training_curves`."""
    return save_figure(plot_training_curves(history, monitor), path)


def plot_training_curves(history: Sequence[Mapping[str, float]], monitor: str = "val_loss") -> Figure:
    """Loss, Dice and IoU of training and validation against the epoch, the best epoch marked.

    A fourth panel shows the learning rate; hairlines in the others mark its changes. The loss is on a log scale where
    it spans more than a factor of ten.

    Args:
        history: A row an epoch with epoch, loss, dice, iou, val_loss, val_dice, val_iou, learning_rate.
        monitor: What chose the checkpoint: the best epoch has the lowest val_loss, or the highest val_dice.

    Raises:
        DataError: No rows, or a column is missing.
    """
    columns = _columns(history, ["epoch", "learning_rate", *(p + key for key, _ in PANELS for p in ("", "val_"))])
    epochs, rates = columns["epoch"], columns["learning_rate"]
    judged = columns[monitor] if monitor == "val_loss" else -columns[monitor]
    best = int(np.nanargmin(judged)) if np.isfinite(judged).any() else None
    figure = canvas.blank_figure(10.8, 3.0)
    *metric_panels, rate_panel = figure.subplots(1, 4, sharex=True, width_ratios=[1, 1, 1, 0.6])
    figure.subplots_adjust(left=0.05, right=0.99, top=0.89, bottom=0.15, wspace=0.22)
    canvas.style_panel(rate_panel, "Learning rate", "epoch")
    panels.draw_learning_rate(rate_panel, epochs, rates)
    for panel, (key, title) in zip(metric_panels, PANELS, strict=True):
        panels.draw_curves(panel, epochs, columns[key], columns[f"val_{key}"], best)
        panels.mark_rate_changes(panel, epochs, rates)
        canvas.style_panel(panel, title, "epoch")
        if key == "loss":
            panels.scale_loss(panel, np.concatenate([columns[key], columns[f"val_{key}"]]))
        else:
            panel.set_ylim(top=min(1.0, panel.get_ylim()[1]))
    return figure


def sample_figure(rows: Sequence[SampleRow], path: Path | str) -> Path:
    """The path of the saved figure; see `plot_samples`."""
    return save_figure(plot_samples(rows), path)


def plot_samples(rows: Sequence[SampleRow]) -> Figure:
    """One row per sample: image, reference mask, predicted mask and, where a sample has it, attention.

    The predicted mask is in colours (found, missed, false alarm), with the reference's border in white.

    Args:
        rows: Samples of any sizes; where their attention is of different levels, each is named in its picture.

    Raises:
        DataError: No rows, or arrays that do not fit one another.
    """
    _check_rows(rows)
    titles = ["image", "reference mask", "predicted mask"]
    attended = any(row.attention is not None for row in rows)
    levels = sorted({row.level for row in rows if row.attention is not None})
    titles += [f"attention, level {levels[0]}" if len(levels) == 1 else "attention"] if attended else []
    bottom = 0.3
    shapes = [[row.image.shape] for row in rows]
    figure, grid = canvas.image_grid(shapes, len(titles), margins_in=(1.6, 0.05, 0.28, bottom))
    for row, cells in zip(rows, grid, strict=True):
        for axes, picture in zip(cells, (row.image, row.reference, judged_mask(row)), strict=False):
            canvas.show_image(axes, picture)
        if row.attention is not None:
            canvas.show_image(cells[3], heat_map(row.image, row.attention))
            if len(levels) > 1:
                _name_level(cells[3], row.level)
        elif attended:
            cells[3].text(0.5, 0.5, "none", ha="center", va="center", fontsize=SMALL_PT, color=FAINT)
        canvas.label_row(figure, cells[0], canvas.shortened(row.name), f"Dice {_score(row.dice)}")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=TEXT_PT, color=INK, pad=4)
    if attended:
        left = figure.get_size_inches()[0] - 0.05 - 1.6
        canvas.heat_bar(figure, (left + 0.2, 0.19, 1.2, 0.06), (0.0, 1.0))
    _name_kinds(figure, grid[-1][2])
    return figure


def judged_mask(row: SampleRow) -> Image:
    """The predicted mask on black, in the colours of `KINDS`, with what was missed and the reference's border in white.

    Returns:
        Shape (H, W, 3), uint8.
    """
    black = np.zeros((*row.reference.shape, 3), np.uint8)
    laid = compare_overlay(black, row.predicted, row.reference, opacity=1.0)
    return contour(laid, row.reference, width_px=line_width_px(row.reference.shape))


def attention_figure(
    image: Image,
    attention: Sequence[tuple[str, Probability]],
    path: Path | str,
    limits: tuple[float, float] = (0.0, 1.0),
) -> Path:
    """The path of the saved figure; see `plot_attention`."""
    return save_figure(plot_attention(image, attention, limits), path)


def plot_attention(
    image: Image, attention: Sequence[tuple[str, Probability]], limits: tuple[float, float] = (0.0, 1.0)
) -> Figure:
    """The image and, beside it, each attention map laid over it, with one colour bar for all.

    Args:
        image: Shape (H, W, 3), uint8.
        attention: Label and map, shape (H, W), float in [0, 1], one for each gate.
        limits: The values of the lowest and the highest colour.

    Raises:
        DataError: No map, or one that does not fit the image.
    """
    if not attention:
        raise DataError("no attention map was given; expected at least one (label, map) pair")
    num_columns = min(len(attention) + 1, 5)
    num_rows = -(-(len(attention) + 1) // num_columns)
    figure, grid = canvas.image_grid(
        [[check_image(image).shape]] * num_rows,
        num_columns,
        cell_in=1.9,
        margins_in=(0.06, 0.06, 0.4, 0.45),
        gaps_in=(0.08, 0.42),
    )
    cells = [axes for row in grid for axes in row]
    canvas.show_image(cells[0], image)
    cells[0].set_title("image", fontsize=TEXT_PT, color=INK, pad=4)
    for axes, (label, values) in zip(cells[1:], attention, strict=False):
        canvas.show_image(axes, heat_map(image, values, limits=limits))
        spread = f"{label}\n{float(np.min(values)):.2f} to {float(np.max(values)):.2f}"
        axes.set_title(spread, fontsize=TEXT_PT, color=INK, pad=4, linespacing=1.3, parse_math=False)
    canvas.heat_bar(figure, (figure.get_size_inches()[0] / 2 - 1.2, 0.24, 2.4, 0.08), limits)
    return figure


def score_figure(dice: ArrayLike, area: ArrayLike, path: Path | str) -> Path:
    """The path of the saved figure; see `plot_scores`."""
    return save_figure(plot_scores(dice, area), path)


def plot_scores(dice: ArrayLike, area: ArrayLike) -> Figure:
    """How Dice spreads over the images, and how it hangs on the polyp's size.

    Images without a polyp, or without a Dice, are left out of both panels and counted below them.

    Args:
        dice: Shape (N,), a Dice for each image.
        area: Shape (N,), the share of the image that the reference covers, in [0, 1].

    Raises:
        DataError: The two differ in length, or no image is left.
    """
    scores, areas = np.asarray(dice, float), np.asarray(area, float)
    if scores.shape != areas.shape or scores.ndim != 1:
        raise DataError(f"dice has shape {scores.shape}, area {areas.shape}; expected one value each an image")
    unknown, empty = ~np.isfinite(scores), ~(areas > 0)
    kept = ~unknown & ~empty
    if not kept.any():
        raise DataError(f"none of the {scores.size} images has both a polyp and a Dice; nothing to draw")
    figure = canvas.blank_figure(8.4, 3.2)
    histogram, scatter = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.07, right=0.985, top=0.9, bottom=0.2, wspace=0.2)
    panels.draw_histogram(histogram, scores[kept])
    panels.draw_against_area(scatter, scores[kept], areas[kept])
    note = [f"{plural(int(kept.sum()), 'image')}"]
    note += [f"{(empty & ~unknown).sum()} without a polyp left out"] if (empty & ~unknown).any() else []
    note += [f"{unknown.sum()} without a Dice left out"] if unknown.any() else []
    figure.text(0.985, 0.02, ", ".join(note), ha="right", va="bottom", fontsize=SMALL_PT, color=FAINT)
    return figure


def pick_cases(dice: ArrayLike, count: int = 4) -> dict[str, list[int]]:
    """The places of the worst, the median and the best scores, each in rising order; none is in two groups.

    Args:
        dice: Shape (N,); NaN is never picked.
        count: In each group; a third of the images where there are fewer than three times as many.

    >>> pick_cases([0.9, 0.1, 0.5, float("nan"), 0.7], count=1)
    {'worst': [1], 'median': [2], 'best': [0]}
    """
    scores = np.asarray(dice, float)
    order = [int(place) for place in np.argsort(scores, kind="stable") if np.isfinite(scores[place])]
    size = min(count, -(-len(order) // 3))
    worst, rest = order[:size], order[size:]
    best = rest[max(0, len(rest) - size) :]
    middle = rest[: len(rest) - len(best)]
    start = max(0, (len(middle) - size) // 2)
    return {"worst": worst, "median": middle[start : start + size], "best": best}


def case_figure(cases: Mapping[str, Sequence[SampleRow]], path: Path | str) -> Path:
    """The path of the saved figure; see `plot_cases`."""
    return save_figure(plot_cases(cases), path)


def plot_cases(cases: Mapping[str, Sequence[SampleRow]]) -> Figure:
    """One row per group (worst, median, best): what was found, missed and falsely marked in each of its samples.

    Args:
        cases: Samples by group, as `pick_cases` names them; the reference's border is outlined in white.

    Raises:
        DataError: No sample at all, or arrays that do not fit one another.
    """
    groups = {label: list(rows) for label, rows in cases.items() if rows}
    _check_rows([row for rows in groups.values() for row in rows])
    shapes = [[row.image.shape for row in rows] for rows in groups.values()]
    num_columns = max(map(len, groups.values()))
    labels = {label: canvas.wrapped(label) for label in groups}
    longest = max(len(line) for text in labels.values() for line in text.splitlines())
    figure, grid = canvas.image_grid(
        shapes, num_columns, 1.75, margins_in=(0.2 + CHARACTER_IN * longest, 0.06, 0.36, 0.34), gaps_in=(0.08, 0.38)
    )
    for (label, rows), cells in zip(groups.items(), grid, strict=True):
        for axes, row in zip(cells, rows, strict=False):
            laid = compare_overlay(row.image, row.predicted, row.reference)
            canvas.show_image(axes, contour(laid, row.reference, width_px=line_width_px(laid.shape)), "N")
            title = f"{canvas.shortened(row.name)}\nDice {_score(row.dice)}"
            axes.set_title(title, fontsize=SMALL_PT, color=INK, pad=3, linespacing=1.25, parse_math=False)
        canvas.label_row(figure, cells[0], labels[label])
    bare = np.mean([row.image.mean((0, 1)) for rows in groups.values() for row in rows], axis=0)
    handles = [Patch(color=_laid_over(bare, colour), label=kind) for kind, colour in KINDS]
    handles.append(Patch(facecolor="white", edgecolor=FAINT, linewidth=0.8, label="reference's border"))
    figure.legend(handles=handles, loc="lower center", ncols=4, frameon=False, fontsize=SMALL_PT, handlelength=1.2)
    return figure


def _columns(history: Sequence[Mapping[str, float]], names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    if not history:
        raise DataError("the history has no rows; nothing to draw before the first epoch has ended")
    missing = [name for name in names if any(name not in row for row in history)]
    if missing:
        raise DataError(f"the history lacks {', '.join(missing)}; it has {', '.join(history[0])}")
    return {name: np.array([float(row[name]) for row in history]) for name in names}


def _check_rows(rows: Sequence[SampleRow]) -> None:
    if not rows:
        raise DataError("no sample was given; expected at least one")
    for row in rows:
        shape = check_image(row.image, row.name).shape[:2]
        predicted, reference = check_mask(row.predicted, row.name), check_mask(row.reference, row.name)
        check_same_shape(predicted, reference)
        if shape != reference.shape:
            raise DataError(f"{row.name}: image of {shape} pixels (height, width), masks of {reference.shape}")


def _name_kinds(figure: Figure, above: Axes) -> None:
    """Writes what the colours mean at the foot of the figure, below these axes."""
    middle = above.get_position(original=True)
    figure.legend(
        handles=[Patch(color=_unit(colour), label=kind) for kind, colour in KINDS],
        loc="center",
        bbox_to_anchor=((middle.x0 + middle.x1) / 2, 0.16 / figure.get_size_inches()[1]),
        ncols=3,
        frameon=False,
        fontsize=SMALL_PT,
        handlelength=0.8,
        handletextpad=0.3,
        columnspacing=0.6,
    )


def _name_level(axes: Axes, level: int) -> None:
    """Writes the level of an attention map into its corner: rows may show different ones."""
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}
    axes.text(0.03, 0.05, f"level {level}", transform=axes.transAxes, fontsize=SMALL_PT, color=INK, bbox=box)


def _unit(colour: Colour) -> tuple[float, float, float]:
    """The colour as Matplotlib takes it: (red, green, blue) in [0, 1]."""
    red, green, blue = (level / 255 for level in colour)
    return red, green, blue


def _score(dice: float) -> str:
    return f"{dice:.3f}" if np.isfinite(dice) else "–"


def _laid_over(bare: NDArray[np.floating], colour: Colour) -> tuple[float, float, float]:
    """The colour as it looks over the images, for the legend: (red, green, blue) in [0, 1]."""
    pixel = np.rint(bare).astype(np.uint8).reshape(1, 1, 3)
    red, green, blue = overlay(pixel, np.ones((1, 1), bool), colour, COMPARE_OPACITY)[0, 0] / 255
    return float(red), float(green), float(blue)
