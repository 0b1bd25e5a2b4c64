"""`polypseg archive`: what is printed, what is written, and the exit codes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from archive.archive_making import HereSlot, make_videos
from polypseg.archive import slots
from polypseg.cli import app
from polypseg.errors import UsageError
from predict.tiny_model import write_tiny_model

run = CliRunner()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with three videos and a model; workers do their work in this process."""
    make_videos(tmp_path / "videos", 3)
    write_tiny_model(tmp_path / "tiny.onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slots, "ProcessSlot", lambda job, name, timeout: HereSlot(job, name))


def said(*words, code=0):
    done = run.invoke(app, ["archive", *words])
    assert done.exit_code == code, done.output
    return done.output


def predicted(*words, code=0):
    return said("run", "out", "--model", "tiny.onnx", "--engine", "onnxruntime", *words, code=code)


@pytest.mark.slow
def test_from_a_folder_to_tables_and_back_to_nothing():
    assert "3 videos, 0.0 hours, 0.00 GB: 3 new, 0 changed, 0 gone, 0 faulty" in said("plan", "videos", "-o", "out")
    assert "no run yet: polypseg archive run" in said("status", "out")
    assert "predicted 3 videos, 18 frames" in predicted("--workers", "2", "--withhold", "2")
    assert "(0.0 a second); 3 were dealt with before (3 done)" in predicted("--withhold", "2")
    assert "3 videos (3 files, 0 missing), 18 frames" in said("status", "out")
    assert "read 3 results, 3 videos" in said("verify", "out", "--inputs")
    assert "3 procedures, 3 of them done: 18 frames, 3 detections" in said("summary", "out")
    assert "exists; replace it with --overwrite" in said("summary", "out", code=2)
    video = Path("out/manifest.csv").read_text().splitlines()[1].split(",")[0]
    told = said("forget", "out", video[:12])
    assert f"forgot {video}: results of 1 run, 8 rows of summaries" in told
    assert "the video itself is still there" in told
    assert "1 forgotten videos were found and left out" in said("plan", "videos", "-o", "out")


def test_what_is_not_done_is_listed_and_the_exit_code_is_1():
    Path("videos/001.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(500))
    assert "1 faulty" in said("plan", "videos", "-o", "out")
    told = predicted(code=1)
    assert "predicted 2 videos" in told
    assert "1 video is not done; the others are:" in told
    assert "001.mp4: faulty: the index of the video is missing" in told
    assert "3 were dealt with before (2 done, 1 faulty)" in predicted()


def test_options_become_the_record_of_the_run():
    said("plan", "videos", "-o", "out", "--identify", "stamp")
    predicted("--frames-every", "0.1s", "--masks", "rle", "--threshold", "0.4", "--smooth", "window", "--min-area", "5")
    [path] = Path("out/results").glob("*/run.json")
    record = json.loads(path.read_text())
    expected = {"seconds_apart": 0.1, "masks": "rle", "threshold": 0.4, "smoothing": "window", "min_area_px": 5}
    assert {name: record[name] for name in expected} == expected
    assert "predicted 0 videos" not in predicted("--video")
    assert "holds 2 runs; name one" in said("summary", "out", code=1)
    said("summary", "out", "--run", path.parent.name, "-o", "tables")
    assert Path("tables/procedures.csv").is_file()


def test_parts_and_damaged_results():
    said("plan", "videos", "-o", "out")
    done = [predicted("--part", f"{index}/2") for index in (1, 2)]
    assert sum(int(text.partition("predicted ")[2].split()[0]) for text in done) == 3
    next(Path("out/results").rglob("frames.parquet")).write_bytes(b"")
    assert "1 result is damaged" in said("verify", "out", code=1)
    said("verify", "out", "--remove", code=1)
    assert "predicted 1 video" in predicted()
    said("verify", "out")


def test_wrong_calls_are_told_in_a_line():
    said("plan", "videos", "-o", "out")
    assert "cannot read the record of an archive" in said("run", "nothing", code=1)
    assert "expected I/N" in predicted("--part", "3/2", code=2)
    assert "expected seconds, as 0.2s" in predicted("--frames-every", "often", code=2)
    assert "--gpus needs --ray" in predicted("--gpus", "1", code=2)
    assert "unknown form of masks" in predicted("--masks", "tiff", code=2)
    assert "no such file" in said("run", "out", "--model", "gone.onnx", code=1)
    assert "cannot read the list of videos" in said("plan", "nothing", "-o", "out", code=1)
    assert not Path("out/results").exists()
    assert "cannot read the list of videos" in said("plan", "nothing", "-o", "new", code=1)
    assert not Path("new").exists()


def test_needs_that_a_machine_cannot_meet_are_refused_and_those_that_wait_are_told(capsys):
    from polypseg.cli.archive_run import Workers, _tell_room

    with pytest.raises(
        UsageError, match=r"this machine holds no worker of 2 CPU and 0\.5 GPU; use fewer --cpus or --gpus"
    ):
        _tell_room(Workers(ray="local", cpus=2, gpus=0.5), 0, 1)
    _tell_room(Workers(ray="auto"), 0, 3)  # machines may come
    assert "room for 0 of 3 workers of 1 CPU" in capsys.readouterr().out


def test_retry_gives_what_was_set_aside_its_tries_again(monkeypatch):
    class Dying(HereSlot):
        def do(self, entry):
            raise slots.WorkerDiedError("its worker died")

    said("plan", "videos", "-o", "out")
    with monkeypatch.context() as patched:
        patched.setattr(slots, "ProcessSlot", lambda job, name, timeout: Dying(job, name))
        told = predicted("--tries", "2", code=1)
    assert told.count("set aside after 2 tries: its worker died") == 3
    assert "workers died 6 times" in told
    assert "predicted 0 videos" in predicted()
    told = predicted("--retry")
    assert "3 videos that were set aside are tried again" in told
    assert "predicted 3 videos" in told
