"""Two processes in one place, every pair of commands: the first works, the second says why it does not.

The second command runs at the moment in which the first one has taken its place and has written nothing yet. A lock is
of an open file, not of a process, so one process can play both.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from polypseg.data.synthetic import make_synthetic
from polypseg.records import lock
from predict.tiny_model import write_tiny_model
from predict.video_making import moving_scene, write_video
from reliability.odd_inputs import typed

OLD_RUN = Path(__file__).parents[1] / "data_files" / "old_run"
ONNX = ("--engine", "onnxruntime")
SMALL = [
    *("--set", "data.size=32", "--set", "data.batch_size=4", "--set", "data.augment=none", "--set", "model.filters=4"),
    *("--set", "model.depth=1", "--set", "train.tensorboard=false", "--set", "split.near_duplicate_bits=-1"),
    *("--set", "split.kind=ratio", "--set", "split.validation=0.25", "--set", "split.test=0.25", "--epochs", "1"),
]

IN_A_FOLDER = {
    "predict": ("predict", "tiny.onnx", "data/images", "-o", "place", *ONNX),
    "evaluate": ("evaluate", "tiny.onnx", "--data", "data", "-o", "place", "--no-leaks"),
    "synth": ("data", "synth", "place", "--num-images", 4, "--smallest", 40, "--largest", 48),
    "compare": ("compare", "run/evaluation/test", "other/evaluation/test", "-o", "place", "--resamples", 100),
    "train": ("train", "--data", "data", "--runs", ".", "--name", "place", "--no-evaluate", *SMALL),
}
"""Commands that write into one folder, called place."""

TO_A_FILE = {
    "predict to a mask": ("predict", "tiny.onnx", "data/images/synthetic_00001.jpg", "-o", "place.png", *ONNX),
    "predict a video": ("predict", "tiny.onnx", "film.mp4", "-o", "place.mp4", *ONNX),
    "report": ("report", "run", "-o", "place.html", "--no-images"),
    "export": ("export", "run", "-o", "place.onnx", "--data", "data"),
    "show": ("show", "run", "--data", "data", "--samples", 1),
    "choose a threshold": ("evaluate", "run", "--data", "data", "--tune-threshold", "--unperturbed"),
}
"""Commands that write one file (or the pictures, the threshold of one run)."""

NEEDS_KERAS = ("train", "export", "show", "choose a threshold")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    write_tiny_model(Path("tiny.onnx"))
    shutil.copytree(OLD_RUN / "data", "data")
    shutil.copytree(OLD_RUN / "run", "run")
    shutil.copytree(OLD_RUN / "run", "other")
    return tmp_path


def beside(first: tuple, seconds: dict[str, tuple], place: str) -> tuple[tuple[int, str], dict[str, tuple[int, str]]]:
    """What came of a command, and of others that were typed when it had taken its place."""
    real: Callable[..., int] = lock._taken
    found: dict[str, tuple[int, str]] = {}

    def take(path: Path, taken: Path) -> int:
        descriptor = real(path, taken)
        if not found and taken.name == place:
            found.update(dict.fromkeys(seconds, (0, "")))  # they take locks themselves
            before = sorted(Path(place).rglob("*"))
            found.update({name: typed(*words) for name, words in seconds.items()})
            assert sorted(Path(place).rglob("*")) == before  # nothing was written
        return descriptor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lock, "_taken", take)
        return typed(*first), found


def check(first: tuple[int, str], seconds: dict[str, tuple[int, str]], names: set[str]) -> None:
    assert first[0] == 0, first[1]
    assert set(seconds) == names
    for name, (code, output) in seconds.items():
        assert code == 1, (name, output)
        assert "is at work here; wait for it, or name another place" in output, (name, output)
        assert output.count("error:") == 1, (name, output)
    assert not list(Path().rglob("*.lock"))


@pytest.mark.parametrize("name", [name for name in IN_A_FOLDER if name not in NEEDS_KERAS])
def test_in_a_folder(here, name):
    others = {key: words for key, words in IN_A_FOLDER.items() if key not in NEEDS_KERAS}
    check(*beside(IN_A_FOLDER[name], others, "place"), set(others))


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_in_a_folder_with_a_training(here):
    check(*beside(IN_A_FOLDER["train"], IN_A_FOLDER, "place"), set(IN_A_FOLDER))
    shutil.rmtree("place")
    check(*beside(IN_A_FOLDER["predict"], {"train": IN_A_FOLDER["train"]}, "place"), {"train"})


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("predict to a mask", "place.png"),
        ("predict a video", "place.mp4"),
        ("report", "place.html"),
        *(
            pytest.param(name, place, marks=[pytest.mark.keras, pytest.mark.slow])
            for name, place in (
                ("export", "place.onnx"),
                ("show", "figures"),
                ("choose a threshold", "threshold.json"),
            )
        ),
    ],
)
def test_to_a_file(here, name, place):
    if name == "predict a video":
        pytest.importorskip("av", reason='pip install "polypseg[video]"')
        write_video(Path("film.mp4"), moving_scene(4))
    check(*beside(TO_A_FILE[name], {name: TO_A_FILE[name]}, place), {name})


def test_two_evaluations_of_one_run_are_both_written_down(here):
    from polypseg.records.evaluations import CountedEvaluation, add_evaluation, read_evaluations
    from polypseg.records.run import Run

    run = Run(Path("run"))
    count = len(read_evaluations(run))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("polypseg.records.evaluations.PATIENCE_SECONDS", 0.0)
        from polypseg.errors import BusyError

        with lock.alone_at(Path("run/evaluations.json")), pytest.raises(BusyError):
            add_evaluation(run, CountedEvaluation(id="a"))
    add_evaluation(run, CountedEvaluation(id="a"))
    assert len(read_evaluations(run)) == count + 1


def test_a_synthetic_set_is_made_once(here):
    make_synthetic("place", 2, side_range=(40, 48))
    code, output = typed(*IN_A_FOLDER["synth"])
    assert code == 1
    assert "already holds files" in output
