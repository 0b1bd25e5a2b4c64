from polypseg.predict.video.tracks import Tracker


def moving(x, y=0.0, side=10.0):
    return (x, y, side, side)


def test_two_that_pass_keep_their_numbers():
    tracker = Tracker()
    seen = [tracker.follow([moving(4 * i, 0), moving(80 - 4 * i, 30)], i / 25) for i in range(20)]
    assert set(map(tuple, seen)) == {(1, 2)}


def test_gone_for_under_a_second_and_back():
    tracker = Tracker()
    assert tracker.follow([moving(50)], 0.0) == [1]
    assert tracker.follow([], 0.04) == []
    assert tracker.follow([moving(60)], 0.9) == [1]  # a box's side away
    assert tracker.follow([moving(60)], 1.95) == [2]  # more than a second later is another


def test_a_shorter_gap_may_be_asked_for():
    tracker = Tracker(max_gap_seconds=0.1)
    tracker.follow([moving(50)], 0.0)
    assert tracker.follow([moving(50)], 0.2) == [2]


def test_the_longer_gone_the_farther_away():
    near, far = Tracker(), Tracker()
    near.follow([moving(0)], 0.0)
    far.follow([moving(0)], 0.0)
    # 25 px are 2.5 sides: beyond 1 + 4·0.04 after one frame, within 1 + 4·0.5 after half a second.
    assert near.follow([moving(25)], 0.04) == [2]
    assert far.follow([moving(25)], 0.5) == [1]


def test_another_size_is_another_polyp():
    tracker = Tracker()
    tracker.follow([moving(0, side=10)], 0.0)
    assert tracker.follow([moving(7, side=21)], 0.04) == [2]  # 4.4 times the area, on 9 % of the first


def test_out_from_behind_a_fold_it_is_the_same():
    tracker = Tracker()
    tracker.follow([(20, 20, 4, 4)], 0.0)
    assert tracker.follow([(18, 18, 20, 20)], 0.04) == [1]


def test_pieces_share_a_number():
    tracker = Tracker()
    tracker.follow([(0, 0, 40, 20)], 0.0)
    assert tracker.follow([(0, 0, 30, 20), (32, 4, 6, 6)], 0.04) == [1, 1]
    assert tracker.follow([(0, 0, 40, 20), (90, 4, 6, 6)], 0.08) == [1, 2]


def test_where_its_motion_brings_it():
    # Two tracks meet at x = 40: one moves right by 10 a frame, the other rests there. The next region at 50 is the
    # mover's, the one at 40 the resting one's, though each lies as near to the other.
    tracker = Tracker()
    for i in range(4):
        tracker.follow([moving(10 * i), moving(45)], i / 25)
    assert tracker.follow([moving(45), moving(40)], 4 / 25) == [2, 1]


def test_numbers_are_not_given_twice():
    tracker = Tracker()
    for i in range(5):
        tracker.follow([moving(0)], 2.0 * i)
    assert tracker.num_tracks == 5
