"""A training's child processes, and what it is given; the trainings here are stand-ins."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest

from polypseg.annotate import training
from polypseg.annotate.beginning import begin_project
from polypseg.annotate.project import opened_project
from polypseg.annotate.reference import store_reference
from polypseg.annotate.training import CHILD, CancelledError, Recipe, StartModel, Training
from polypseg.errors import ProjectError

START = StartModel("polyp-lite", Path("polyp-lite.onnx"), "polyp-lite", "2.0+x", 0.4, 0.9)


def data_set(folder, count, masks=True, groups=False):
    for number in range(count):
        image = np.random.default_rng(number).integers(60, 200, (40, 40, 3), np.uint8)
        image = cv2.resize(image, (64, 64), interpolation=cv2.INTER_CUBIC)
        mask = np.zeros((64, 64), np.uint8)
        mask[10:30, 10:30] = 255
        for kind, pixels in (("images", image), ("masks", mask)):
            if kind == "images" or masks:
                (folder / kind).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(folder / kind / f"s{number:03d}.png"), pixels)
    if groups:
        rows = "".join(f"s{number:03d},g{number // 4}\n" for number in range(count))
        (folder / "groups.csv").write_text(f"frame,group\n{rows}")
    return folder


@pytest.fixture
def project(tmp_path):
    data_set(tmp_path / "frames", 12, masks=False)
    begin_project(tmp_path / "frames", tmp_path / "frames" / "project", "x")
    return tmp_path / "frames" / "project"


def label(folder, count):
    with opened_project(folder) as project:
        for frame in list(project.frames.values())[:count]:
            mask = np.zeros(frame.size, bool)
            mask[10:30, 10:30] = True
            project.save(frame, "corrected", mask, "", 0, "")


def test_too_few_labels_are_told(project):
    label(project, 4)  # one of them is held out
    with pytest.raises(ProjectError, match="3 labelled frames to train with and 1 to compare models on; at least 4"):
        Training(project, START)


def test_cancelled_training_leaves_nothing_in_the_project(project, tmp_path, monkeypatch):
    label(project, 12)
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    run_child = Training._child
    work = Training(project, START)

    def child(self, arguments):
        self.run.folder.mkdir()
        (self.run.folder / "last.keras").write_bytes(b"half")
        threading.Timer(1.0, self.cancel).start()
        run_child(self, ["data", "synth", str(tmp_path / "out"), "--num-images", "4000"])

    monkeypatch.setattr(Training, "_child", child)
    with pytest.raises(CancelledError, match="the training was cancelled"):
        work.work()
    assert not list((project / "models").iterdir())
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


@pytest.fixture
def calls(monkeypatch):
    """The commands of a training, which are not run."""
    found = []
    monkeypatch.setattr(Training, "_child", lambda self, arguments: found.append(arguments))
    monkeypatch.setattr(training, "save_threshold", lambda folder, kept: found.append(kept))
    monkeypatch.setattr(Training, "_compare", _enough)
    return found


class EnoughError(Exception):
    pass


def _enough(*_):
    raise EnoughError


def settings_of(folder, calls, recipe=Recipe()):  # noqa: B008 (frozen)
    with pytest.raises(EnoughError):
        Training(folder, START, recipe).work()
    train, kept, export = calls
    assert train[0] == "train"
    assert export[:2] == ["export", str(folder / "models" / "1")]
    assert (kept.threshold, kept.peak_threshold) == (0.4, 0.9)
    return tomllib.loads(Path(train[train.index("--config") + 1]).read_text())


def test_settings_without_a_reference_set(project, calls):
    label(project, 12)
    found = settings_of(project, calls)
    # 12 in the order of their names: s001 and one of s005 to s009, and perhaps one of the last two, are held out
    num_train = 12 - len(held_out_of(project))
    weight = min(4.0, 64 / num_train)
    assert found["sources"]["project"]["weight"] == weight
    assert list(found["sources"]) == ["project"]
    assert found["train"]["epochs"] == min(20, round(1300 / (weight * num_train)))
    assert found["train"]["start_from"] == "polyp-lite"


def test_recipe_acts(project, calls):
    label(project, 12)
    num_train = 12 - len(held_out_of(project))
    recipe = Recipe(num_shown=80, learning_rate=1e-4, freezes_normalisation=True)
    found = settings_of(project, calls, recipe)
    assert (found["train"]["learning_rate"], found["train"]["freeze_normalisation"]) == (1e-4, True)
    # At least 4 epochs: in each 20 of the 80 images, half of them known ones where there are any.
    assert found["sources"]["project"]["weight"] == pytest.approx(max(1, 10 / num_train))
    assert found["train"]["epochs"] == max(4, min(20, round(80 / max(10, num_train))))


@pytest.mark.slow
def test_known_images_are_shown_as_often_as_the_recipe_says(project, tmp_path, calls, monkeypatch):
    monkeypatch.setattr("polypseg.annotate.reference.FEWEST", 4)
    stored = store_reference(project, data_set(tmp_path / "known", 160))
    label(project, 12)
    num_train = 12 - len(held_out_of(project))
    assert stored.train >= 8 * num_train  # so that the corrections are repeated 4 times, and nothing is cut off
    found = settings_of(project, calls, Recipe(known_share=2.0))["sources"]
    assert found["project"]["weight"] == 4.0
    assert found["reference"]["weight"] == pytest.approx(2 * 4 * num_train / stored.train)


def held_out_of(folder):
    with opened_project(folder) as project:
        return project.held_out()


def test_reference_set_is_drawn_once_and_mixed_in(project, tmp_path, calls, monkeypatch):
    monkeypatch.setattr("polypseg.annotate.reference.FEWEST", 4)
    source = data_set(tmp_path / "known", 40, groups=True)
    stored = store_reference(project, source)
    assert stored.train + stored.test == 40
    assert min(stored.train, stored.test) >= 16  # whole groups of 4, about half each
    sides = {
        side: {path.stem for path in (project / "reference" / side / "images").iterdir()} for side in ("train", "test")
    }
    groups = {side: {f"g{int(name[1:]) // 4}" for name in names} for side, names in sides.items()}
    assert not groups["train"] & groups["test"]
    assert json.loads((project / "reference" / "reference.json").read_text())["groups"].keys() == sides["test"]
    label(project, 12)
    found = settings_of(project, calls)
    num_train = 12 - len(held_out_of(project))
    assert found["sources"]["reference"]["path"] == str(project / "reference" / "train")
    weight = max(1.0, min(4.0, stored.train / num_train))
    assert found["sources"]["project"]["weight"] == weight
    assert found["sources"]["reference"]["weight"] == min(1.0, weight * num_train / stored.train)
    assert store_reference(project, source) == stored
    with pytest.raises(ProjectError, match=r"has a reference set already, of .*known"):
        store_reference(project, data_set(tmp_path / "other", 8))


def test_small_reference_set_is_refused(project, tmp_path):
    with pytest.raises(ProjectError, match="gives 3 frames to train with and 3 to compare on; at least 10"):
        store_reference(project, data_set(tmp_path / "small", 6))
    assert not (project / "reference").exists()


def test_child_runs_a_command():
    process = subprocess.Popen([sys.executable, str(CHILD), "--version"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.read().startswith(b"polypseg ")
    assert process.wait(60) == 0
    process.stdin.close()
    process.stdout.close()


PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, sys.argv[1], "data", "synth", sys.argv[2], "--num-images", "4000"],
                         stdin=subprocess.PIPE)
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX alone")
def test_child_ends_with_a_killed_parent(tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(CHILD), str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(600):
        if not _lives(pid):
            return
        time.sleep(0.1)
    raise AssertionError("the child lives on")


def _lives(pid):
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_failed_command_is_told_in_one_line(project, tmp_path):
    label(project, 12)
    work = Training(project, START)
    work.run.folder.parent.mkdir()
    with pytest.raises(ProjectError, match=r"polypseg data failed: .*none: no such folder.* \(all of it: .*1\.log\)"):
        work._child(["data", "check", str(tmp_path / "none")])
    work.cancel()
    with pytest.raises(ProjectError, match="the training was cancelled"):
        work._child(["data", "check", str(tmp_path)])
