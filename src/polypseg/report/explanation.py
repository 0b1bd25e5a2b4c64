"""The figure of how faithful a model's maps are: a panel a figure, a bar a map."""

from pathlib import Path

from matplotlib.figure import Figure

from polypseg.records.explanation import Explanation
from polypseg.report.canvas import BLUE, FAINT, ORANGE, SMALL_PT, blank_figure, save_figure, style_panel

PANELS = (
    ("auroc", "On the polyp", "area under ROC"),
    ("energy_inside", "Energy inside", "share of the map"),
    ("deletion", "Deletion", "answer left (low is good)"),
    ("insertion", "Insertion", "answer back (high is good)"),
)


def plot_explanation(record: Explanation) -> Figure:
    """Bars of each map in four panels; the dotted line is what a map that says nothing gets."""
    count = len(record.maps)
    figure = blank_figure(8.4, 0.9 + 0.24 * count)
    names = [each.name for each in record.maps]
    by_chance = {each.name: each for each in record.maps}.get("random")
    for place, (key, title, label) in enumerate(PANELS):
        axes = figure.add_axes((0.11 + 0.225 * place, 0.24, 0.19, 0.62))
        style_panel(axes, title, label)
        values = [float(getattr(each, key)) for each in record.maps]
        colours = [BLUE if name.startswith("gate") else ORANGE if name == "gradient" else FAINT for name in names]
        axes.barh(range(count), values, color=colours, height=0.7)
        axes.set_yticks(range(count), names if place == 0 else [""] * count, fontsize=SMALL_PT)
        axes.invert_yaxis()
        nothing = {"auroc": 0.5, "energy_inside": record.polyp_share}.get(key)
        nothing = float(getattr(by_chance, key)) if nothing is None and by_chance is not None else nothing
        if nothing is not None:
            axes.axvline(nothing, color=FAINT, linestyle=":", linewidth=1)
    return figure


def explanation_figure(record: Explanation, path: Path | str) -> Path:
    """The path of the figure, once it is saved (.png, .svg or .pdf)."""
    return save_figure(plot_explanation(record), path)
