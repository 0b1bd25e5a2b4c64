"""The simulation that plans an archive: cases that can be followed by hand."""

import importlib.util
import random
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("simulate_archive", ROOT / "scripts" / "simulate_archive.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_one_worker_does_one_after_another(script):
    plan = script.simulate([10, 20, 30], script.Farm(1, 1, start_seconds=5), random.Random(0))
    assert plan == (5 + 60, 0, 0)


def test_the_next_video_goes_to_whoever_is_free(script):
    # at 0: 10 and 40; at 10: 20; at 30: 30, until 60
    assert script.simulate([10, 40, 20, 30], script.Farm(2, 1, 0), random.Random(0)).seconds == 60
    assert script.simulate([10, 40, 20, 30], script.Farm(1, 2, 0), random.Random(0)).seconds == 60


class Fixed:
    """Times between failures, given."""

    def __init__(self, *times):
        self._times = iter(times)

    def expovariate(self, rate):
        return next(self._times, 1e9)


def test_a_failure_loses_what_is_in_hand(script):
    farm = script.Farm(1, 1, 0, hours_between_failures=1, recovery_seconds=100)
    # 0-10 done; 10-25 fails at 15: 5 lost; back at 115; the video that waits goes first: 115-120, then 120-135
    plan = script.simulate([10, 15, 5], farm, Fixed(15))
    assert plan == (135, 5, 1)


def test_a_failure_while_nothing_is_in_hand_costs_nothing(script):
    farm = script.Farm(1, 1, start_seconds=20, hours_between_failures=1)
    assert script.simulate([10], farm, Fixed(15)) == (30, 0, 0)


def test_all_workers_of_a_machine_fail_together(script):
    farm = script.Farm(1, 2, 0, hours_between_failures=1, recovery_seconds=10)
    # both fail at 5 and begin again at 15
    assert script.simulate([20, 20], farm, Fixed(5)) == (35, 10, 2)


def test_frames_that_are_left_out_are_decoded(script):
    # of 5 frames one takes 1/20 s and four take 1/200 s: 0.05 + 4 · 0.005 = 0.07 s, 0.014 s each
    assert script.seconds_a_frame(20, 200, 5) == pytest.approx(0.014)
    assert script.seconds_a_frame(20, 200, 1) == pytest.approx(0.05)


def test_lengths_have_the_median_that_is_asked_for(script):
    found = sorted(script.lengths(20_001, 30, 0.4, random.Random(1)))
    assert found[10_000] == pytest.approx(30 * 60, rel=0.02)
    # one standard deviation of the logarithm above: 84.1 % lie below 30·exp(0.4) = 44.8 minutes
    assert sum(length < 44.75 * 60 for length in found) / 20_001 == pytest.approx(0.841, abs=0.01)


def test_a_hundred_machines_are_a_hundred_times_as_fast_but_for_the_end(script):
    work = script.lengths(2_000, 30, 0.4, random.Random(2))
    alone = script.simulate(work, script.Farm(1, 1, 0), random.Random(0)).seconds
    many = script.simulate(work, script.Farm(20, 1, 0), random.Random(0)).seconds
    assert alone == pytest.approx(sum(work))
    assert alone / 20 <= many <= alone / 20 + max(work)
