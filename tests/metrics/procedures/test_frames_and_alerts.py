from dataclasses import replace

import numpy as np
import pytest

from metrics.procedures.conftest import build
from polypseg.errors import ScoreError, UsageError
from polypseg.metrics.procedures.alerts import DEFINITIONS, alerts_by_procedure, count_alerts
from polypseg.metrics.procedures.frames import frame_sums, ratio


def test_sums_by_hand(two):
    found = frame_sums(two, 0.5)
    # At .5 the .3, .4 and .2 do not count. A: lesion frames 1-3, found 2 and 3; clean 0, 4, 5, alerted 0 and 4.
    assert found.num_frames.tolist() == [6, 4]
    assert found.num_lesion_frames.tolist() == [3, 3]
    assert found.num_found.tolist() == [2, 0]
    assert found.num_clean.tolist() == [3, 1]
    assert found.num_clean_alerted.tolist() == [2, 1]
    assert found.num_sights_found.tolist() == [2, 0]
    assert found.num_false.tolist() == [2, 1]
    assert found.false_percent.tolist() == [4, 2]  # each covers 2 % of its frame
    np.testing.assert_allclose(found.minutes, [0.6 / 60, 0.4 / 60])
    assert ratio(found.num_found, found.num_lesion_frames) == 2 / 6


def test_a_false_finding_beside_a_lesion_is_no_alert_of_a_clean_frame(two):
    found = frame_sums(two, 0.25)
    assert found.num_false.tolist() == [4, 1]  # the .3 in frame 3 too
    assert found.num_clean_alerted.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("definition", "threshold", "expected"),
    [
        ("clean-frames", 0.5, [2, 1]),  # 0 and 4; 8
        ("clean-frames", 0.35, [3, 1]),
        ("false-frames", 0.25, [4, 1]),  # 0, 3, 4, 5; 8
        ("runs", 0.25, [2, 1]),  # 0, and 3 to 5
        ("runs", 0.35, [2, 1]),  # 0, and 4 to 5
        ("runs", 0.6, [1, 1]),
        ("alerts-2frames", 0.25, [1, 0]),
        ("alerts-3frames", 0.25, [1, 0]),
        ("alerts-4frames", 0.25, [0, 0]),
        ("alerts-2frames", 0.45, [0, 0]),  # frame 5 drops out
        ("alerts-0.2s", 0.35, [1, 0]),  # two frames of a tenth of a second
        ("alerts-0.3s", 0.35, [0, 0]),
        ("alerts-9frames", 0.1, [0, 0]),  # longer than a procedure
    ],
)
def test_alerts_by_hand(two, definition, threshold, expected):
    assert alerts_by_procedure(two, definition, threshold).tolist() == expected
    assert count_alerts(two, definition, np.array([threshold])).tolist() == [sum(expected)]


def test_a_run_ends_with_its_procedure():
    # False findings in the last frame of A and the first of B: two runs, and no alert of two frames.
    joined = build([2, 2], [(0, 0), (3, 1)], [(1, 0.9), (2, 0.9)], [], ["a", "b"])
    assert alerts_by_procedure(joined, "runs", 0.5).tolist() == [1, 1]
    assert alerts_by_procedure(joined, "alerts-2frames", 0.5).tolist() == [0, 0]


def test_counts_at_all_thresholds_equal_counting_one_by_one():
    rng = np.random.default_rng(3)
    scores = rng.integers(1, 9, 60) / 10
    frames = np.sort(rng.integers(0, 40, 60))
    drawn = build([25, 15], [(3, 0), (30, 1)], list(zip(frames, scores, strict=True)), [], ["a", "b"])
    for definition in (*DEFINITIONS, "alerts-3frames"):
        counted = count_alerts(drawn, definition, drawn.thresholds)
        slow = [alerts_by_procedure(drawn, definition, t).sum() for t in drawn.thresholds]
        assert counted.tolist() == slow
    # and one of them by going through the frames
    in_run, num = False, 0
    for frame in range(40):
        is_false = bool(np.any((frames == frame) & (scores >= 0.5)))
        num += is_false and (not in_run or frame == 25)
        in_run = is_false
    assert count_alerts(drawn, "runs", np.array([0.5])).tolist() == [num]


def test_intervals_know_false_findings_in_clean_frames_only(two):
    unlocated = replace(two, is_located=False)
    assert frame_sums(unlocated, 0.25).num_false.tolist() == [3, 1]  # the .3 beside lesion a is not known to be false


def test_unknown_definition(two):
    with pytest.raises(UsageError, match="unknown definition of a false alert 'alerts'"):
        count_alerts(two, "alerts", np.array([0.5]))
    with pytest.raises(UsageError, match="whole number"):
        count_alerts(two, "alerts-1.5frames", np.array([0.5]))


def test_faulty_columns():
    good = build([2], [(0, 0)], [], [], ["a"])
    with pytest.raises(ScoreError, match="lesion ghost: visible in no frame"):
        replace(good, lesions=("a", "ghost"), lesion_procedure=np.array([0, 0]))
    with pytest.raises(ScoreError, match="out of order in time"):
        replace(good, seconds=np.array([0.1, 0.0]))


def test_chosen_procedures_keep_their_own(two):
    second = two.chosen(["B"])
    assert second.names == ("B",)
    assert second.lesions == ("b",)
    assert second.sight_frame.tolist() == [0, 1, 3]
    assert second.sight_score.tolist() == [0.2, -np.inf, -np.inf]
    assert second.finding_frame.tolist() == [0, 2]
    with pytest.raises(ScoreError, match="no procedure 'C'"):
        two.chosen(["C"])


def test_findings_left_out(two):
    fewer = two.with_findings(two.finding_score != 0.6)
    assert fewer.sight_score.tolist() == [-np.inf, -np.inf, 0.8, 0.2, -np.inf, -np.inf]
    assert len(fewer.finding_score) == 7
