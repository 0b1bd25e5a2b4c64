import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from polypseg.errors import DataError, UsageError
from polypseg.metrics.lesions import LesionCounts, count_lesions
from reference import lesions as slow

MASKS = {
    "empty": np.zeros((3, 5), bool),
    "full": np.ones((3, 5), bool),
    "partial": np.array([[1, 1, 0, 0, 0], [1, 1, 0, 0, 1], [0, 0, 0, 0, 1]], bool),  # 4 and 2 pixels
    "pixel": np.array([[0, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]], bool),  # meets none of partial
}

# predicted, reference: lesions, found, findings, false, largest false
DEGENERATE = {
    ("empty", "empty"): (0, 0, 0, 0, 0),
    ("empty", "partial"): (2, 0, 0, 0, 0),
    ("empty", "full"): (1, 0, 0, 0, 0),
    ("empty", "pixel"): (1, 0, 0, 0, 0),
    ("partial", "empty"): (0, 0, 2, 2, 4),
    ("partial", "partial"): (2, 2, 2, 0, 0),
    ("partial", "full"): (1, 1, 2, 0, 0),
    ("partial", "pixel"): (1, 0, 2, 2, 4),
    ("full", "empty"): (0, 0, 1, 1, 15),
    ("full", "partial"): (2, 2, 1, 0, 0),
    ("full", "full"): (1, 1, 1, 0, 0),
    ("full", "pixel"): (1, 1, 1, 0, 0),
    ("pixel", "empty"): (0, 0, 1, 1, 1),
    ("pixel", "partial"): (2, 0, 1, 1, 1),
    ("pixel", "full"): (1, 1, 1, 0, 0),
    ("pixel", "pixel"): (1, 1, 1, 0, 0),
}


@pytest.mark.parametrize("names", DEGENERATE)
def test_count_lesions_degenerate_table(names):
    counts = count_lesions(MASKS[names[0]], MASKS[names[1]], min_area_px=1)
    assert tuple(counts) == DEGENERATE[names]


@st.composite
def mask_pairs(draw):
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=9))
    return draw(arrays(bool, shape)), draw(arrays(bool, shape))


@given(mask_pairs(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]), st.integers(1, 4))
def test_count_lesions_equals_loop(pair, min_iou, min_area_px):
    assert tuple(count_lesions(*pair, min_iou, min_area_px)) == slow.count(*pair, min_iou, min_area_px)


def test_count_lesions_diagonal_neighbours_are_one():
    assert count_lesions(np.eye(4, dtype=bool), np.zeros((4, 4), bool), min_area_px=1).num_findings == 1


def test_count_lesions_min_iou_decides_what_a_meeting_is():
    predicted = np.array([[1, 1, 1, 0]], bool)
    reference = np.array([[0, 0, 1, 1]], bool)  # 1 shared of 4
    assert count_lesions(predicted, reference, min_iou=0.25, min_area_px=1).num_found == 1
    assert count_lesions(predicted, reference, min_iou=0.26, min_area_px=1) == LesionCounts(1, 0, 1, 1, 3)


def test_count_lesions_speck_is_left_out():
    reference = np.zeros((8, 8), bool)
    reference[2:6, 2:6] = True
    predicted = reference.copy()
    reference[0, 0] = True  # as in 143 masks of Kvasir-SEG
    assert count_lesions(predicted, reference) == LesionCounts(1, 1, 1, 0, 0)
    assert count_lesions(predicted, reference, min_area_px=1) == LesionCounts(2, 1, 1, 0, 0)


@pytest.mark.parametrize("min_iou", [-0.1, 1.5, math.nan])
def test_count_lesions_min_iou_out_of_range_is_refused(min_iou):
    with pytest.raises(UsageError, match="expected 0"):
        count_lesions(MASKS["full"], MASKS["full"], min_iou)


def test_count_lesions_mask_as_0_255_is_refused():
    with pytest.raises(DataError, match="compare first"):
        count_lesions(np.full((2, 2), 255, np.uint8), np.ones((2, 2), bool))
