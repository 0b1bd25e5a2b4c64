"""What hangs on the threshold, and whether the probabilities hold: panels drawn from the curves that evaluate saved.

Every panel takes the `EvaluationCurves` of an evaluation and draws nothing that is not in them; the
threshold that was used is marked. `plot_NAME(…)` returns a figure of one panel, wide enough for a phone.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator
from numpy.typing import NDArray

from polypseg.errors import DataError
from polypseg.records.curves import EvaluationCurves
from polypseg.report.canvas import (
    BLUE,
    FAINT,
    GREEN,
    HAIRLINE,
    INK,
    ORANGE,
    PURPLE,
    SMALL_PT,
    blank_figure,
    style_panel,
)

PANEL_IN = (4.3, 3.2)
"""Width and height of a figure of one panel, in inches."""

_BY_THRESHOLD = (
    ("mean_dice", "Dice", BLUE, "-"),
    ("mean_iou", "IoU", GREEN, "-"),
    ("mean_recall", "recall", PURPLE, (0, (4, 1.5))),
    ("false_positive_frames", "frames with a false alarm", ORANGE, (0, (1.5, 1.2))),
)
"""Curve, its name, colour and dashes, as the threshold panel draws them."""


def plot_panel(draw: Callable[[Axes], None], size_in: tuple[float, float] = PANEL_IN) -> Figure:
    """A figure of one panel, drawn by `draw`."""
    figure = blank_figure(*size_in)
    draw(figure.add_axes((0.125, 0.145, 0.85, 0.765)))
    return figure


def plot_reliability(curves: EvaluationCurves) -> Figure:
    """The share of polyp among the pixels of each predicted probability, and below it how many pixels there are.

    Raises:
        DataError: No image with a polyp was scored.
    """
    _need(curves.bin_num_pixels.sum() > 0, "an image with a polyp")
    figure = blank_figure(PANEL_IN[0], 3.7)
    panel = figure.add_axes((0.125, 0.335, 0.85, 0.59))
    strip = figure.add_axes((0.125, 0.125, 0.85, 0.15), sharex=panel)
    draw_reliability(panel, curves)
    draw_bin_sizes(strip, curves)
    panel.tick_params(labelbottom=False)
    return figure


def plot_precision_recall(curves: EvaluationCurves, threshold: float) -> Figure:
    """Precision against recall of all pixels of the images with a polyp.

    Raises:
        DataError: No image with a polyp was scored.
    """
    _need(bool(curves.histogram.any()), "an image with a polyp")
    return plot_panel(lambda axes: draw_precision_recall(axes, curves, threshold))


def plot_thresholds(curves: EvaluationCurves, threshold: float) -> Figure:
    """Dice, IoU, recall and the share of frames with a false alarm, against the threshold; what there is of them.

    Raises:
        DataError: Nothing was scored.
    """
    _need(any(np.isfinite(getattr(curves, name)).any() for name, *_ in _BY_THRESHOLD), "an image")
    return plot_panel(lambda axes: draw_thresholds(axes, curves, threshold))


def plot_alarms(curves: EvaluationCurves, threshold: float) -> Figure:
    """Polyp frames that are found against polyp-free frames that raise an alarm, over the threshold.

    Raises:
        DataError: Images with a polyp or images without one are missing.
    """
    both = np.isfinite(curves.sensitivity).any() and np.isfinite(curves.false_positive_frames).any()
    _need(bool(both), "images with a polyp and images without one")
    return plot_panel(lambda axes: draw_alarms(axes, curves, threshold))


def draw_reliability(axes: Axes, curves: EvaluationCurves) -> None:
    """Draws the polyp's share against the mean probability of each bin that holds a pixel, and the diagonal."""
    filled = curves.bin_num_pixels > 0
    predicted, true = curves.bin_mean_probability[filled], curves.bin_polyp_share[filled]
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9, linestyle=(0, (4, 2)), label="perfect")
    axes.plot(predicted, true, color=BLUE, linewidth=1.3, marker="o", markersize=3.5, label="found")
    style_panel(axes, "Reliability", "", "share that is polyp")
    _unit_square(axes)
    _legend(axes, "upper left")


def draw_bin_sizes(axes: Axes, curves: EvaluationCurves) -> None:
    """Draws how many pixels each bin of the reliability diagram holds, on a log scale."""
    counts = np.asarray(curves.bin_num_pixels)
    edges = np.linspace(0, 1, counts.size + 1)
    filled = counts > 0
    axes.bar(edges[:-1][filled], counts[filled], width=np.diff(edges)[filled], align="edge", color=HAIRLINE, ec=FAINT)
    style_panel(axes, "", "predicted probability", "pixels")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    axes.yaxis.set_major_locator(LogLocator(numticks=4))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(False)


def draw_precision_recall(axes: Axes, curves: EvaluationCurves, threshold: float) -> None:
    """Draws precision against recall, with the used threshold; levels that predict nothing are left out."""
    precision, recall = curves.precision, curves.recall
    predicts = (precision > 0) | (recall > 0)
    axes.plot(recall[predicts], precision[predicts], color=BLUE, linewidth=1.3)
    share = curves.histogram[1].sum() / curves.histogram.sum()
    axes.axhline(share, color=FAINT, linewidth=0.8, linestyle=(0, (1.5, 1.5)), label=f"by chance {share:.3f}")
    _mark(axes, recall, precision, curves, threshold)
    style_panel(axes, "Precision and recall of pixels", "recall", "precision")
    _unit_square(axes)
    _legend(axes, (0.01, 0.12))


def draw_thresholds(axes: Axes, curves: EvaluationCurves, threshold: float) -> None:
    """Draws every curve over the threshold that has values, and a line at the used threshold."""
    x = curves.threshold
    for name, label, colour, dashes in _BY_THRESHOLD:
        if np.isfinite(getattr(curves, name)).any():
            axes.plot(x, getattr(curves, name), color=colour, linewidth=1.3, linestyle=dashes, label=label)
    axes.axvline(threshold, color=INK, linewidth=0.8, linestyle=(0, (4, 2)), label=f"used: {threshold:.3g}")
    style_panel(axes, "Over the threshold", "threshold", "mean, or share of frames")
    _unit_square(axes)
    _legend(axes, "best")


def draw_alarms(axes: Axes, curves: EvaluationCurves, threshold: float) -> None:
    """Draws the share of polyp frames that are found against that of polyp-free frames that raise an alarm.

    Between two thresholds the lower of their sensitivities is drawn: no threshold reaches more.
    """
    alarmed, found = curves.false_positive_frames, curves.sensitivity
    axes.plot(alarmed, found, color=BLUE, linewidth=1.3, drawstyle="steps-pre", label="polyp frames found")
    (recall,) = axes.plot(alarmed, curves.mean_recall, color=PURPLE, linewidth=1.1, drawstyle="steps-pre")
    recall.set(linestyle=(0, (4, 1.5)), label="polyp pixels found, mean")
    _mark(axes, alarmed, found, curves, threshold)
    style_panel(axes, "Sensitivity and false alarms", "share of polyp-free frames with an alarm", "sensitivity")
    _unit_square(axes)
    _legend(axes, "lower right")


def level_of(threshold: float) -> int:
    """The place of the curves at which a threshold in (0, 1] stands: the first 8-bit level that is polyp at it.

    >>> level_of(0.5), level_of(0.4)
    (128, 102)
    """
    return min(math.ceil(255 * threshold - 1e-9), 255)


def holds_probabilities(curves: EvaluationCurves) -> bool:
    """Whether any pixel lies between black and white: maps that are masks have no curves worth drawing."""
    return bool(curves.histogram[:, 1:-1].any() or curves.polyp_free_histogram[:, 1:-1].any())


def _mark(
    axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], curves: EvaluationCurves, threshold: float
) -> None:
    place = level_of(threshold)
    label = f"used: {threshold:.3g}"
    axes.plot([x[place]], [y[place]], "o", markersize=6.5, mfc="none", mec=ORANGE, mew=1.5, label=label, zorder=4)


def _unit_square(axes: Axes) -> None:
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator([0.0, 0.2, 0.4, 0.6, 0.8, 1.0]))


def _legend(axes: Axes, place: Any) -> None:
    axes.legend(fontsize=SMALL_PT, loc=place, facecolor="white", edgecolor="none", framealpha=0.85, handlelength=2.2)


def _need(there: bool, what: str) -> None:
    if not there:
        raise DataError(f"nothing to draw: the evaluation holds no score of {what}")
