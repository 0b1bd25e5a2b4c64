import numpy as np

from metrics.procedures.conftest import build
from polypseg.metrics.procedures.lesions import lesion_table


def test_by_hand(two):
    table = lesion_table(two, 0.5, lasting_seconds=0.2)
    assert table.num_visible.tolist() == [3, 3]
    assert table.num_found.tolist() == [2, 0]
    assert table.first_visible.tolist() == [1, 0]  # frames of their own procedures
    assert table.first_found.tolist() == [2, -1]
    np.testing.assert_allclose(table.latency_frames, [1, np.nan])
    np.testing.assert_allclose(table.latency_seconds, [0.1, np.nan])
    np.testing.assert_allclose(table.lasting_latency_seconds, [0.1, np.nan])  # frames 2 and 3 last 0.2 s
    assert table.num_fragments.tolist() == [1, 0]
    np.testing.assert_allclose(table.persistence, [2 / 3, 0])
    np.testing.assert_allclose(table.percent, [4, 4])


def test_lasting_needs_consecutive_frames_of_the_video():
    # Ten frames; the lesion is visible in 0-1 and 4-9, found in 1, 4, 6, 7 and 8.
    sights = [(frame, 0) for frame in (0, 1, 4, 5, 6, 7, 8, 9)]
    found = [1, 4, 6, 7, 8]
    meetings = [(number, [frame for frame, _ in sights].index(frame)) for number, frame in enumerate(found)]
    lone = build([10], sights, [(frame, 0.9) for frame in found], meetings, ["a"])
    table = lesion_table(lone, 0.5, lasting_seconds=0.2)
    assert table.first_found.tolist() == [1]
    np.testing.assert_allclose(table.latency_seconds, [0.1])
    # 1 and 4 follow each other in sight, not in the video: the first two frames in a row are 6 and 7.
    np.testing.assert_allclose(table.lasting_latency_seconds, [0.6])
    np.testing.assert_allclose(lesion_table(lone, 0.5, lasting_seconds=0.4).lasting_latency_seconds, [np.nan])
    # Along what is visible: 1, 4 together, then 6, 7, 8: two fragments.
    assert table.num_fragments.tolist() == [2]


def test_two_lesions_in_one_frame_each_with_its_own_finding():
    both = build([2], [(0, 0), (0, 1), (1, 0)], [(0, 0.9), (1, 0.4)], [(0, 1), (1, 2)], ["a", "b"])
    table = lesion_table(both, 0.3)
    assert table.num_found.tolist() == [1, 1]
    assert table.latency_frames.tolist() == [1, 0]
