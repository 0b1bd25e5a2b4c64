import numpy as np
import pytest

from metrics.procedures.conftest import build
from polypseg.metrics.procedures.identity import identity

# Six frames; lesion a in all of them, lesion b in 3-5. Findings lie on a in 0-4 and on b in 4, and on nothing in 5.
SIGHTS = [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (3, 1), (4, 1), (5, 1)]
FINDINGS = [(0, 0.9), (1, 0.9), (2, 0.9), (3, 0.9), (4, 0.9), (4, 0.9), (5, 0.9)]
MEETINGS = [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 7)]


@pytest.mark.parametrize(
    ("tracks", "agreeing", "tracked", "switches"),
    [
        ([1, 1, 1, 1, 1, 2, 3], 6, 7, 0),  # a by 1 in five frames, b by 2 in one
        ([1, 1, 2, 2, 2, 3, 3], 4, 7, 1),  # the best is a by 2 in three, b by 3
        ([1, 2, 1, 2, 1, 3, 3], 4, 7, 4),  # a by 1 in three
        ([1, 1, 1, 1, 1, 1, 1], 5, 6, 0),  # one track has two regions in frame 4; it can be one lesion only
    ],
)
def test_by_hand(tracks, agreeing, tracked, switches):
    found = identity(build([6], SIGHTS, FINDINGS, MEETINGS, ["a", "b"]), np.array(tracks))
    assert (found.num_agreeing, found.num_sights, found.num_tracked) == (agreeing, 9, tracked)
    assert found.idf1 == 2 * agreeing / (9 + tracked)
    assert found.num_switches == switches


def test_a_second_finding_on_a_lesion_is_no_switch():
    both = build([2], [(0, 0), (1, 0)], [(0, 0.9), (1, 0.9), (1, 0.9)], [(0, 0), (1, 1), (2, 1)], ["a"])
    assert identity(both, np.array([1, 2, 1])).num_switches == 0
    assert identity(both, np.array([1, 2, 3])).num_switches == 1


def test_equal_numbers_of_two_procedures_are_two_tracks():
    apart = build([2, 2], [(0, 0), (1, 0), (2, 1), (3, 1)], [(0, 0.9), (2, 0.9)], [(0, 0), (1, 2)], ["a", "b"])
    found = identity(apart, np.array([1, 1]))
    assert (found.num_agreeing, found.num_tracks) == (2, 2)


def test_nothing_found():
    assert identity(build([2], [(0, 0)], [], [], ["a"]), np.zeros(0, int)).idf1 == 0
