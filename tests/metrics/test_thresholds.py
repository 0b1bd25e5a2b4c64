import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn import metrics as sklearn_metrics

from polypseg.errors import DataError, ScoreError
from polypseg.metrics import thresholds
from polypseg.metrics.overlap import count
from polypseg.metrics.thresholds import (
    ThresholdCurves,
    counts_at_levels,
    level_histogram,
    precision_recall,
    threshold_of,
    to_levels,
)


@st.composite
def maps_and_masks(draw):
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=6))
    few_levels = st.sampled_from([0, 1, 64, 127, 128, 200, 254, 255])
    return draw(arrays(np.uint8, shape, elements=few_levels | st.integers(0, 255))), draw(arrays(bool, shape))


def histogram_of(levels, reference):
    return level_histogram(np.array([levels], np.uint8), np.array([reference], bool))


def test_to_levels_of_an_8_bit_map_gets_its_levels_back():
    levels = np.arange(256, dtype=np.uint8)[None]
    assert (to_levels(levels.astype(np.float32) / 255) == levels).all()
    assert (to_levels(levels / 255) == levels).all()


@pytest.mark.parametrize("level", [1, 2, 127, 128, 255])
def test_threshold_of_cuts_float_map_and_file_alike(level):
    below = np.float32(threshold_of(level) - 1e-5)
    above = np.float32(threshold_of(level) + 1e-5)
    assert to_levels(np.array([[below, above]])).tolist() == [[level - 1, level]]


def test_level_histogram_large_image_counts_every_pixel(monkeypatch):
    levels, reference = np.array([[3, 3, 9]], np.uint8), np.array([[0, 1, 1]], bool)
    usual = level_histogram(levels, reference)
    monkeypatch.setattr(thresholds, "_EXACT_FLOAT32", 2)
    assert (level_histogram(levels, reference) == usual).all()


def test_level_histogram_part_of_an_array():
    levels, reference = np.arange(16, dtype=np.uint8).reshape(4, 4), np.eye(4, dtype=bool)
    part = level_histogram(levels[1:, 2:], reference[1:, 2:])
    assert np.flatnonzero(part[0]).tolist() == [6, 7, 11, 14]
    assert np.flatnonzero(part[1]).tolist() == [10, 15]


@given(maps_and_masks())
def test_counts_at_levels_equal_one_mask_after_the_other(pair):
    levels, reference = pair
    curve = counts_at_levels(level_histogram(levels, reference))
    for level in (0, 1, 64, 127, 128, 200, 255):
        counts = count(levels >= level, reference)
        assert tuple(field[level] for field in curve) == tuple(counts)
        assert curve.dice[level] == pytest.approx(counts.dice)
        assert curve.iou[level] == pytest.approx(counts.iou)
        assert curve.precision[level] == pytest.approx(counts.precision)
        assert curve.recall[level] == pytest.approx(counts.recall)


@given(maps_and_masks())
def test_precision_recall_average_equals_scikit_learn(pair):
    levels, reference = pair
    average = precision_recall(level_histogram(levels, reference)).average_precision
    if reference.any():
        expected = sklearn_metrics.average_precision_score(reference.ravel(), levels.ravel())
        assert average == pytest.approx(expected, abs=1e-6)
    else:
        assert np.isnan(average)


def test_precision_recall_of_a_sum_is_pooled():
    first, second = histogram_of([200, 10], [1, 0]), histogram_of([100, 150], [1, 0])
    pooled = precision_recall(first + second)
    # at level 150 two are predicted, one of them rightly, of two polyp pixels
    assert (pooled.precision[150], pooled.recall[150]) == (0.5, 0.5)


def test_threshold_curves_keep_images_without_polyp_apart():
    curves = ThresholdCurves()
    curves.add(histogram_of([200, 10], [1, 0]))
    curves.add(histogram_of([100, 150], [1, 0]))
    curves.add(histogram_of([90, 10], [0, 0]))
    # at level 128: Dice 1 and 0; at level 95: Dice 1 and 2/3
    assert curves.mean_dice[[95, 128]] == pytest.approx([5 / 6, 1 / 2])
    assert curves.mean_iou[[95, 128]] == pytest.approx([3 / 4, 1 / 2])
    frames = curves.frames
    assert frames.sensitivity[[95, 128]] == pytest.approx([1, 1 / 2])
    assert frames.mean_recall[[95, 128]] == pytest.approx([1, 1 / 2])
    assert frames.false_positive_frames[[90, 91]] == pytest.approx([1, 0])
    assert frames.threshold[128] == 0.5


def test_threshold_curves_area_decides_what_an_alarm_is():
    curves = ThresholdCurves(min_area_px=2)
    curves.add(histogram_of([90, 90, 10], [0, 0, 0]))
    curves.add(histogram_of([90, 50, 50], [1, 0, 0]))
    assert curves.frames.false_positive_frames[[10, 11, 90, 91]].tolist() == [1, 1, 1, 0]
    # one pixel alone is no alarm; three that touch the polyp are
    assert curves.frames.sensitivity[[50, 51]].tolist() == [1, 0]


def test_threshold_curves_merge_equals_adding_all():
    images = [histogram_of([200, 10], [1, 0]), histogram_of([9, 90], [0, 0]), histogram_of([40, 30], [1, 1])]
    together, first, second = ThresholdCurves(), ThresholdCurves(), ThresholdCurves()
    for image in images:
        together.add(image)
    first.add(images[0])
    second.add(images[1])
    second.add(images[2])
    first.merge(second)
    assert (first.mean_dice == together.mean_dice).all()
    assert (first.histogram == together.histogram).all()
    assert (first.frames.false_positive_frames == together.frames.false_positive_frames).all()
    assert first.best_threshold() == together.best_threshold()


def test_threshold_curves_merge_other_area_is_refused():
    with pytest.raises(ScoreError, match="min_area_px 1 and 5"):
        ThresholdCurves(1).merge(ThresholdCurves(5))


def test_best_threshold_is_where_the_mean_dice_is_largest():
    curves = ThresholdCurves()
    curves.add(histogram_of([200, 150, 10], [1, 0, 0]))  # best from 151 to 200
    assert curves.best_threshold() == threshold_of(151)
    curves.add(histogram_of([220, 180, 10], [1, 0, 0]))  # both perfect from 181 to 200
    assert curves.best_threshold() == threshold_of(181)
    assert curves.best_threshold("iou") == threshold_of(181)


def test_best_threshold_dice_and_iou_may_differ():
    curves = ThresholdCurves()
    curves.add(histogram_of([200, 100], [1, 0]))
    curves.add(histogram_of([200] + [100] * 11, [1] * 6 + [0] * 6))
    # up to level 100: Dice 2/3 and 2·6/(6+12) = 2/3, IoU 1/2 and 1/2
    # from 101 to 200: Dice 1 and 2·1/(6+1) = 2/7, IoU 1 and 1/6: a lower mean Dice and a higher mean IoU
    assert curves.mean_dice[[100, 101]] == pytest.approx([2 / 3, 9 / 14])
    assert curves.mean_iou[[100, 101]] == pytest.approx([1 / 2, 7 / 12])
    assert curves.best_threshold("dice") == threshold_of(100)
    assert curves.best_threshold("iou") == threshold_of(128)


def test_best_threshold_without_polyp_is_refused():
    curves = ThresholdCurves()
    curves.add(histogram_of([9], [0]))
    assert np.isnan(curves.mean_dice).all()
    with pytest.raises(ScoreError, match="no image with a polyp"):
        curves.best_threshold()


def test_best_threshold_never_predicts_everything():
    curves = ThresholdCurves()
    curves.add(histogram_of([0, 0, 0], [1, 1, 0]))  # only level 0 scores at all
    assert curves.best_threshold() == threshold_of(128)


def test_level_histogram_float_map_is_refused():
    with pytest.raises(DataError, match=r"levels: expected \(H, W\) uint8, found \(1, 2\) float64; convert floats"):
        level_histogram(np.array([[0.1, 0.2]]), np.array([[False, True]]))


def test_level_histogram_other_shape_is_refused():
    with pytest.raises(DataError, match="resize the prediction"):
        level_histogram(np.zeros((2, 2), np.uint8), np.zeros((2, 3), bool))
