import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from polypseg.errors import DataError, UsageError
from polypseg.metrics.boundary import (
    average_surface_distance_px,
    boundary_distances,
    hausdorff_distance_95_px,
    normalised_surface_dice,
)
from reference import boundary as slow

MASKS = {
    "empty": np.zeros((3, 5), bool),
    "full": np.ones((3, 5), bool),
    "partial": np.array([[1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], bool),
    "pixel": np.array([[0, 0, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]], bool),
}


@st.composite
def mask_pairs(draw):
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=9))
    return draw(arrays(bool, shape)), draw(arrays(bool, shape))


@given(mask_pairs(), st.sampled_from([0.0, 1.0, 1.5, 3.0]))
def test_distances_equal_loop(pair, tolerance):
    if not (pair[0].any() and pair[1].any()):
        return  # the degenerate table
    assert hausdorff_distance_95_px(*pair) == pytest.approx(slow.hausdorff_95(*pair), abs=1e-9)
    assert average_surface_distance_px(*pair) == pytest.approx(slow.average(*pair), abs=1e-9)
    assert normalised_surface_dice(*pair, tolerance) == pytest.approx(slow.surface_dice(*pair, tolerance))


def test_distances_of_large_blobs_equal_scipy():
    rng = np.random.default_rng(0)
    predicted, reference = (ndimage.gaussian_filter(rng.random((230, 310)), 12) > 0.5 for _ in range(2))
    borders = [mask & ~ndimage.binary_erosion(mask) for mask in (predicted, reference)]
    distances = boundary_distances(predicted, reference)
    expected = ndimage.distance_transform_edt(~borders[1])[borders[0]]
    assert sorted(distances.from_predicted) == pytest.approx(sorted(expected), abs=1e-12)
    expected = ndimage.distance_transform_edt(~borders[0])[borders[1]]
    assert sorted(distances.from_reference) == pytest.approx(sorted(expected), abs=1e-12)


# predicted, reference: Hausdorff 95 %, average, surface Dice at 2 px
# full's border are 12 of its 15 pixels; partial's are (0, 0) and (1, 0); pixel's is (1, 3)
DEGENERATE = {
    ("empty", "empty"): (0, 0, 1),
    ("empty", "partial"): (math.nan, math.nan, 0),
    ("empty", "full"): (math.nan, math.nan, 0),
    ("empty", "pixel"): (math.nan, math.nan, 0),
    ("partial", "empty"): (math.nan, math.nan, 0),
    ("full", "empty"): (math.nan, math.nan, 0),
    ("pixel", "empty"): (math.nan, math.nan, 0),
    ("partial", "partial"): (0, 0, 1),
    ("full", "full"): (0, 0, 1),
    ("pixel", "pixel"): (0, 0, 1),
    # from partial √10 and 3, their 95th percentile 3 + 0.95·(√10 - 3); from pixel 3
    ("partial", "pixel"): (3 + 0.95 * (10**0.5 - 3), (10**0.5 + 6) / 3, 0),
    # from pixel 1 (its upper, lower and right neighbours are border); from full: row 0 and row 2 each
    # √10 √5 √2 1 √2, row 1 3 (column 0) and 1 (column 4): 12 values
    ("pixel", "full"): (
        # 95th percentile of 12: place 10.45 between the two √10
        10**0.5,
        (1 + 2 * (10**0.5 + 5**0.5 + 2 * 2**0.5 + 1) + 3 + 1) / 13,
        8 / 13,  # 1 from pixel; from full 2·(√2, 1, √2) and 1
    ),
}


@pytest.mark.parametrize("names", DEGENERATE)
def test_distances_degenerate_table(names):
    predicted, reference = MASKS[names[0]], MASKS[names[1]]
    given_values = (
        hausdorff_distance_95_px(predicted, reference),
        average_surface_distance_px(predicted, reference),
        normalised_surface_dice(predicted, reference, 2),
    )
    assert given_values == pytest.approx(DEGENERATE[names], nan_ok=True)


@given(mask_pairs())
def test_distances_do_not_depend_on_the_order_nor_on_the_surroundings(pair):
    predicted, reference = pair
    hausdorff = hausdorff_distance_95_px(predicted, reference)
    assert hausdorff_distance_95_px(reference, predicted) == pytest.approx(hausdorff, nan_ok=True)
    wider = [np.pad(mask, 2) for mask in pair]
    assert hausdorff_distance_95_px(*wider) == pytest.approx(hausdorff, nan_ok=True)


def test_hausdorff_is_the_larger_direction_not_the_pooled_one():
    # predicted: 20 pixels in a row, of which only the first is in the reference: one of 1 far from nothing
    predicted, reference = np.zeros((1, 20), bool), np.zeros((1, 20), bool)
    predicted[0, :], reference[0, 0] = True, True
    # from predicted 0 … 19: place 0.95·19 = 18.05; from the reference 0
    assert hausdorff_distance_95_px(predicted, reference) == pytest.approx(18.05)


def test_normalised_surface_dice_tolerance_counts_as_within():
    predicted, reference = np.zeros((1, 9), bool), np.zeros((1, 9), bool)
    predicted[0, 2], reference[0, 5] = True, True
    assert normalised_surface_dice(predicted, reference, 2.99) == 0
    assert normalised_surface_dice(predicted, reference, 3) == 1


def test_percent_of_diagonal():
    distances = boundary_distances(np.ones((30, 40), bool), np.ones((30, 40), bool))
    assert distances.diagonal_px == 50
    assert distances.percent_of_diagonal(2) == 4


@pytest.mark.parametrize("tolerance", [-1, math.nan])
def test_normalised_surface_dice_tolerance_out_of_range_is_refused(tolerance):
    with pytest.raises(UsageError, match="expected 0 or more"):
        normalised_surface_dice(MASKS["full"], MASKS["full"], tolerance)


def test_boundary_distances_mask_as_0_255_is_refused():
    with pytest.raises(DataError, match="compare first"):
        boundary_distances(np.full((2, 2), 255, np.uint8), np.ones((2, 2), bool))


def test_boundary_distances_other_shape_is_refused():
    with pytest.raises(DataError, match="resize the prediction"):
        boundary_distances(np.ones((2, 2), bool), np.ones((2, 3), bool))
