"""Files at which the decoder crashes or hangs while they are opened: they are faulty, and the plan goes on."""

import os
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from archive.archive_making import HereSlot, make_videos
from polypseg.archive import opening
from polypseg.archive.manifest import ManifestEntry, read_manifest
from polypseg.archive.opening import Header, Opener
from polypseg.archive.options import ArchiveJob, ArchiveOptions
from polypseg.archive.plan import plan_archive
from polypseg.archive.run import run_archive
from polypseg.archive.store import open_run
from polypseg.archive.worker import Came
from polypseg.errors import ArchiveError
from predict.tiny_model import write_tiny_model

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

CRASHING = """
import os, signal, time
from pathlib import Path
from polypseg.archive import opening

open_source, log = opening.open_source, Path({log!r})

def crashing(file):
    with log.open("a") as opened:
        print(os.getpid(), file.name, file=opened)
    if "poison" in file.name and not ("once" in file.name and log.read_text().count(file.name) > 1):
        os.kill(os.getpid(), signal.{signal})
    if "hang" in file.name:
        time.sleep(600)
    return open_source(file)

opening.open_source = crashing
opening.main()
"""
"""The process that opens videos, with a decoder that crashes or hangs at some."""


@pytest.fixture
def crash(tmp_path, monkeypatch):
    """Lets openers crash by a signal at files called poison; tells which process opened which file."""

    def set_up(name: str = "SIGSEGV"):
        log, script = tmp_path / "opened.log", tmp_path / "crashing.py"
        script.write_text(CRASHING.format(log=str(log), signal=name))
        monkeypatch.setattr(opening, "COMMAND", (sys.executable, str(script)))
        return lambda: [tuple(line.split()) for line in log.read_text().splitlines()]

    return set_up


def planned(tmp_path: Path) -> tuple[object, list[ManifestEntry]]:
    summary = plan_archive(str(tmp_path / "videos"), tmp_path / "archive")
    return summary, list(read_manifest(tmp_path / "archive"))


def test_a_file_that_crashes_the_decoder_is_faulty_and_the_plan_goes_on(tmp_path, crash):
    log = crash()
    videos = make_videos(tmp_path / "videos", 3)
    poison = videos[1].rename(videos[1].with_name("001-poison.mp4"))
    summary, entries = planned(tmp_path)
    assert [entry.path for entry in entries] == [str(videos[0]), str(poison), str(videos[2])]
    assert [entry.num_frames for entry in entries] == [6, 0, 6]
    assert [entry.fault for entry in entries] == ["", "the decoder crashes at it (signal 11, SIGSEGV, 2 times)", ""]
    assert (summary.num_videos, summary.num_faulty) == (3, 1)
    processes, names = zip(*log(), strict=True)
    assert names == ("000.mp4", "001-poison.mp4", "001-poison.mp4", "002.mp4")
    # the first one opens 000 and dies, the second one dies, the third one opens the rest: three
    assert (processes[0] == processes[1], len(set(processes))) == (True, 3)
    assert str(os.getpid()) not in processes


def test_what_crashed_is_not_tried_again_until_the_file_changes(tmp_path, crash):
    log = crash()
    [video] = make_videos(tmp_path / "videos", 1)
    poison = video.rename(video.with_name("poison.mp4"))
    planned(tmp_path)
    assert planned(tmp_path)[0].num_faulty == 1
    assert len(log()) == 2
    os.utime(poison, (1, 1))
    planned(tmp_path)
    assert len(log()) == 4


def test_a_file_at_which_the_decoder_hangs_is_faulty_and_the_plan_goes_on(tmp_path, crash, monkeypatch):
    log = crash()
    monkeypatch.setattr(opening, "SECONDS", 1.0)
    videos = make_videos(tmp_path / "videos", 3)
    videos[1].rename(videos[1].with_name("001-hang.mp4"))
    began = time.monotonic()
    summary, entries = planned(tmp_path)
    assert time.monotonic() - began < 60  # far less than the 600 s for which it hangs
    assert [entry.num_frames for entry in entries] == [6, 0, 6]
    assert [entry.fault for entry in entries] == [
        "",
        "the decoder did not open it within 1 s, expected less than 1 s; copy the file again, or convert it first "
        "(ffmpeg -i FILE new.mp4)",
        "",
    ]
    assert (summary.num_videos, summary.num_faulty) == (3, 1)
    processes, names = zip(*log(), strict=True)
    assert names == ("000.mp4", "001-hang.mp4", "002.mp4")  # once: a second try would hang as long
    assert processes[0] == processes[1] != processes[2]
    with pytest.raises(ProcessLookupError):
        os.kill(int(processes[1]), 0)


def test_a_process_that_does_not_begin_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "_START_SECONDS", 0.5)
    with (
        Opener((sys.executable, "-c", "import time; time.sleep(600)")) as opener,
        pytest.raises(ArchiveError, match=r"the process that opens videos cannot be started \(signal 9, SIGKILL\)"),
    ):
        opener.header(tmp_path / "any.mp4")


def test_a_process_that_is_killed_once_blames_no_file(tmp_path, crash):
    log = crash("SIGKILL")
    [video] = make_videos(tmp_path / "videos", 1)
    video.rename(video.with_name("poison-once.mp4"))
    summary, [entry] = planned(tmp_path)
    assert (summary.num_faulty, entry.num_frames) == (0, 6)
    assert len(log()) == 2


def test_a_run_tries_a_file_that_was_planned_as_faulty(tmp_path, crash):
    crash("SIGABRT")
    videos = make_videos(tmp_path / "videos", 2)
    videos[0].rename(videos[0].with_name("poison.mp4"))
    planned(tmp_path)
    job = ArchiveJob(
        tmp_path / "archive", str(write_tiny_model(tmp_path / "t.onnx")), "onnxruntime", 1, ArchiveOptions()
    )
    store = open_run(job.archive, job.load()[1])
    # a run has workers of its own, which tell what comes of it; here the decoder does not crash
    assert run_archive(store, [HereSlot(job, store.run)]).came == Counter({Came.DONE: 2})


def test_a_process_that_cannot_be_started_is_an_error_and_blames_no_file(tmp_path):
    with (
        Opener((sys.executable, "-c", "raise SystemExit(3)")) as opener,
        pytest.raises(ArchiveError, match=r"the process that opens videos cannot be started \(exit code 3\)"),
    ):
        opener.header(tmp_path / "any.mp4")


def test_names_and_damage_pass_between_the_processes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [video] = make_videos(tmp_path / "videos", 1)
    odd = video.rename(tmp_path / 'a "b"\n\udcea ü.mp4')
    (tmp_path / "cut.mp4").write_bytes(odd.read_bytes()[:100])
    (tmp_path / "json.py").write_text("raise SystemExit('a module of the folder was imported')")
    with Opener() as opener:
        # six frames of 64x96 px at 25 a second
        assert opener.header(odd) == Header(0.24, 6, "h264", 64, 96)
        process = opener._process
        assert opener.header(tmp_path / "cut.mp4").fault.startswith("the index of")
        assert opener._process is process
    assert process.returncode == 0


def test_a_plan_that_finds_nothing_new_begins_no_process(tmp_path, monkeypatch):
    make_videos(tmp_path / "videos", 1)
    planned(tmp_path)
    monkeypatch.setattr(opening, "COMMAND", ("/no/such/program",))
    assert planned(tmp_path)[0].num_new == 0
