import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn import metrics as sklearn_metrics

from polypseg.errors import DataError
from polypseg.metrics.overlap import (
    Counts,
    accuracy,
    count,
    dice,
    f_beta,
    iou,
    mean_absolute_error,
    pooled,
    precision,
    recall,
    soft_dice,
    specificity,
)
from reference import overlap as slow

RATIOS = [dice, iou, precision, recall, specificity, accuracy, f_beta]

MASKS = {
    "empty": np.zeros((2, 4), bool),
    "full": np.ones((2, 4), bool),
    "partial": np.array([[1, 0, 0, 0], [1, 0, 0, 0]], bool),  # p = 2/8
    "pixel": np.array([[0, 1, 0, 0], [0, 0, 0, 0]], bool),  # disjoint from partial
}


@st.composite
def mask_pairs(draw):
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=7))
    return draw(arrays(bool, shape)), draw(arrays(bool, shape))


# predicted, reference: dice, iou, precision, recall, specificity, accuracy, F2 (5TP / (5TP + 4FN + FP))
DEGENERATE = {
    ("empty", "empty"): (1, 1, 1, 1, 1, 1, 1),
    ("empty", "partial"): (0, 0, 0, 0, 1, 6 / 8, 0),
    ("empty", "full"): (0, 0, 0, 0, 0, 0, 0),
    ("empty", "pixel"): (0, 0, 0, 0, 1, 7 / 8, 0),
    ("partial", "empty"): (0, 0, 0, 0, 6 / 8, 6 / 8, 0),
    ("partial", "partial"): (1, 1, 1, 1, 1, 1, 1),
    ("partial", "full"): (4 / 10, 2 / 8, 1, 2 / 8, 0, 2 / 8, 10 / (10 + 24)),  # TP 2, FN 6
    ("partial", "pixel"): (0, 0, 0, 0, 5 / 7, 5 / 8, 0),  # FP 2, FN 1, TN 5
    ("full", "empty"): (0, 0, 0, 0, 0, 0, 0),
    ("full", "partial"): (4 / 10, 2 / 8, 2 / 8, 1, 0, 2 / 8, 10 / (10 + 6)),  # TP 2, FP 6
    ("full", "full"): (1, 1, 1, 1, 1, 1, 1),
    ("full", "pixel"): (2 / 9, 1 / 8, 1 / 8, 1, 0, 1 / 8, 5 / (5 + 7)),  # TP 1, FP 7
    ("pixel", "empty"): (0, 0, 0, 0, 7 / 8, 7 / 8, 0),
    ("pixel", "partial"): (0, 0, 0, 0, 5 / 6, 5 / 8, 0),  # FP 1, FN 2, TN 5
    ("pixel", "full"): (2 / 9, 1 / 8, 1, 1 / 8, 0, 1 / 8, 5 / (5 + 28)),  # TP 1, FN 7
    ("pixel", "pixel"): (1, 1, 1, 1, 1, 1, 1),
}


@pytest.mark.parametrize("names", DEGENERATE)
def test_ratios_degenerate_table(names):
    predicted, reference = MASKS[names[0]], MASKS[names[1]]
    given_values = [ratio(predicted, reference) for ratio in RATIOS]
    assert given_values == pytest.approx(DEGENERATE[names], abs=1e-12)


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("ratio", RATIOS)
def test_ratios_image_of_one_pixel_equal_masks_is_one(ratio, value):
    mask = np.array([[value]])
    assert ratio(mask, mask) == 1.0


@given(mask_pairs())
def test_count_equals_loop(pair):
    assert tuple(count(*pair)) == slow.counts(*pair)


@given(mask_pairs())
def test_ratios_equal_scikit_learn_where_defined(pair):
    predicted, reference = (mask.ravel() for mask in pair)
    if not (predicted.any() or reference.any()):
        return  # two empty masks: 1 here, 0 or 1 there by its zero_division
    assert dice(*pair) == pytest.approx(sklearn_metrics.f1_score(reference, predicted, zero_division=0))
    assert iou(*pair) == pytest.approx(sklearn_metrics.jaccard_score(reference, predicted, zero_division=0))
    assert precision(*pair) == pytest.approx(sklearn_metrics.precision_score(reference, predicted, zero_division=0))
    assert recall(*pair) == pytest.approx(sklearn_metrics.recall_score(reference, predicted, zero_division=0))
    assert f_beta(*pair) == pytest.approx(sklearn_metrics.fbeta_score(reference, predicted, beta=2, zero_division=0))
    assert accuracy(*pair) == pytest.approx(sklearn_metrics.accuracy_score(reference, predicted))
    if not (predicted.all() and reference.all()):
        assert specificity(*pair) == pytest.approx(
            sklearn_metrics.recall_score(~reference, ~predicted, zero_division=0)
        )


@given(mask_pairs())
def test_ratios_relations(pair):
    predicted, reference = pair
    assert iou(*pair) == pytest.approx(dice(*pair) / (2 - dice(*pair)))
    assert dice(*pair) == dice(reference, predicted)
    assert precision(*pair) == recall(reference, predicted)
    assert specificity(*pair) == recall(~predicted, ~reference)
    assert accuracy(*pair) == accuracy(~predicted, ~reference)
    assert f_beta(*pair, beta=1) == dice(*pair)
    assert count(*pair).background.dice == dice(~predicted, ~reference)


def test_f_beta_large_beta_tends_to_recall():
    # TP 1, FP 3, FN 1: recall 1/2, precision 1/4; F2 = 5 / (5 + 4 + 3)
    predicted, reference = np.array([[1, 1, 1, 1, 0]], bool), np.array([[1, 0, 0, 0, 1]], bool)
    assert f_beta(predicted, reference) == pytest.approx(5 / 12)
    assert f_beta(predicted, reference, beta=1000) == pytest.approx(1 / 2, abs=1e-5)
    assert f_beta(predicted, reference, beta=0.001) == pytest.approx(1 / 4, abs=1e-5)


def test_pooled_weighs_images_by_their_pixels():
    # 2·(1+8) / (2·(1+8) + (1+0) + (1+0)) = 18/20; the mean over images is (1/2 + 1) / 2
    small, large = Counts(1, 1, 1, 7), Counts(8, 0, 0, 2)
    assert pooled([small, large]) == Counts(9, 1, 1, 9)
    assert pooled([small, large]).dice == pytest.approx(18 / 20)


def test_counts_sizes():
    counts = Counts(1, 2, 4, 8)
    assert (counts.num_predicted, counts.num_reference, counts.num_pixels) == (3, 5, 15)


@pytest.mark.parametrize("ratio", RATIOS)
def test_ratios_mask_as_0_255_is_refused(ratio):
    with pytest.raises(DataError, match=r"predicted: expected \(H, W\) bool, found \(1, 2\) uint8; compare first"):
        ratio(np.array([[0, 255]], np.uint8), np.array([[False, True]]))
    with pytest.raises(DataError, match="reference: expected"):
        ratio(np.array([[False, True]]), np.array([[0, 255]], np.uint8))


def test_count_other_shape_is_refused():
    with pytest.raises(DataError, match=r"predicted has shape \(1, 4\), reference \(2, 2\)"):
        count(np.zeros((1, 4), bool), np.zeros((2, 2), bool))


@given(arrays(np.float32, (4, 5), elements=st.floats(0, 1, width=32)), arrays(bool, (4, 5)))
def test_mean_absolute_error_equals_loop(probability, reference):
    expected = slow.mean_absolute_error(probability, reference)
    assert mean_absolute_error(probability, reference) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("value", "reference", "expected"),
    [(0.0, "empty", 0), (1.0, "empty", 1), (0.25, "empty", 0.25), (0.25, "full", 0.75), (0.25, "partial", 0.375)],
)  # constant map at a quarter covered: 1/4 · 3/4 + 3/4 · 1/4 = 3/8
def test_mean_absolute_error_constant_map(value, reference, expected):
    assert mean_absolute_error(np.full((2, 4), value), MASKS[reference]) == pytest.approx(expected)


@pytest.mark.parametrize("value", [math.nan, 1.5, -0.25, 255.0])
def test_mean_absolute_error_value_outside_is_refused(value):
    with pytest.raises(DataError, match=r"expected values in \[0, 1\]"):
        mean_absolute_error(np.array([[0.5, value]]), np.array([[False, True]]))


@given(arrays(np.float32, (4, 5), elements=st.floats(0, 1, width=32)), arrays(bool, (4, 5)))
def test_soft_dice_equals_loop(probability, reference):
    assert soft_dice(probability, reference) == pytest.approx(slow.soft_dice(probability, reference), abs=1e-6)


@given(mask_pairs())
def test_soft_dice_of_a_mask_is_its_dice(pair):
    assert soft_dice(pair[0].astype(np.float32), pair[1]) == pytest.approx(dice(*pair))


# 2·Σpg / (Σp + Σg) of a map that is a quarter everywhere, over 8 pixels: 0/(2+0), 4/(2+8), 1/(2+2)
@pytest.mark.parametrize(("reference", "expected"), [("empty", 0), ("full", 4 / 10), ("partial", 1 / 4)])
def test_soft_dice_constant_map(reference, expected):
    assert soft_dice(np.full((2, 4), 0.25), MASKS[reference]) == pytest.approx(expected)


@pytest.mark.parametrize("value", [math.nan, 1.5, -0.25])
def test_soft_dice_value_outside_is_refused(value):
    with pytest.raises(DataError, match=r"expected values in \[0, 1\]"):
        soft_dice(np.array([[0.5, value]]), np.array([[False, True]]))
