"""`polypseg annotate` from the command line: what is begun, what is opened again, and what is refused in one line.

The server itself is a stand-in that takes the settings; tests/serve has it whole.
"""

import csv

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from annotate.frames import picture, write
from polypseg.cli import app, serving
from polypseg.errors import UsageError
from polypseg.records.lock import alone_in

CORNER = slice(4, 30), slice(10, 120)
"""Where `write(frame, "DOE JANE", (14, 24))` puts its text."""


@pytest.fixture
def served(monkeypatch):
    """The settings that servers were started with."""
    found = []
    monkeypatch.setattr(serving, "run_server", lambda settings, *address: found.append((settings, *address)))
    return found


@pytest.fixture
def frames(tmp_path):
    """Two frames with a name burnt into the surround, in a folder `frames`."""
    for seed in (0, 1):
        named = write(picture(seed)[0], "DOE JANE", (14, 24))
        (tmp_path / "frames").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "frames" / f"DoeJane-{seed}.png"), named[..., ::-1])
    return tmp_path / "frames"


def typed(*words, code=0):
    result = CliRunner().invoke(app, ["annotate", *map(str, words)])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def known(folder, count):
    """A data set of frames that do not look alike."""
    for number in range(count):
        pixels = np.random.default_rng(number).integers(60, 200, (8, 8, 3), np.uint8)
        image = cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_CUBIC)
        mask = np.zeros((64, 64), np.uint8)
        mask[10:30, 10:30] = 255
        for kind, content in (("images", image), ("masks", mask)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / kind / f"k{number:02d}.png"), content)
    return folder


def test_project_is_begun_then_opened_again(frames, served):
    before = {path.name: path.read_bytes() for path in frames.iterdir()}
    assert f"began the project {frames / 'project'}" in typed(frames, "--port", "0", "--quiet", "--threads", "1")
    [(settings, host, port, quiet)] = served
    assert (settings.project, settings.model, settings.anonymise) == (frames / "project", None, False)
    assert (settings.threads, host, port, quiet) == (1, "127.0.0.1", 0, True)
    assert {path.name: path.read_bytes() for path in frames.iterdir() if path.is_file()} == before
    for place in (frames, frames / "project"):
        assert "began" not in typed(place)
        assert served[-1][0].project == frames / "project"


def test_projects_by_name_and_by_path(frames, served, tmp_path):
    typed(frames, "--project", "second", "--model", "polyp-lite", "--token", "sesame")
    assert (frames / "second" / "project.json").is_file()
    assert (served[-1][0].model, served[-1][0].token) == ("polyp-lite", "sesame")
    typed(frames, "--project", tmp_path / "elsewhere" / "third")
    assert (tmp_path / "elsewhere" / "third" / "project.json").is_file()
    assert not (frames / "project").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nothing",), 1, "nothing: "),
        (("frames", "--project", "taken"), 1, "is there already and is no project; name another one (--project NAME)"),
        (("empty",), 1, "no image in this folder; expected frames"),
        (("frames", "--reference", "nothing"), 1, "nothing: "),
        (("frames", "--port", "99999"), 2, "--port"),
    ],
)
def test_wrong_inputs_are_one_line(frames, served, tmp_path, monkeypatch, words, code, said):
    (frames / "taken").mkdir()
    (frames / "taken" / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    output = typed(*words, code=code)
    assert said in output
    assert "Traceback" not in output
    assert served == []


def test_anonymous_copies_are_what_is_served(frames, served):
    output = typed(frames, "--anonymise")
    project = frames / "project"
    assert "do not pass it on" in output
    assert served[-1][0].anonymise
    copies = sorted((project / "frames" / "images").iterdir())
    assert [path.name for path in copies] == ["000001.png", "000002.png"]
    for path in copies:
        shown = cv2.imread(str(path))
        assert shown[CORNER].max() == 0  # the name
        assert shown[240, 320].max() > 30  # the picture
    assert b"DoeJane" not in b"".join(path.read_bytes() for path in project.rglob("*") if path.is_file())
    with (frames / "project.key.csv").open(newline="") as opened:
        originals = {row["file"] for row in csv.DictReader(opened)}
    assert originals == {str(path) for path in frames.glob("*.png")}
    assert "began" not in typed(frames, "--anonymise")  # opened again


def test_anonymous_copies_of_what_was_begun_as_it_is_are_refused(frames, served):
    typed(frames)
    assert "was begun with the images as they are; begin another one" in typed(frames, "--anonymise", code=2)
    output = typed(frames, "--anonymise", "--project", "again")
    assert f"{frames / 'project'}: a project of corrections: its masks are not taken" in output
    assert len(list((frames / "again" / "frames" / "images").iterdir())) == 2  # none of the first project's files


def test_anonymous_project_of_videos_alone_is_refused_before_anything_is_written(tmp_path, served):
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "a.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(99))
    assert "no image in this folder" in typed(tmp_path / "films", "--anonymise", code=1)
    assert [path.name for path in tmp_path.rglob("*")] == ["films", "a.mp4"]
    assert served == []


def test_reference_set_is_stored_once(frames, served, tmp_path):
    output = typed(frames, "--reference", known(tmp_path / "known", 30))
    # 30 frames that belong to no group are dealt out in turn, to train with and to compare on
    assert "reference set: 15 frames are trained with, 15 to compare models" in output
    stored = frames / "project" / "reference"
    assert len(list((stored / "test" / "images").iterdir())) == 15
    assert "reference set: 15" in typed(frames, "--reference", tmp_path / "known")
    refused = typed(frames, "--reference", known(tmp_path / "other", 30), code=1)
    assert "has a reference set already, of " in refused
    assert len(served) == 2


def test_reference_set_that_is_too_small(frames, served, tmp_path):
    assert "at least 10 of each are needed" in typed(frames, "--reference", known(tmp_path / "known", 12), code=1)
    assert not (frames / "project" / "reference").exists()
    assert served == []


def test_reference_set_belongs_to_a_project_that_nobody_works_in(frames, tmp_path, served):
    with pytest.raises(UsageError, match="--reference belongs to a project; name one"):
        serving.keep_reference(None, tmp_path)
    typed(frames)
    with alone_in(frames / "project"):
        refused = typed(frames, "--reference", known(tmp_path / "known", 30), code=1)
    assert "at work here" in refused
    assert not (frames / "project" / "reference").exists()
