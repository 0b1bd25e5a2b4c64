import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve

from polypseg.errors import UsageError
from polypseg.metrics.calibration import brier_score, expected_calibration_error, reliability
from polypseg.metrics.thresholds import level_histogram
from reference import calibration as slow

MAPS = arrays(np.uint8, (3, 4))
MASKS = arrays(bool, (3, 4))


@given(MAPS, MASKS, st.integers(1, 30))
def test_expected_calibration_error_equals_loop(levels, reference, num_bins):
    expected = slow.expected_calibration_error(levels, reference, num_bins)
    histogram = level_histogram(levels, reference)
    assert expected_calibration_error(histogram, num_bins) == pytest.approx(expected, abs=1e-9)


@given(MAPS, MASKS)
def test_brier_score_equals_scikit_learn(levels, reference):
    expected = sklearn_metrics.brier_score_loss(reference.ravel(), levels.ravel() / 255, labels=[False, True])
    assert brier_score(level_histogram(levels, reference)) == pytest.approx(expected, abs=1e-9)


def test_reliability_equals_scikit_learn():
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (40, 50)).astype(np.uint8)
    reference = rng.random((40, 50)) < levels / 255
    points = reliability(level_histogram(levels, reference), num_bins=7)  # no level lies on an edge of sevenths
    share, mean = calibration_curve(reference.ravel(), levels.ravel() / 255, n_bins=7)
    assert points.polyp_share == pytest.approx(share)
    assert points.mean_probability == pytest.approx(mean)
    assert points.num_pixels.sum() == 2000


def test_reliability_edges_belong_to_the_lower_bin():
    # with five bins the edges are at the levels 51, 102, 153, 204
    levels = np.array([[0, 51, 52, 102, 255]], np.uint8)
    points = reliability(level_histogram(levels, np.zeros((1, 5), bool)), num_bins=5)
    assert points.num_pixels.tolist() == [2, 2, 0, 0, 1]
    assert np.isnan(points.polyp_share).tolist() == [False, False, True, True, False]


def test_expected_calibration_error_number_of_bins_matters():
    # 0.2 with no polyp and 0.8 with only polyps: 0.2 wrong in two bins, balanced in one
    histogram = level_histogram(np.array([[51, 204]], np.uint8), np.array([[False, True]]))
    assert expected_calibration_error(histogram, 2) == pytest.approx(0.2)
    assert expected_calibration_error(histogram, 1) == pytest.approx(0.0)


# constant map c/255 over a reference with a quarter of polyp: |c/255 - share|, mean of (c/255 - truth)²
@pytest.mark.parametrize(
    ("level", "polyp", "error", "brier"),
    [
        (0, 0, 0, 0),
        (0, 4, 1, 1),
        (255, 0, 1, 1),
        (255, 4, 0, 0),
        (51, 0, 0.2, 0.04),
        (51, 1, 0.05, (3 * 0.04 + 0.64) / 4),
        (51, 4, 0.8, 0.64),
    ],
)
def test_calibration_degenerate_table(level, polyp, error, brier):
    reference = np.arange(4)[None] < polyp
    histogram = level_histogram(np.full((1, 4), level, np.uint8), reference)
    assert expected_calibration_error(histogram) == pytest.approx(error)
    assert brier_score(histogram) == pytest.approx(brier)


def test_calibration_without_a_pixel_is_nan():
    nothing = np.zeros((2, 256), np.int64)
    assert np.isnan(expected_calibration_error(nothing))
    assert np.isnan(brier_score(nothing))


def test_calibration_of_a_sum_is_that_of_one_large_image():
    rng = np.random.default_rng(1)
    levels, reference = rng.integers(0, 256, (6, 8)).astype(np.uint8), rng.random((6, 8)) < 0.5
    parts = level_histogram(levels[:2], reference[:2]) + level_histogram(levels[2:], reference[2:])
    whole = level_histogram(levels, reference)
    assert expected_calibration_error(parts) == expected_calibration_error(whole)
    assert brier_score(parts) == brier_score(whole)


@pytest.mark.parametrize("num_bins", [0, 256])
def test_reliability_number_of_bins_out_of_range_is_refused(num_bins):
    with pytest.raises(UsageError, match=f"num_bins is {num_bins}; expected 1 to 255"):
        reliability(np.zeros((2, 256), np.int64), num_bins)
