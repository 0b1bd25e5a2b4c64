"""Figures: what is drawn is read back from the Figure and compared with numbers worked out by hand."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from polypseg.errors import DataError, UsageError
from polypseg.overlay import FALSE_NEGATIVE, FALSE_POSITIVE, TRUE_POSITIVE, compare_overlay, contour, heat_map
from polypseg.report import canvas
from polypseg.report.figures import (
    SampleRow,
    attention_figure,
    case_figure,
    pick_cases,
    plot_attention,
    plot_cases,
    plot_samples,
    plot_scores,
    plot_training_curves,
    sample_figure,
    score_figure,
    training_curves,
)
from polypseg.report.panels import running_median

DOTS = canvas.DOTS_PER_INCH


def history(val_loss, rates=None):
    rows = []
    for i, value in enumerate(val_loss):
        row = {"epoch": i + 1, "loss": 0.5, "dice": 0.6, "iou": 0.4, "val_loss": value, "seconds": 1.0}
        rows.append(row | {"val_dice": 0.1 * i, "val_iou": 0.05 * i, "learning_rate": rates[i] if rates else 1e-3})
    return rows


def sample(name="a", height=12, width=16, attention=True):
    image = np.full((height, width, 3), (180, 90, 70), np.uint8)
    reference, predicted = np.zeros((2, height, width), bool)
    reference[2:6, 2:6] = True
    predicted[2:6, 4:8] = True
    heat = np.linspace(0, 1, height * width, dtype=np.float32).reshape(height, width) if attention else None
    return SampleRow(name, image, reference, predicted, 0.5, heat)


def line(axes, label):
    return next(each for each in axes.get_lines() if each.get_label() == label)


def pixels(path):
    with Image.open(path) as opened:
        return opened.size


def pictures(figure):
    """The arrays of all images in the order in which they were drawn, colour bars left out."""
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.get_images()]


def test_training_curves_mark_the_lowest_validation_loss():
    figure = plot_training_curves(history([0.9, 0.4, 0.7]))
    loss, dice, iou, _ = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Loss", "Dice", "IoU", "Learning rate"]
    # epoch 2 has the lowest validation loss, although epoch 3 has the highest Dice (0.2)
    assert line(loss, "epoch 2: 0.400").get_xydata().tolist() == [[2.0, 0.4]]
    assert line(dice, "epoch 2: 0.100").get_xydata().tolist() == [[2.0, 0.1]]
    assert line(iou, "epoch 2: 0.050").get_xydata().tolist() == [[2.0, 0.05]]
    assert line(loss, "train").get_ydata().tolist() == [0.5, 0.5, 0.5]
    assert line(loss, "validation").get_ydata().tolist() == [0.9, 0.4, 0.7]


def test_training_curves_mark_the_epoch_of_the_highest_dice_where_that_chose_the_checkpoint():
    figure = plot_training_curves(history([0.9, 0.4, 0.7]), "val_dice")
    assert line(figure.axes[0], "epoch 3: 0.700").get_xydata().tolist() == [[3.0, 0.7]]


def test_training_curves_leave_a_gap_where_the_loss_is_not_a_number():
    nan = float("nan")
    assert line(plot_training_curves(history([nan, 0.4, 0.7])).axes[0], "epoch 2: 0.400") is not None
    without = plot_training_curves(history([nan, nan])).axes[0]
    assert not [each for each in without.get_lines() if str(each.get_label()).startswith("epoch")]


def test_training_curves_show_each_change_of_the_learning_rate():
    def hairlines(rates):
        panel = plot_training_curves(history([1.0] * len(rates), rates)).axes[0]
        return [each.get_xdata()[0] for each in panel.get_lines() if each.get_color() == canvas.HAIRLINE]

    assert hairlines([1e-3, 1e-3, 5e-4, 5e-4, 2e-4]) == [3, 5]
    assert hairlines([1e-3] * 4) == []
    assert hairlines([1e-3 * 0.9**i for i in range(12)]) == []  # 11 changes: its own panel alone shows them
    *panels, rate = plot_training_curves(history([1.0, 1.0], [1e-3, 5e-4])).axes
    assert rate.get_lines()[-1].get_ydata().tolist() == [1e-3, 5e-4]
    courses = [each for panel in panels for each in panel.get_lines() if each.get_color() == canvas.GREEN]
    assert courses == []  # the course of the rate is drawn once


@pytest.mark.parametrize(("first", "scale"), [(4.9, "linear"), (5.1, "log")])
def test_training_curves_take_a_log_scale_past_a_factor_of_ten(first, scale):
    assert plot_training_curves(history([first, 0.5])).axes[0].get_yscale() == scale


def test_training_curves_refuse_an_incomplete_history():
    rows = history([1.0, 0.5])
    del rows[1]["val_iou"]
    with pytest.raises(DataError, match="lacks val_iou"):
        plot_training_curves(rows)
    with pytest.raises(DataError, match="no rows"):
        plot_training_curves([])


def test_training_curves_of_one_epoch_are_saved(tmp_path):
    path = training_curves(history([1.0]), tmp_path / "made" / "curves.png")
    assert path == tmp_path / "made" / "curves.png"
    assert pixels(path) == (round(10.8 * DOTS), round(3.0 * DOTS))


def test_samples_show_image_masks_and_attention_in_order():
    row = sample()
    shown = pictures(plot_samples([row]))
    assert len(shown) == 4
    assert (shown[0] == row.image).all()
    assert (shown[1] == row.reference).all()
    assert (shown[3] == heat_map(row.image, row.attention)).all()


def test_samples_show_what_was_found_missed_and_falsely_marked():
    # The reference has columns 10 to 29, the prediction 20 to 39, in rows 10 to 29; each pixel is away from a border.
    reference, predicted = np.zeros((2, 48, 48), bool)
    reference[10:30, 10:30] = predicted[10:30, 20:40] = True
    figure = plot_samples([replace(sample(height=48, width=48), reference=reference, predicted=predicted)])
    judged = pictures(figure)[2]
    found = [tuple(judged[20, column].tolist()) for column in (15, 25, 35, 45)]
    assert found == [FALSE_NEGATIVE, TRUE_POSITIVE, FALSE_POSITIVE, (0, 0, 0)]
    assert (judged[20, 8:12] == 255).all(axis=1).any()  # the reference's border
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["found", "missed", "false alarm"]


def test_samples_name_the_level_of_the_attention():
    figure = plot_samples([replace(sample(), level=1), replace(sample("b"), level=2)])
    assert figure.axes[3].get_title() == "attention"
    assert [[text.get_text() for text in figure.axes[cell].texts] for cell in (3, 7)] == [["level 1"], ["level 2"]]
    same = plot_samples([replace(sample(), level=2), replace(sample("b"), level=2)])
    assert same.axes[3].get_title() == "attention, level 2"
    assert list(same.axes[3].texts) == []


def test_samples_without_attention_have_three_columns():
    figure = plot_samples([sample(attention=False), sample("b", attention=False)])
    assert len(figure.axes) == 6
    mixed = plot_samples([sample(), sample("b", attention=False)])
    assert len(pictures(mixed)) == 4 + 3
    assert "none" in [text.get_text() for axes in mixed.axes for text in axes.texts]


def test_samples_are_labelled_with_name_and_dice():
    rows = [replace(sample(), dice=0.8125), replace(sample("x" * 40), dice=float("nan"))]
    texts = [text.get_text() for text in plot_samples(rows).texts]
    assert texts == ["a", "Dice 0.812", "x" * 12 + "…" + "x" * 12, "Dice –"]


def test_samples_of_several_sizes_keep_their_proportions(tmp_path):
    # cells are 1.6 inches wide: 1:2 is 0.8 high, 1:1 is 1.6, a tower of 3:1 is held at 1.25 * 1.6 = 2.0
    rows = [sample("wide", 10, 20), sample("square", 16, 16), sample("tower", 48, 16)]
    figure = plot_samples(rows)
    assert figure.get_size_inches() == pytest.approx([1.6 + 0.05 + 4 * 1.6 + 3 * 0.06, 0.28 + 0.3 + 4.4 + 2 * 0.06])
    figure.draw_without_rendering()
    for row, axes in zip(rows, figure.axes[::4], strict=False):
        box = axes.get_window_extent()
        assert box.height / box.width == pytest.approx(row.image.shape[0] / row.image.shape[1])
    path = sample_figure(rows, tmp_path / "samples.png")
    assert pixels(path) == tuple(int(side * DOTS) for side in figure.get_size_inches())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no sample"),
        ([replace(sample(), predicted=np.zeros((3, 3), bool))], "reference"),
        ([replace(sample("case_7"), image=np.zeros((5, 5, 3), np.uint8))], "case_7"),
        ([replace(sample(), attention=np.zeros((5, 5), np.float32))], "5x5"),
    ],
)
def test_samples_refuse_what_does_not_fit(rows, message):
    with pytest.raises(DataError, match=message):
        plot_samples(rows)


def test_attention_shows_every_gate_with_its_range():
    row = sample()
    maps = [("gate 1", row.attention), ("gate 2", row.attention * 0.5)]
    figure = plot_attention(row.image, maps, limits=(0.0, 0.5))
    shown = pictures(figure)
    assert len(shown) == 3
    assert (shown[0] == row.image).all()
    assert (shown[2] == heat_map(row.image, row.attention * 0.5, limits=(0.0, 0.5))).all()
    assert figure.axes[2].get_title() == "gate 2\n0.00 to 0.50"
    assert figure.axes[-1].get_xlim() == (0.0, 0.5), "the colour bar spans the limits"


def test_attention_of_many_gates_takes_a_second_row(tmp_path):
    row = sample()
    path = attention_figure(row.image, [(f"gate {i}", row.attention) for i in range(1, 7)], tmp_path / "a.png")
    # 7 cells: 5 in the first row, 2 in the second; 12:16 images in cells of 1.9 inches are 1.425 high
    expected = (0.12 + 5 * 1.9 + 4 * 0.08, 0.4 + 0.45 + 2 * 1.425 + 0.42)
    assert pixels(path) == tuple(int(side * DOTS) for side in expected)
    with pytest.raises(DataError, match="at least one"):
        plot_attention(row.image, [])


def test_scores_count_images_in_steps_of_a_twentieth():
    # 0.02 lies in the first bar, 0.97 and 1.0 in the last; the image without a polyp and the NaN in none
    figure = plot_scores([0.02, 0.97, 1.0, 1.0, float("nan")], [0.1, 0.2, 0.3, 0.0, 0.4])
    histogram, scatter = figure.axes
    heights = [patch.get_height() for patch in histogram.patches]
    assert heights == [1] + [0] * 18 + [2]
    assert np.asarray(scatter.collections[0].get_offsets()) == pytest.approx(
        np.array([[10, 0.02], [20, 0.97], [30, 1.0]])
    )
    assert figure.texts[0].get_text() == "3 images, 1 without a polyp left out, 1 without a Dice left out"
    # mean (0.02 + 0.97 + 1) / 3 = 0.6633
    assert [text.get_text() for text in histogram.get_legend().get_texts()] == ["mean 0.663", "median 0.970"]


def test_scores_get_a_running_median_from_fifteen_images_on(tmp_path):
    def labels(count):
        return plot_scores(np.full(count, 0.5), np.linspace(0.1, 0.4, count)).axes[1].get_legend_handles_labels()[1]

    assert labels(14) == []
    assert labels(15) == ["running median of 5 images"]
    assert labels(120) == ["running median of 15 images"]
    path = score_figure(np.full(15, 0.5), np.linspace(0.1, 0.4, 15), tmp_path / "scores.png")
    assert pixels(path) == (int(8.4 * DOTS), int(3.2 * DOTS))


def test_scores_refuse_what_cannot_be_drawn():
    with pytest.raises(DataError, match="one value each"):
        plot_scores([0.5, 0.6], [0.1])
    with pytest.raises(DataError, match="none of the 2 images"):
        plot_scores([0.5, float("nan")], [0.0, 0.1])


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12), st.integers(1, 5))
def test_running_median_equals_a_loop(points, window):
    x, y = np.array(points).T
    order = sorted(range(len(points)), key=lambda i: x[i])
    expected = [
        (np.median(x[order[i : i + window]]), np.median(y[order[i : i + window]]))
        for i in range(len(points) - window + 1)
    ]
    assert list(zip(*running_median(x, y, window), strict=True)) == expected


@pytest.mark.parametrize(
    ("dice", "expected"),
    [
        ([], ([], [], [])),
        ([0.5], ([0], [], [])),
        ([0.9, 0.1], ([1], [], [0])),
        ([0.9, 0.1, 0.5], ([1], [2], [0])),
        # order of rising Dice: 1, 4, 2, 5, 3, 0, 6; two worst, two best, of the three between (2, 5, 3) the first two
        ([0.8, 0.1, 0.3, 0.6, 0.2, 0.5, 0.9], ([1, 4], [2, 5], [0, 6])),
    ],
)
def test_pick_cases_by_hand(dice, expected):
    assert tuple(pick_cases(dice, count=2).values()) == expected


def test_pick_cases_takes_the_median_from_the_middle():
    # order of rising Dice: 1, 4, 2, 5, 3, 0, 6: the fourth of seven is 5
    assert pick_cases([0.8, 0.1, 0.3, 0.6, 0.2, 0.5, 0.9], count=1)["median"] == [5]


@given(st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=30), st.integers(1, 4))
def test_pick_cases_are_apart_and_in_order(dice, count):
    cases = pick_cases(dice, count)
    places = [place for group in cases.values() for place in group]
    scores = [dice[place] for place in places]
    assert len(set(places)) == len(places)
    assert scores == sorted(scores)  # worst, then median, then best; a NaN would break the order
    assert all(len(group) <= count for group in cases.values())
    known = [score for score in dice if score == score]
    if known:
        assert scores[0] == min(known)
    if len(known) >= 3 * count:
        assert [len(group) for group in cases.values()] == [count] * 3


def test_cases_show_what_was_found_and_missed():
    row = sample("only")
    figure = plot_cases({"worst": [row], "median": [], "best": [row, row]})
    shown = pictures(figure)
    assert len(shown) == 3
    expected = contour(compare_overlay(row.image, row.predicted, row.reference), row.reference, width_px=1)
    assert (shown[0] == expected).all()
    assert [text.get_text() for text in figure.texts if text.get_text()] == ["worst", "best"]
    assert figure.axes[0].get_title() == "only\nDice 0.500"


def test_cases_legend_shows_the_colours_as_they_are_laid_over_the_images():
    row = sample()
    handles = plot_cases({"worst": [row]}).legends[0].get_patches()
    colours = [tuple(round(255 * level) for level in handle.get_facecolor()[:3]) for handle in handles]
    # 0.4 * image (180, 90, 70) + 0.6 * colour
    for found, colour in zip(colours, (TRUE_POSITIVE, FALSE_NEGATIVE), strict=False):
        assert found == tuple(round(0.4 * a + 0.6 * b) for a, b in zip((180, 90, 70), colour, strict=True))


def test_cases_are_saved(tmp_path):
    path = case_figure({"worst": [sample()], "best": [sample("b")]}, tmp_path / "cases.png")
    # The longest label, "worst", has 5 characters of 0.062 in, and 0.2 in of room.
    assert pixels(path)[0] == int((0.2 + 5 * 0.062 + 0.06 + 1.75) * DOTS)
    with pytest.raises(DataError, match="no sample"):
        plot_cases({"worst": []})


def test_cases_show_their_labels_as_a_whole():
    labels = ["second-hospital/first-model-evaluation", "second-hospital/other-model-evaluation"]
    figure = plot_cases({label: [sample()] for label in labels})
    shown = [text for text in figure.texts if text.get_text()]
    assert [text.get_text().replace("\n", "") for text in shown] == labels
    figure.draw_without_rendering()
    assert all(text.get_window_extent().x0 >= 0 for text in shown)


def test_figures_take_names_with_dollar_signs_literally(tmp_path):
    sample_figure([sample(r"a$\frac$b")], tmp_path / "samples.png")  # as mathematics this would not parse
    case_figure({"worst": [sample(r"a$\frac$b")]}, tmp_path / "cases.png")
    attention_figure(sample().image, [(r"a$\frac$b", sample().attention)], tmp_path / "attention.png")


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_save_figure_writes_what_the_ending_says(tmp_path, ending):
    path = canvas.save_figure(canvas.blank_figure(1, 1), tmp_path / f"figure.{ending}")
    content = path.read_bytes()
    assert content.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending])
    if ending == "svg":
        assert ElementTree.fromstring(content).tag.endswith("svg")
    assert [each.name for each in tmp_path.iterdir()] == [path.name], "nothing else is left beside it"


def test_save_figure_refuses_other_endings(tmp_path):
    with pytest.raises(UsageError, match="expected one of png, svg, pdf"):
        canvas.save_figure(canvas.blank_figure(1, 1), tmp_path / "figure.jpg")


def test_save_figure_keeps_the_old_file_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        canvas.save_figure(canvas.blank_figure(1, 1), path)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["figure.png"]


def test_figures_from_several_threads_equal_those_from_one():
    def draw(i):
        return canvas.encode_figure(plot_training_curves(history([1.0, 0.5 + i / 10, 0.9])), "png")

    alone = [draw(i) for i in range(3)]
    assert len(set(alone)) == 3
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(draw, range(3))) == alone


def test_figures_change_no_global_state_of_matplotlib():
    script = """
import sys, matplotlib
before = matplotlib.rcParams.copy(), sorted(matplotlib.colormaps)
from polypseg.report import canvas
from polypseg.report.figures import plot_scores
canvas.encode_figure(plot_scores([0.5, 0.7], [0.1, 0.2]), "svg")
assert (matplotlib.rcParams.copy(), sorted(matplotlib.colormaps)) == before
heavy = {"matplotlib.pyplot", "keras", "tensorflow", "jax", "torch"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=120)
