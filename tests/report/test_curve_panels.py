"""Curves and charts: what is drawn is read back and compared with curves worked out by hand."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from polypseg.errors import DataError
from polypseg.records.curves import EvaluationCurves
from polypseg.report import canvas
from polypseg.report.curve_panels import (
    holds_probabilities,
    level_of,
    plot_alarms,
    plot_panel,
    plot_precision_recall,
    plot_reliability,
    plot_thresholds,
)
from polypseg.report.svg import inline_svg

LEVELS = np.arange(256)


def curves(polyp=True, polyp_free=True):
    """Polyp images: 60 background pixels at 0, 20 at 51, 20 polyp pixels at 204; alarms stop at level 100 and 205."""
    histogram = np.zeros((2, 256), np.int64)
    histogram[0, 0], histogram[0, 51], histogram[1, 204] = 60, 20, 20
    free = np.zeros((2, 256), np.int64)
    free[0, 99] = 100
    nan = np.full(256, np.nan)
    found = (LEVELS <= 204).astype(float)
    # bins of width 1/15: 0 is in the first, 51 = 0.2 = 3/15 ends the third, 204 = 0.8 = 12/15 ends the twelfth
    counts, means, shares = np.zeros(15, np.int64), np.full(15, np.nan), np.full(15, np.nan)
    for place, (count, value, share) in {0: (60, 0.0, 0.0), 2: (20, 0.2, 0.0), 11: (20, 0.8, 1.0)}.items():
        counts[place], means[place], shares[place] = count, value, share
    return EvaluationCurves(
        threshold=(LEVELS - 0.5) / 255,
        histogram=histogram if polyp else np.zeros_like(histogram),
        polyp_free_histogram=free if polyp_free else np.zeros_like(free),
        precision=np.select([LEVELS == 0, LEVELS <= 51, LEVELS <= 204], [0.2, 0.5, 1.0], 0.0),
        recall=found,
        mean_dice=found * 0.9 if polyp else nan,
        mean_iou=found * 0.8 if polyp else nan,
        mean_recall=found if polyp else nan,
        sensitivity=found if polyp else nan,
        false_positive_frames=(LEVELS <= 99).astype(float) if polyp_free else nan,
        bin_num_pixels=counts if polyp else np.zeros_like(counts),
        bin_mean_probability=means,
        bin_polyp_share=shares,
        average_precision=np.array(1.0),
        pranet_threshold=LEVELS / 255,
        pranet_dice=nan,
        pranet_iou=nan,
        pranet_e_measure=nan,
    )


def line(axes, label):
    return next(each for each in axes.get_lines() if each.get_label() == label)


def labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_reliability_draws_the_bins_that_hold_pixels():
    panel, strip = plot_reliability(curves()).axes
    assert line(panel, "found").get_xydata().tolist() == [[0.0, 0.0], [0.2, 0.0], [0.8, 1.0]]
    assert line(panel, "perfect").get_xydata().tolist() == [[0, 0], [1, 1]]
    assert [bar.get_height() for bar in strip.patches] == [60, 20, 20]
    assert [round(bar.get_x() * 15) for bar in strip.patches] == [0, 2, 11]
    assert strip.get_yscale() == "log"


def test_precision_recall_leaves_out_what_predicts_nothing_and_marks_the_threshold():
    axes = plot_precision_recall(curves(), threshold=0.1).axes[0]
    drawn = axes.get_lines()[0].get_xydata()
    assert drawn.shape == (205, 2)  # levels 0 to 204; above, nothing is predicted
    assert drawn[0].tolist() == [1.0, 0.2]
    # level 26 is the first at 0.1 or more (25.5 / 255): the 20 pixels at 51 are still false
    assert line(axes, "used: 0.1").get_xydata().tolist() == [[1.0, 0.5]]
    assert line(axes, "by chance 0.200").get_ydata()[0] == 0.2  # 20 of 100 pixels


@pytest.mark.parametrize(("threshold", "level"), [(0.5, 128), (0.3, 77), (1 / 255, 1), (1.0, 255)])
def test_level_is_the_first_that_the_threshold_takes_for_polyp(threshold, level):
    # 0.3 is 76.5 / 255, so level 77 is the first; 1 / 255 is a level itself
    assert level_of(threshold) == level


def test_thresholds_draw_what_there_is():
    axes = plot_thresholds(curves(), 0.5).axes[0]
    assert labels(axes) == ["Dice", "IoU", "recall", "frames with a false alarm", "used: 0.5"]
    assert line(axes, "Dice").get_ydata()[[0, 204, 205]].tolist() == [0.9, 0.9, 0.0]
    assert labels(plot_thresholds(curves(polyp_free=False), 0.5).axes[0]) == ["Dice", "IoU", "recall", "used: 0.5"]
    assert labels(plot_thresholds(curves(polyp=False), 0.5).axes[0]) == ["frames with a false alarm", "used: 0.5"]


def test_alarms_draw_sensitivity_against_false_alarms():
    axes = plot_alarms(curves(), 0.5).axes[0]
    drawn = line(axes, "polyp frames found")
    points = [tuple(point) for point in drawn.get_xydata()]
    assert sorted(set(points)) == [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
    assert line(axes, "used: 0.5").get_xydata().tolist() == [[0.0, 1.0]]  # level 128: no alarm, all found


def test_alarms_between_two_thresholds_take_the_lower_sensitivity():
    given = replace(
        curves(),
        false_positive_frames=np.where(LEVELS < 128, 1.0, 0.5),
        sensitivity=np.where(LEVELS < 128, 1.0, 0.25),
    )
    drawn = line(plot_alarms(given, 0.5).axes[0], "polyp frames found")
    path = drawn.get_path().vertices.tolist()
    assert [1.0, 0.25] in path  # down first, then to the left
    assert [0.5, 1.0] not in path


def test_curves_refuse_what_was_not_scored():
    with pytest.raises(DataError, match="an image with a polyp"):
        plot_reliability(curves(polyp=False))
    with pytest.raises(DataError, match="an image with a polyp"):
        plot_precision_recall(curves(polyp=False), 0.5)
    for missing in ({"polyp": False}, {"polyp_free": False}):
        with pytest.raises(DataError, match="and images without one"):
            plot_alarms(curves(**missing), 0.5)
    with pytest.raises(DataError, match="nothing to draw"):
        plot_thresholds(curves(polyp=False, polyp_free=False), 0.5)


def test_black_and_white_maps_hold_no_probabilities():
    given = curves()
    assert holds_probabilities(given)
    black_and_white = np.zeros((2, 256), np.int64)
    black_and_white[:, [0, 255]] = 5
    given = replace(given, histogram=black_and_white, polyp_free_histogram=black_and_white)
    assert not holds_probabilities(given)
    grey_negative = black_and_white.copy()
    grey_negative[0, 254] = 1
    assert holds_probabilities(replace(given, polyp_free_histogram=grey_negative))


def svg(name="chart", alt="what it shows"):
    return inline_svg(plot_reliability(curves()), name, alt)


def test_svg_takes_its_colours_from_the_page():
    text = svg()
    for colour in (canvas.INK, canvas.FAINT, canvas.HAIRLINE, canvas.BLUE):
        assert colour not in text
    assert "var(--ink)" in text
    assert "var(--blue)" in text
    assert "font-family" not in text


def test_svg_keeps_its_words_and_describes_itself():
    text = svg(alt='more than "5 % < x"')
    root = ElementTree.fromstring(text)
    assert root.attrib["aria-label"] == 'more than "5 % < x"'
    assert root.attrib["role"] == "img"
    words = [element.text for element in root.iter("text")]
    assert {"Reliability", "predicted probability", "perfect"} <= set(words)


def test_svg_has_ids_of_its_own_and_only_those_that_are_met():
    first, second = svg("one"), svg("two")
    ids = re.findall(r'id="([^"]+)"', first)
    met = set(re.findall(r"#([\w-]+)", first))
    assert ids
    assert set(ids) == met
    assert all(each.startswith("one-") for each in ids)
    assert not set(ids) & set(re.findall(r'id="([^"]+)"', second))


def test_svg_of_an_equal_figure_is_equal_and_points_nowhere():
    assert svg() == svg()
    assert "http" not in svg()
    assert "<style" not in svg()
    assert "<metadata" not in svg()


def test_panel_is_drawn_into_a_figure_of_its_size():
    figure = plot_panel(lambda axes: axes.plot([0, 1], [0, 1]), size_in=(2.0, 1.5))
    assert figure.get_size_inches().tolist() == [2.0, 1.5]
    assert len(figure.axes) == 1
