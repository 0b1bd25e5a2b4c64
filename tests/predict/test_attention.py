"""Which gate is shown first: the one whose coefficients rank the pixels of the mask best above the others."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from polypseg.metrics.thresholds import level_histogram, roc_area, to_levels
from polypseg.predict.attention import AttentionMap, agreement, level_to_show
from polypseg.preprocess import Field

MASK = np.array([[True, True, False, False]])


def maps(*rows):
    return [AttentionMap(level, np.array([row], np.float32)) for level, row in enumerate(rows, start=1)]


@pytest.mark.parametrize("seed", range(3))
def test_area_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    levels = rng.integers(100, 120, (13, 17), np.uint8)  # many ties
    mask = rng.random((13, 17)) < 0.3
    expected = roc_auc_score(mask.ravel(), levels.ravel())
    assert roc_area(level_histogram(levels, mask)) == pytest.approx(expected, abs=1e-12)


def test_agreement_by_hand():
    # Pairs of a mask's pixel (0.9, 0.2) and another (0.2, 0.1): 0.9 wins both, 0.2 ties one and wins one: 3.5 of 4.
    assert agreement(np.array([[0.9, 0.2, 0.2, 0.1]]), MASK) == pytest.approx(3.5 / 4)
    assert agreement(np.full((1, 4), 0.3), MASK) == 0.5
    assert agreement(np.array([[0, 0, 1, 1.0]]), MASK) == 0
    assert np.isnan(agreement(np.full((1, 4), 0.3), np.zeros((1, 4), bool)))


def test_level_that_agrees_best_is_shown_and_of_equal_ones_the_finest():
    constant, half, full = [0.5, 0.5, 0.5, 0.5], [0.9, 0.1, 0.1, 0.1], [0.5, 0.4, 0.3, 0.2]
    assert level_to_show(maps(constant, half, full, half), MASK) == 3
    assert level_to_show(maps(half, constant, half), MASK) == 1
    assert level_to_show(maps(constant, constant), MASK) == 1


@pytest.mark.parametrize(("count", "middle"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_middle_level_where_nothing_was_found(count, middle):
    for mask in (np.zeros((1, 4), bool), np.ones((1, 4), bool)):
        assert level_to_show(maps(*[[0.1, 0.2, 0.3, 0.4]] * count), mask) == middle


def test_no_map_no_level():
    assert level_to_show([], MASK) is None


def test_only_the_lit_field_counts():
    # Over the whole frame the first map ranks 0.2 and 0.3 above the two zeros alone, the second 0.4 and 0.5 above 0.1
    # and 0.2 alone: 4 of 8 pairs each. Within the field the first wins none of 4 pairs, the second all.
    field = Field(0, 0, 1, 4)
    mask = np.array([[True, True, False, False, False, False]])
    wrong, right = [0.2, 0.3, 0.8, 0.9, 0.0, 0.0], [0.4, 0.5, 0.1, 0.2, 0.9, 0.9]
    assert agreement(np.array([wrong]), mask) == pytest.approx(4 / 8)
    assert agreement(np.array([right]), mask) == pytest.approx(4 / 8)
    assert agreement(np.array([wrong]), mask, field) == 0
    assert agreement(np.array([right]), mask, field) == 1
    assert level_to_show(maps(wrong, right), mask) == 1
    assert level_to_show(maps(wrong, right), mask, field) == 2


def test_a_small_range_agrees_as_well_as_a_large_one():
    levels = to_levels(np.array([[0.02, 0.02, 0.01, 0.01]]))
    assert roc_area(level_histogram(levels, MASK)) == 1
