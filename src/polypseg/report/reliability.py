"""The figure of a recalibration: how often a pixel of the polyp's band is polyp, against its probability."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from polypseg.metrics.calibration import expected_calibration_error, reliability
from polypseg.report.canvas import BLUE, FAINT, ORANGE, SMALL_PT, blank_figure, save_figure, style_panel

BandCounts = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Histograms (2, 256) before and after."""


def plot_band_reliability(sets: Mapping[str, BandCounts]) -> Figure:
    """A panel for each set of frames; the dotted line is a probability that is right."""
    figure = blank_figure(2.9 * len(sets) + 0.3, 2.9)
    width = 0.72 / len(sets)
    for place, (name, (before, after)) in enumerate(sets.items()):
        axes = figure.add_axes((0.13 / len(sets) + place / len(sets) + 0.03, 0.18, width, 0.68))
        style_panel(axes, name, "probability", "share that is polyp" if place == 0 else "")
        axes.plot([0, 1], [0, 1], ":", color=FAINT, linewidth=1)
        for words, counts, colour in (("before", before, ORANGE), ("after", after, BLUE)):
            found = reliability(counts)
            label = f"{words}, error {expected_calibration_error(counts):.3f}"
            axes.plot(found.mean_probability, found.polyp_share, "o-", color=colour, markersize=3, label=label)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.legend(fontsize=SMALL_PT, frameon=False, loc="upper left")
    return figure


def band_reliability_figure(sets: Mapping[str, BandCounts], path: Path | str) -> Path:
    """The path of the figure, once it is saved (.png, .svg or .pdf)."""
    return save_figure(plot_band_reliability(sets), path)
