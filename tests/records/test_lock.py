"""One process at a time in a folder: refused by name, taken over from the dead."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from polypseg.errors import BusyError
from polypseg.records import lock
from polypseg.records.lock import LOCK_NAME, alone_at, alone_in

HOLDS = """
import sys, time
from pathlib import Path
from polypseg.records.lock import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder):
    """Another process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, folder], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_one_is_refused_by_name_and_the_dead_lock_nobody_out(tmp_path):
    with holder(tmp_path) as process:
        words = rf"^{tmp_path}: process {process.pid} \(-c .*\) is at work here; wait"
        with pytest.raises(BusyError, match=words), alone_in(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / LOCK_NAME).exists()  # left behind, and held by nobody
    with alone_in(tmp_path):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_it_is_given_back_after_an_error(tmp_path):
    with pytest.raises(KeyboardInterrupt), alone_in(tmp_path):
        raise KeyboardInterrupt
    with alone_in(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_and_its_folder_are_two_places(tmp_path):
    first = alone_at(tmp_path / "a.mp4")
    with alone_in(tmp_path), first, alone_at(tmp_path / "b.mp4"), pytest.raises(BusyError, match=r"a\.mp4: process"):
        alone_at(tmp_path / "a.mp4").__enter__()
    assert list(tmp_path.iterdir()) == []


def test_never_two_at_once(tmp_path):
    """Threads that take and give back as fast as they can: a lock file that is removed must not split the lock."""
    inside, most, taken = [], [], []

    def work():
        for _ in range(300):
            try:
                with alone_in(tmp_path):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
                    taken.append(1)
            except BusyError:
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(taken) > 100


@pytest.mark.parametrize(
    ("holder", "is_refused"),
    [
        ({"pid": 1, "host": "elsewhere", "begun": "1"}, True),
        ({"pid": 1, "begun": None}, True),
        ({"pid": 1, "begun": "1"}, False),  # its number was given again
        ({"pid": 2**22 + 1, "begun": "1"}, False),
        ({}, False),
        ("damaged", False),
    ],
    ids=["other machine", "lives", "reused", "dead", "empty", "damaged"],
)
def test_a_file_system_without_locks(tmp_path, monkeypatch, holder, is_refused):
    import fcntl

    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    if isinstance(holder, dict) and holder:
        holder = {"host": lock.platform.node(), **holder}
        holder["begun"] = holder["begun"] or lock._begun(holder["pid"])
    (tmp_path / LOCK_NAME).write_text(json.dumps(holder))
    if is_refused:
        with pytest.raises(BusyError), alone_in(tmp_path):
            pass
    else:
        with alone_in(tmp_path):
            pass


def test_a_folder_that_is_not_there_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError), alone_in(tmp_path / "none"):
        pass
    assert not Path(tmp_path / "none").exists()
