"""Smoothing over time and the withholding of short detections, by hand."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from polypseg.errors import UsageError
from polypseg.predict.video import temporal
from polypseg.predict.video.temporal import make_smoother, withhold_short


def masks(*rows):
    """Masks of one row each: `#` is polyp; None is a frame without a picture."""
    return [None if row is None else np.array([[letter == "#" for letter in row]]) for row in rows]


def shown(frames, withhold_frames):
    """What is shown of each frame, as `masks` takes it."""
    decided = list(withhold_short(enumerate(frames), withhold_frames))
    assert [frame.item for frame in decided] == list(range(len(frames)))
    return [None if d.mask is None else "".join(".#"[int(value)] for value in d.mask[0]) for d in decided]


def smoothed(name, num_frames, values):
    smoother = make_smoother(name, num_frames)
    return [float(smoother.smooth(np.full((1, 1), value, np.float32))[0, 0]) for value in values]


def test_no_smoothing_gives_the_very_map():
    probability = np.random.default_rng(0).random((3, 4), np.float32)
    assert make_smoother("none", 5).smooth(probability) is probability


def test_exponential_by_hand():
    # 3 frames: weight 2/4 = 0.5. 1; then 0.5*0 + 0.5*1; then 0.5*0 + 0.5*0.5; then 0.5*1 + 0.5*0.25.
    assert smoothed("exponential", 3, [1, 0, 0, 1]) == [1, 0.5, 0.25, 0.625]


def test_window_by_hand():
    # The last 2: 1; (1+0)/2; (0+0)/2; (0+1)/2.
    assert smoothed("window", 2, [1, 0, 0, 1]) == [1, 0.5, 0, 0.5]
    assert smoothed("window", 4, [1, 0, 0, 1, 0]) == [1, 0.5, pytest.approx(1 / 3), 0.5, 0.25]


def test_nothing_is_withheld_and_nothing_waits_for_zero():
    frames = masks("#..", "...", "..#")
    taken = []

    def one_by_one():
        for index, mask in enumerate(frames):
            taken.append(index)
            yield index, mask

    decided = withhold_short(one_by_one(), 0)
    assert next(decided).mask is frames[0]
    assert taken == [0]


def test_lengths_around_the_limit():
    #       one frame, two frames, three frames
    rows = ["#....", "..#..", "..#..", "....#", "....#", "....#", "....."]
    assert shown(masks(*rows), 1) == [".....", *rows[1:]]
    assert shown(masks(*rows), 2) == [".....", ".....", ".....", *rows[3:]]
    assert shown(masks(*rows), 3) == ["....."] * 7


def test_what_is_still_seen_at_the_end_is_withheld_by_its_length_so_far():
    assert shown(masks("..", "#.", "#."), 2) == ["..", "..", ".."]
    assert shown(masks("#.", "#.", "#."), 2) == ["#.", "#.", "#."]


def test_components_are_judged_apart():
    assert shown(masks("#..#", "#...", "#...", "...."), 2) == ["#...", "#...", "#...", "...."]


def test_a_detection_moves_by_overlap():
    moving = ["##...", ".##..", "..##.", "...##"]
    assert shown(masks(*moving), 3) == moving
    jumping = ["##...", "..##.", "##...", "..##."]  # neighbours share no pixel
    assert shown(masks(*jumping), 3) == ["....."] * 4


def test_detections_that_meet_are_one():
    # The left one is seen in frames 0-1 and meets the long one in frame 2: all of it is shown.
    rows = ["#...#", "#...#", "#####", "....#"]
    assert shown(masks(*rows), 3) == rows


def test_parts_of_one_that_splits_are_one():
    rows = ["#####", "#...#", "#....", "#...."]
    assert shown(masks(*rows), 3) == rows


def test_a_gap_ends_a_detection():
    assert shown(masks("#", "#", ".", "#", "#"), 2) == ["."] * 5


def test_a_frame_without_a_picture_neither_counts_nor_ends():
    assert shown(masks("#", None, "#", "."), 1) == ["#", None, "#", "."]
    assert shown(masks("#", None, "#", "."), 2) == [".", None, ".", "."]
    assert shown(masks(None, "#", None), 1) == [None, ".", None]


def test_diagonal_neighbours_are_one_component():
    corner = np.array([[1, 0], [0, 1]], bool)
    decided = list(withhold_short([(0, corner), (1, corner[:, ::-1].copy()), (2, corner)], 2))
    assert [frame.num_components for frame in decided] == [0, 0, 0]  # they share no pixel
    assert [frame.num_components for frame in withhold_short([(n, corner) for n in range(3)], 2)] == [1, 1, 1]


def test_another_size_shares_no_pixel():
    decided = list(withhold_short([(0, np.ones((2, 2), bool)), (1, np.ones((3, 3), bool))], 1))
    assert not any(frame.mask.any() for frame in decided)


def test_counts_by_hand():
    # Frame 0 shows the long one and withholds two short ones; the first of them ends there, the second in frame 1.
    decided = list(withhold_short(enumerate(masks("#.#.#", "#...#", "#....", "#....")), 2))
    assert [frame.num_components for frame in decided] == [1, 1, 1, 1]
    assert [frame.num_withheld for frame in decided] == [2, 1, 0, 0]
    assert [frame.num_ended for frame in decided] == [1, 1, 0, 0]


def test_a_frame_waits_for_so_many_frames_and_no_more():
    taken = []

    def endless():
        number = 0
        while True:
            taken.append(number)
            yield number, np.ones((1, 1), bool)
            number += 1

    decided = withhold_short(endless(), 6)
    for number in range(1000):
        assert next(decided).item == number
        assert len(taken) == number + 7


def test_many_components_are_paired_alike(monkeypatch):
    rng = np.random.default_rng(0)
    frames = list(enumerate(rng.random((12, 40, 50)) < 0.15))
    by_table = [frame.mask for frame in withhold_short(frames, 3)]
    monkeypatch.setattr(temporal, "LARGEST_TABLE", 0)
    np.testing.assert_array_equal([frame.mask for frame in withhold_short(frames, 3)], by_table)
    assert 0 < np.sum(by_table) < sum(mask.sum() for _, mask in frames)


@settings(max_examples=60, deadline=None)
@given(
    frames=st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=1, max_size=9),
    withhold_frames=st.integers(0, 5),
)
def test_as_the_components_of_the_whole_volume(frames, withhold_frames):
    """A detection is a component of the (time, row, column) volume, joined along time through the same pixel only."""
    volume = np.array(frames, bool).reshape(-1, 3, 4)
    structure = np.zeros((3, 3, 3), bool)
    structure[1], structure[:, 1, 1] = True, True
    labels, count = label(volume, structure)
    expected = volume.copy()
    for number in range(1, count + 1):
        times = np.flatnonzero((labels == number).any(axis=(1, 2)))
        if times[-1] - times[0] + 1 <= withhold_frames:
            expected[labels == number] = False
    decided = list(withhold_short(enumerate(volume), withhold_frames))
    np.testing.assert_array_equal([frame.mask for frame in decided], expected)
    short = {n for n in range(1, count + 1) if not expected[labels == n].any()}
    assert sum(frame.num_ended for frame in decided) == len(short)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6])  # few components, many, and one that holds nearly all
def test_components_are_measured_as_opencv_measures_them(share):
    rng = np.random.default_rng(4)
    for _ in range(10):
        mask = rng.random((20, 30)) < share
        [decided] = withhold_short([("frame", mask)], 0)
        found = sorted((component.area_px, component.box) for component in decided.components.measured())
        _, _, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        assert found == sorted((area, tuple(box)) for *box, area in statistics[1:].tolist())


def test_unknown_smoothing_is_not_taken_for_none():
    with pytest.raises(UsageError, match="unknown smoothing 'exponentail'; did you mean 'exponential'"):
        make_smoother("exponentail", 5)
