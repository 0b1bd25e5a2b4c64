"""Which frames come first."""

import numpy as np

from polypseg.annotate.usefulness import useful_order


def test_near_duplicates_of_a_doubtful_frame_wait():
    looks = np.array([[0.0], [0.01], [0.02], [1.0], [2.0]], np.float32)
    doubts = [0.9, 0.9, 0.9, 0.3, 0.2]
    # First the most doubtful (0); then its neighbours are worth 1.0 · 0.01 / D, the others at least 0.3.
    assert useful_order(doubts, looks, [False] * 5)[:3] == [0, 3, 4]


def test_what_looks_like_labelled_frames_waits():
    looks = np.array([[0.0], [0.01], [1.0]], np.float32)
    assert useful_order([0.0, 0.8, 0.5], looks, [True, False, False]) == [2, 1]


def test_doubt_decides_among_equally_new_ones():
    looks = np.eye(4, dtype=np.float32)
    assert useful_order([0.1, 0.4, 0.3, 0.2], looks, [False] * 4) == [1, 2, 3, 0]


def test_looks_decide_where_nothing_is_doubtful():
    looks = np.array([[0.0], [0.1], [1.0], [0.5]], np.float32)
    # the first of equals, then what is furthest from it within the scale, D = median of the distances
    assert useful_order([0.0] * 4, looks, [False] * 4)[:2] == [0, 2]


def test_frames_alike_and_none_at_all():
    assert sorted(useful_order([0.1, 0.2], np.zeros((2, 3), np.float32), [False, False])) == [0, 1]
    assert useful_order([], np.zeros((0, 3), np.float32), []) == []


def test_order_beyond_the_number_that_is_put_in_order_one_by_one():
    rng = np.random.default_rng(0)
    looks, doubts = rng.random((50, 8), np.float32), rng.random(50)
    order = useful_order(doubts, looks, [False] * 50, num_ordered=5)
    assert sorted(order) == list(range(50))
    assert order[:5] == useful_order(doubts, looks, [False] * 50)[:5]
