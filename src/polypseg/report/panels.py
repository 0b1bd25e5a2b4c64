"""Single panels of the figures: each draws into the Axes that it is given, so that any page can place it."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from polypseg.report.canvas import BLUE, FAINT, GREEN, HAIRLINE, INK, ORANGE, SMALL_PT, count_ticks, style_panel

MOST_MARKED_STEPS = 8
"""With more changes of the learning rate than this (a cosine, a warm-up) only its course is drawn."""

Values = NDArray[np.floating]


def draw_curves(axes: Axes, epochs: Values, train: Values, validation: Values, best: int | None) -> None:
    """Draws training and validation against the epoch, and rings the validation's value in the best epoch.

    Args:
        axes: Where to draw.
        epochs: Shape (N,).
        train: Shape (N,); NaN leaves a gap.
        validation: Shape (N,); NaN leaves a gap.
        best: The row, not the epoch, that is marked; None for none.
    """
    dot = "o" if epochs.size <= 30 else ""
    axes.plot(epochs, train, color=BLUE, linewidth=1.2, label="train", marker=dot, markersize=2.2)
    axes.plot(epochs, validation, color=ORANGE, linewidth=1.2, label="validation", marker=dot, markersize=2.2)
    if best is not None:
        value = validation[best]
        axes.axvline(epochs[best], color=INK, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
        label = f"epoch {epochs[best]:g}: {value:.3f}"
        axes.plot([epochs[best]], [value], "o", markersize=6, mfc="none", mec=INK, label=label, zorder=4)
    axes.legend(fontsize=SMALL_PT, frameon=True, facecolor="white", edgecolor="none", framealpha=0.8, handlelength=1.6)
    margin = 0.03 * max(1.0, float(epochs[-1] - epochs[0]))
    axes.set_xlim(epochs[0] - margin, epochs[-1] + margin)


def scale_loss(axes: Axes, values: Values) -> None:
    """Gives the panel a log scale, and says so, where the positive values span more than a factor of ten."""
    positive = values[np.isfinite(values) & (values > 0)]
    if positive.size and positive.max() > 10 * positive.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylabel("log scale", fontsize=SMALL_PT, color=FAINT, labelpad=1)


def mark_rate_changes(axes: Axes, epochs: Values, rates: Values) -> None:
    """Draws a hairline where the learning rate changed; none where it changed more than eight times.

    Args:
        axes: Any panel over the epochs.
        epochs: Shape (N,).
        rates: Shape (N,).
    """
    if is_stepped(rates):
        for epoch in epochs[1:][rates[1:] != rates[:-1]]:
            axes.axvline(epoch, color=HAIRLINE, linewidth=1.0, zorder=0.5)


def draw_learning_rate(axes: Axes, epochs: Values, rates: Values) -> None:
    """Draws the learning rate against the epoch, on a log scale; its lowest and highest value are labelled.

    Args:
        axes: Where to draw.
        epochs: Shape (N,).
        rates: Shape (N,); positive.
    """
    axes.plot(epochs, rates, color=GREEN, linewidth=1.1, drawstyle="steps-post" if is_stepped(rates) else "default")
    axes.set_yscale("log")
    low, high = float(np.nanmin(rates)), float(np.nanmax(rates))
    axes.set_ylim(low / 1.8, high * 1.8)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(FixedLocator(sorted({low, high})))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
    count_ticks(axes)


def is_stepped(rates: Values) -> bool:
    """Whether the learning rate changed so seldom that each change can be marked.

    >>> is_stepped(np.array([1.0, 1.0, 0.5])), is_stepped(np.linspace(1, 0.1, 20))
    (True, False)
    """
    return int(np.count_nonzero(rates[1:] != rates[:-1])) <= MOST_MARKED_STEPS


def draw_histogram(axes: Axes, dice: Values) -> None:
    """Draws how many images have which Dice, in steps of 0.05, with mean and median.

    Args:
        axes: Where to draw.
        dice: Shape (N,), in [0, 1], without NaN.
    """
    axes.hist(dice, bins=np.linspace(0, 1, 21).tolist(), color=BLUE, edgecolor="white", linewidth=0.6)
    style_panel(axes, "Dice per image", "Dice", "images")
    for value, name, dashes in ((dice.mean(), "mean", "-"), (np.median(dice), "median", (0, (4, 2)))):
        axes.axvline(float(value), color=INK, linewidth=0.9, linestyle=dashes, label=f"{name} {value:.3f}")
    axes.set_xlim(0, 1)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.legend(fontsize=SMALL_PT, facecolor="white", edgecolor="none", framealpha=0.85)


def draw_against_area(axes: Axes, dice: Values, area: Values) -> None:
    """Draws one point per image, Dice against the polyp's share of the image, and a running median from 15 images on.

    Args:
        axes: Where to draw.
        dice: Shape (N,), in [0, 1], without NaN.
        area: Shape (N,), in (0, 1].
    """
    percent = 100 * area
    axes.scatter(percent, dice, s=9, color=BLUE, alpha=0.55, linewidths=0)
    window = max(5, dice.size // 8) | 1
    if dice.size >= 3 * window:
        middle, medians = running_median(percent, dice, window)
        axes.plot(middle, medians, color=ORANGE, linewidth=1.5, label=f"running median of {window} images")
        axes.legend(fontsize=SMALL_PT, facecolor="white", edgecolor="none", framealpha=0.85)
    style_panel(axes, "Dice against polyp size", "polyp area in % of the image (log scale)", "Dice")
    axes.set_xscale("log")
    low, high = float(percent.min()), float(percent.max())
    axes.set_xlim(low / 1.2, high * 1.2)
    axes.xaxis.set_major_locator(FixedLocator(area_ticks(low / 1.2, high * 1.2)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(-0.03, 1.03)


def area_ticks(low: float, high: float) -> list[float]:
    """Round values on a logarithmic axis from `low` to `high`: 1, 2 and 5 of each decade, all digits if those are few.

    >>> area_ticks(0.3, 30), area_ticks(4.9, 10.8)
    ([0.5, 1.0, 2.0, 5.0, 10.0, 20.0], [5.0, 6.0, 7.0, 8.0, 9.0, 10.0])
    """
    for digits in ((1, 2, 5), range(1, 10)):
        rounds = [float(f"{digit}e{decade}") for decade in range(-3, 3) for digit in digits]
        found = [tick for tick in rounds if low <= tick <= high]
        if len(found) >= 3:
            break
    return found


def running_median(x: Values, y: Values, window: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The medians of x and of y in every window of so many neighbours in x.

    Returns:
        Two arrays of N - window + 1 values; empty where the window is larger than N.

    >>> running_median(np.array([3.0, 1.0, 2.0, 4.0]), np.array([9.0, 5.0, 7.0, 0.0]), window=3)
    (array([2., 3.]), array([7., 7.]))
    """
    if window > x.size:
        return np.empty(0), np.empty(0)
    order = np.argsort(x, kind="stable")
    x_windows, y_windows = (np.lib.stride_tricks.sliding_window_view(values[order], window) for values in (x, y))
    return np.median(x_windows, axis=1), np.median(y_windows, axis=1)
