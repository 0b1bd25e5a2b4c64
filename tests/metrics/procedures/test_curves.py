import math

import numpy as np
import pytest

from metrics.procedures.conftest import build
from polypseg.errors import ScoreError, UsageError
from polypseg.metrics.procedures.curves import FALSE_POSITIVE_RATE, FrocCurves, burdens, curves, match


def test_by_hand(two):
    drawn = curves(two)
    assert drawn.thresholds.tolist() == [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]
    # Of six sights .8, .6 and .2 are found; ten frames; false are .9, .7, .5, .4, .3; clean frames 0, 4, 5, 8.
    np.testing.assert_allclose(drawn.sensitivity, np.array([0, 1, 1, 2, 2, 2, 2, 3]) / 6)
    np.testing.assert_allclose(drawn.frame_sensitivity, drawn.sensitivity)  # no frame has two lesions
    np.testing.assert_allclose(drawn.false_per_frame, np.array([1, 1, 2, 2, 3, 4, 5, 5]) / 10)
    np.testing.assert_allclose(drawn.false_positive_rate, np.array([1, 1, 2, 2, 3, 4, 4, 4]) / 4)


def test_area_by_hand():
    # From (0, 0) to (0, 1/2), to (1/2, 1/2), to (1, 1): 1/4 below the flat part, 3/8 below the slope.
    drawn = FrocCurves(
        np.array([0.9, 0.5]), np.array([0.5, 0.5]), np.array([0.5, 0.5]), np.zeros(2), np.array([0.0, 0.5])
    )
    assert drawn.afroc_area == 0.625


def test_area_without_clean_frames():
    full = build([2], [(0, 0), (1, 0)], [(0, 0.5)], [(0, 0)], ["a"])
    assert math.isnan(curves(full).afroc_area)


def test_matched_by_hand(two):
    # Rates .25 .25 .5 .5 .75 1 1 1: within one quarter down to .8, where one of six lesion frames is found.
    found = match(two, FALSE_POSITIVE_RATE, 0.25)
    assert (found.threshold, found.burden, found.is_within) == (0.8, 0.25, True)
    assert found.sensitivity == 1 / 6
    assert match(two, FALSE_POSITIVE_RATE, 0.74).threshold == 0.6
    assert match(two, FALSE_POSITIVE_RATE, 1).threshold == 0.2


def test_nothing_is_within(two):
    found = match(two, FALSE_POSITIVE_RATE, 0.2)  # the highest score is a false one
    assert math.isnan(found.threshold)
    assert (found.sensitivity, found.is_within) == (0.0, False)


def test_a_dip_of_runs_is_no_operating_point():
    # False scores .9 .5 .9 in a row: two runs at .9, one at .5. With a budget of one run .5 would do, but .9 does not.
    row = build([4], [(3, 0)], [(0, 0.9), (1, 0.5), (2, 0.9), (3, 0.95)], [(3, 0)], ["a"])
    minutes = 0.4 / 60
    np.testing.assert_allclose(burdens(row, "runs", row.thresholds) * minutes, [0, 2, 1])
    assert match(row, "runs", 1.5 / minutes).threshold == 0.95
    assert match(row, "runs", 2.5 / minutes).threshold == 0.5


def test_clean_frames_without_a_finding_leave_the_lowest_score():
    calm = build([4], [(0, 0), (1, 0)], [(0, 0.6), (1, 0.3)], [(0, 0), (1, 1)], ["a"])
    found = match(calm, FALSE_POSITIVE_RATE, 0.045)
    assert (found.threshold, found.sensitivity) == (0.3, 1.0)


def test_faults(two):
    with pytest.raises(UsageError, match="budget -1"):
        match(two, FALSE_POSITIVE_RATE, -1)
    with pytest.raises(
        UsageError, match="unknown burden of false alerts 'false-positives'; did you mean 'false-positi"
    ):
        match(two, "false-positives", 0.1)
    full = build([2], [(0, 0), (1, 0)], [(0, 0.5)], [(0, 0)], ["a"])
    with pytest.raises(ScoreError, match="no frame is without a lesion"):
        match(full, FALSE_POSITIVE_RATE, 0.1)
    short = build([1, 2], [(0, 0)], [(0, 0.5)], [(0, 0)], ["a"])
    with pytest.raises(ScoreError, match="single frame"):
        match(short, "runs", 0.1)
