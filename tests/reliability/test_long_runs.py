"""Samples of the long runs, small enough for every day: kills, failing system calls, a soak, odd saved files."""

import os
from errno import EIO, ENOSPC

import pytest

from reliability import faults, kills, odd_others, soak

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),  # Python 3.12: a fork beside threads
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the long runs fork processes: not on this system"),
]


def test_killed_predictions_and_evaluations_go_on(tmp_path):
    assert kills.drive({"predict": 1, "evaluate": 1}, seed=0, folder=tmp_path, num_images=12) == []


def test_a_killed_server_leaves_nothing_to_the_next_one(tmp_path):
    pytest.importorskip("av", reason='pip install "polypseg[video]"')
    assert kills.drive({"server": 1}, seed=0, folder=tmp_path, num_images=4) == []


def test_a_system_call_that_fails_is_one_line_and_the_next_call_goes_on(tmp_path):
    found = faults.drive(["evaluate", "predict"], every=97, errors=(EIO, ENOSPC), folder=tmp_path)
    assert found.wrong == []
    assert {call.split()[1] for call in found.calls} >= {"open", "write", "fsync", "rename", "mkdir"}
    assert found.num_trials >= 4


def test_calls_are_counted_below_the_folder_and_fail_in_their_turn(tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    with faults.failing(faults.Calls(inside, fails_at=2, error=ENOSPC)) as calls:
        (tmp_path / "out.txt").write_text("elsewhere")
        (inside / "a.txt").write_text("one open, one write")
        with pytest.raises(OSError, match="No space left"):
            (inside / "b.txt").write_text("the third")
    assert calls.kinds == ["open", "write", "open"]
    assert not (inside / "b.txt").exists()


def test_a_server_under_load(tmp_path):
    pytest.importorskip("av", reason='pip install "polypseg[video]"')
    seen = soak.drive(num_requests=60, num_videos=1, num_clients=4, folder=tmp_path)
    is_timed = ("memory", "the slowest")  # not in a test: a busy machine, and too few requests
    assert [line for line in seen.wrong() if not line.startswith(is_timed)] == []
    assert seen.answers["whole", 200] == 58  # 57 of 60, and the question whether it is ready
    assert seen.jobs == {"done": 1}


def test_odd_masks_models_and_saved_files(tmp_path):
    found = odd_others.drive(48, seed=2, folder=tmp_path)
    assert found.wrong == []
    assert sum(found.counts.values()) >= 40
