from dataclasses import replace

import numpy as np
import pytest

from evaluate.conftest import rectangle, write_mask
from evaluate.test_summary import QUICK, scored
from polypseg.evaluate.summary import summarise
from polypseg.metrics.thresholds import threshold_of

GREY = np.array([[200, 100], [0, 0]], np.uint8)
LEFT = np.array([[1, 0], [1, 0]], bool)
NONE = np.zeros((2, 2), bool)


@pytest.fixture
def curves(tmp_path):
    """One image with a polyp and two without, of which one is black."""
    evaluation = scored(tmp_path, {"p": (GREY, LEFT), "n": (GREY, NONE), "clear": (NONE, NONE)})
    summarise(evaluation, QUICK)
    return evaluation.curves()


def test_curves_by_hand(curves):
    # p at levels 1..100: predicted both top pixels, TP 1 FP 1 FN 1: Dice 1/2; at 101..200 TP 1 FN 1: 2/3; beyond: 0
    assert curves.mean_dice[[1, 100, 101, 200, 201]] == pytest.approx([1 / 2, 1 / 2, 2 / 3, 2 / 3, 0])
    assert curves.mean_iou[[100, 101]] == pytest.approx([1 / 3, 1 / 2])
    assert curves.precision[[100, 101]] == pytest.approx([1 / 2, 1])
    assert curves.recall[[100, 101, 201]] == pytest.approx([1 / 2, 1 / 2, 0])
    assert curves.threshold[100] == threshold_of(100)
    # an alarm needs 100 px by default, which no image of 4 pixels raises; the rows below ask for 1
    assert curves.false_positive_frames.max() == 0


def test_alarm_area_decides_sensitivity_and_false_positive_frames(tmp_path):
    evaluation = scored(tmp_path, {"p": (GREY, LEFT), "n": (GREY, NONE), "clear": (NONE, NONE)})
    summarise(evaluation, replace(QUICK, alarm_area_px=2))
    curves = evaluation.curves()
    # two predicted pixels up to level 100, one up to 200
    assert curves.sensitivity[[100, 101]].tolist() == [1, 0]
    assert curves.false_positive_frames[[100, 101]].tolist() == [0.5, 0]


def test_pixels_of_images_with_and_without_a_polyp_are_kept_apart(curves):
    assert curves.histogram.sum() == 4
    assert curves.histogram[1].sum() == 2
    assert curves.polyp_free_histogram.sum() == 8
    assert curves.polyp_free_histogram[1].sum() == 0
    assert curves.bin_num_pixels.sum() == 4


def test_saved_curves_hold_no_pickle(tmp_path):
    mask = rectangle(8, 8, (2, 6), (2, 6))
    evaluation = scored(tmp_path, {"p": (mask, mask)})
    summarise(evaluation, QUICK)
    with np.load(evaluation.curves_path, allow_pickle=False) as saved:
        assert all(saved[name].dtype != object for name in saved.files)
        assert float(saved["average_precision"]) == 1
        assert np.isnan(saved["false_positive_frames"]).all()  # there is no image without a polyp


def test_image_that_could_not_be_scored_is_in_no_curve(tmp_path):
    write_mask(tmp_path / "reference" / "bad.png", NONE)
    (tmp_path / "predicted").mkdir()
    (tmp_path / "predicted" / "bad.png").write_bytes(b"")
    evaluation = scored(tmp_path, {"p": (GREY, LEFT), "n": (np.full((2, 2), 255, np.uint8), NONE)})
    summarise(evaluation, replace(QUICK, alarm_area_px=1))
    assert evaluation.curves().false_positive_frames[255] == 1  # of one frame, not of two


def test_curves_without_a_polyp_are_nan_and_quiet(tmp_path):
    evaluation = scored(tmp_path, {"n": (GREY, NONE)})
    summary = summarise(evaluation, QUICK)
    assert np.isnan(evaluation.curves().pranet_dice).all()
    assert summary.metrics["dice"].mean is None
    assert summary.metrics["dice"].num_images == 0
    assert summary.protocols["duck"]["Dice"] is None
