"""The commands train, show and summary, as a user calls them."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from polypseg.cli import app
from polypseg.data.synthetic import make_synthetic
from polypseg.predict.engines.packaged import resolve
from polypseg.records.gates import load_gates, save_gates
from polypseg.records.training_state import load_state
from train.eager import eagerly

SMALL = [
    *("--set", "data.size=32", "--set", "data.batch_size=4", "--set", "data.augment=flip"),
    *("--set", "model.filters=2", "--set", "model.depth=2", "--set", "train.tensorboard=false"),
    *("--set", "split.validation=0.25", "--set", "split.test=0.25", "--set", "split.near_duplicate_bits=-1"),
]

SMALLER = [*SMALL, "--set", "model.depth=1"]


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def _eager(trained):
    """After the first training, which goes as users' do, those of single tests run eagerly."""
    with eagerly():
        yield


@pytest.fixture(scope="module")
def trained(sample_folder, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    done = call("train", "--data", sample_folder, "--runs", runs, "--name", "small", "--epochs", 1, *SMALL)
    assert done.exit_code == 0, done.output
    return runs / "small", done.output


def test_train_scores_and_draws(trained):
    run, output = trained
    assert "epoch   1  loss" in output
    assert "Dice" in output
    figures = {path.name for path in (run / "figures").iterdir()}
    assert {"training_curves.png", "validation_samples.png", "model.png", "model.svg"} <= figures
    assert sum(name.startswith("attention_") for name in figures) == 4  # all the validation samples that there are
    assert (run / "evaluation" / "test" / "scores.csv").read_text().count("\n") == 1 + 4
    assert (run / "evaluation" / "test" / "summary.json").is_file()


def test_train_ends_with_a_table_of_its_gates(trained):
    run, output = trained
    record = load_gates(run)
    assert [gate.level for gate in record.gates] == [1, 2]
    assert (record.num_frames, record.measured_on) == (4, "validation")
    told = output[output.index("Attention gates, over 4 validation frames") :]
    for gate in record.gates:
        assert re.search(rf"gate {gate.level} +{gate.mean:.3f} +{gate.spread:.3f} +-?0\.\d{{4}}", told)
    assert [line.removeprefix("note: ") for line in told.splitlines() if "does not work" in line] == record.warnings()


def test_gates_are_measured_again_where_the_model_is_another(trained, monkeypatch):
    from polypseg.cli.train import _measure_gates
    from polypseg.explain import gates
    from polypseg.records.run import Run

    run, _ = trained
    known = load_gates(run)
    monkeypatch.setattr(gates, "measure_gates", lambda *arguments: known.model_copy(update={"num_frames": 99}))
    _measure_gates(Run(run))
    assert load_gates(run) == known  # of the same model
    save_gates(run, known.model_copy(update={"model_digest": "0" * 64}))
    _measure_gates(Run(run))
    assert load_gates(run) == known.model_copy(update={"num_frames": 99})
    save_gates(run, known)


def test_train_never_overwrites_a_run(trained, sample_folder):
    run, _ = trained
    again = call("train", "--data", sample_folder, "--runs", run.parent, "--name", run.name, *SMALL)
    assert again.exit_code == 1
    assert "already holds a run; go on with it (--resume)" in again.output


def test_resume_goes_on(trained):
    run, _ = trained
    done = call("train", "--runs", run.parent, "--name", run.name, "--resume", "--epochs", 2, "--no-evaluate")
    assert done.exit_code == 0, done.output
    assert "epoch   2  loss" in done.output
    assert "epoch   1  loss" not in done.output


def test_show_draws_as_many_samples_as_asked(trained):
    run, _ = trained
    for path in (run / "figures").glob("attention_*"):
        path.unlink()
    done = call("show", run, "--samples", 2, "--seed", 1)
    assert done.exit_code == 0, done.output
    assert len(list((run / "figures").glob("attention_*"))) == 2


@pytest.mark.slow
def test_folds_are_one_model_for_evaluate_and_show(sample_folder, tmp_path):
    from polypseg.predict.predictor import load

    done = call(
        "train", "--data", sample_folder, "--runs", tmp_path, "--name", "two", "--folds", 2, "--epochs", 1, *SMALLER
    )
    assert done.exit_code == 0, done.output
    run = tmp_path / "two"
    assert (run / "evaluation" / "out-of-fold" / "scores.csv").read_text().count("\n") == 1 + 12
    assert (run / "evaluation" / "test" / "scores.csv").read_text().count("\n") == 1 + 4
    assert not (run / "fold-1" / "evaluation" / "test").exists()  # the ensemble alone sees the test split, once
    assert (run / "fold-2" / "figures" / "training_curves.png").is_file()
    assert (run / "figures" / "test_scores.png").is_file()
    assert load(run).engine.name == "ensemble"
    tuned = call("evaluate", run, "--tune-threshold", "--no-leaks")
    assert tuned.exit_code == 0, tuned.output
    assert "over 96 frames (validation images in 8 perturbations" in " ".join(tuned.output.split())  # 12 x 8
    flipped = call("evaluate", run, "--tta", "flips", "--no-leaks")
    assert flipped.exit_code == 0, flipped.output
    assert (run / "evaluation" / "test-flips" / "summary.json").is_file()
    again = call("train", "--runs", tmp_path, "--name", "two", "--resume", "--epochs", 3)
    assert (again.exit_code, "remove --epochs" in again.output) == (2, True)
    refused = call("evaluate", run, "--split", "validation", "--threshold", 0.3)
    assert (refused.exit_code, "--threshold: the validation of a cross-validation" in refused.output) == (2, True)


@pytest.mark.slow
def test_seeds_tell_their_mean(sample_folder, tmp_path):
    done = call(
        *(
            "train",
            "--data",
            sample_folder,
            "--runs",
            tmp_path,
            "--name",
            "s",
            "--seeds",
            "3,4",
            "--epochs",
            1,
            *SMALLER,
        )
    )
    assert done.exit_code == 0, done.output
    assert re.search(r"dice over 2 seeds: 0\.\d{4} \(95 % -?\d", done.output)
    assert (tmp_path / "s" / "seeds.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train"], 2, "--data is missing"),
        (["train", "--data", "nowhere"], 1, "nowhere"),
        (["train", "--data", "nowhere", "--set", "model.filter=1"], 2, "did you mean 'filters'"),
        (["train", "--resume", "--runs", "nowhere"], 1, "no such run folder"),
        (["train", "--resume", "--set", "model.filters=1"], 2, "only --epochs and --devices can change"),
        (["train", "--data", "nowhere", "--seeds", "1,x"], 2, "expected whole numbers with commas"),
        (["train", "--data", "nowhere", "--seeds", "1", "--folds", "2"], 2, "one of the two"),
        (["train", "--resume", "--folds", "2"], 2, "only --epochs and --devices can change"),
        (["show", "nowhere"], 1, "no such run folder"),
        (["summary", "attention-unet-61"], 1, "did you mean 'attention-unet-16'"),
        (["summary", "nothing.keras"], 1, "no such model file"),
        (["trian"], 2, "No such command"),
    ],
)
def test_errors_are_one_line_with_their_exit_code(arguments, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.exit_code == code
    assert message in done.output
    assert "Traceback" not in done.output
    if "error:" in done.output:
        assert done.output.strip().count("\n") == 0


def test_debug_shows_the_traceback(monkeypatch):
    from polypseg.cli import console
    from polypseg.errors import RunError

    done = call("--debug", "show", "nowhere")
    monkeypatch.setattr(console, "is_debugging", False)
    assert isinstance(done.exception, RunError)


def test_summary_prints_and_draws(tmp_path):
    done = call("summary", "unet-16", "--size", 32, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "Total params" in done.output
    assert re.search(r"0\.05 billion multiply-adds an image of 32x32 px", done.output)  # 3.0 at 256 px, over 64
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".svg"}


@pytest.mark.parametrize("command", ["train", "summary", "evaluate", "compare", "report", "show", "data"])
def test_every_help_shows_an_example(command):
    done = call(command, "--help")
    assert done.exit_code == 0
    assert command == "data" or f"polypseg {command}" in done.output


def test_full_disk_is_one_line_and_the_last_state_stays_whole(trained, monkeypatch):
    import keras

    from polypseg.records.training_state import load_state

    run, _ = trained
    before = load_state(run / "checkpoints" / "last").epoch

    def full(self, path, **_):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(keras.Model, "save", full)
    done = call("train", "--runs", run.parent, "--name", run.name, "--resume", "--epochs", before + 1)
    assert done.exit_code == 1
    assert "No space left on device" in done.output
    state = load_state(run / "checkpoints" / "last")
    assert state.epoch == before
    assert state.model_path.is_file()


@pytest.mark.parametrize("what", ["--version", "--help"])
def test_module_is_the_command(what):
    done = subprocess.run([sys.executable, "-m", "polypseg", what], capture_output=True, text=True, check=True)
    assert "polypseg" in done.stdout


HEARS_CTRL_C = """
import signal
from polypseg.__main__ import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background inherits that it is ignored
main()
"""


@pytest.mark.slow
def test_interrupted_training_says_how_to_go_on(tmp_path):
    make_synthetic(tmp_path / "data", 12, seed=3, side_range=(32, 40))
    settings = ["data.size=32", "model.filters=2", "model.depth=2", "train.early_stopping_patience=500"]
    command = [sys.executable, "-c", HEARS_CTRL_C, "train", "--data", "data", "--name", "cut", "--epochs", "500"]
    command += [part for setting in settings for part in ("--set", setting)]
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        try:
            deadline = time.monotonic() + 240
            while not (tmp_path / "runs/cut/checkpoints/last/state.json").exists() and time.monotonic() < deadline:
                time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=240)
        finally:
            process.kill()
    assert process.returncode == 130
    told = re.search(r"stopped; (\d+) epochs are saved; continue with: (.*)$", said.strip().splitlines()[-1])
    assert int(told[1]) == load_state(tmp_path / "runs/cut/checkpoints/last").epoch >= 1
    assert told[2] == "polypseg train --name cut --resume"


@pytest.mark.slow
def test_start_from_a_packaged_model_by_its_name(sample_folder, tmp_path):
    settings = [
        *("--set", "data.size=32", "--set", "data.batch_size=4", "--set", "train.tensorboard=false"),
        *("--set", "split.validation=0.25", "--set", "split.test=0.25", "--set", "split.near_duplicate_bits=-1"),
        *("--set", "train.learning_rate=1e-12", "--set", "train.start_from=attention-unet-16", "--no-evaluate"),
    ]
    command = ["train", "--data", sample_folder, "--runs", tmp_path, "--epochs", 1, *settings]
    done = call(*command, "--name", "mine")  # the file tells its network
    assert done.exit_code == 0, done.output
    config = (tmp_path / "mine" / "config.toml").read_text()
    assert str(resolve("attention-unet-16")) in config  # its file, which a resume finds from anywhere
    assert "filters = 16" in config
    assert 'gates = "normalised"' in config
    other = call(*command, "--name", "other", "--set", "model.filters=8")
    assert other.exit_code == 1
    assert "name the preset, filters and encoder that it was trained with" in " ".join(other.output.split())


@pytest.fixture
def labelled(sample_folder, tmp_path):
    """The data set with masks of 0, 1 and 2: the upper half of each polyp is 1, the lower 2."""
    import numpy as np
    from PIL import Image

    folder = tmp_path / "labelled"
    shutil.copytree(sample_folder, folder)
    for path in (folder / "masks").iterdir():
        with Image.open(path) as opened:
            mask = np.asarray(opened.convert("L")) > 127
        rows = np.flatnonzero(mask.any(axis=1))
        middle = int(rows.mean()) if rows.size else 0
        labels = mask * np.where(np.arange(len(mask))[:, None] < middle, 1, 2)
        Image.fromarray(labels.astype(np.uint8)).save(path)
    return folder


@pytest.mark.slow
def test_what_means_polyp_is_recorded_with_the_run(labelled, tmp_path):
    words = ("train", "--data", labelled, "--runs", tmp_path, "--epochs", 1, *SMALLER)
    refused = call(*words, "--name", "a")
    assert refused.exit_code == 1
    assert "holds 3 values" in refused.output
    assert "--polyp-values" in refused.output
    done = call(*words, "--name", "b", "--polyp-values", "1,2")
    assert done.exit_code == 0, done.output
    assert "polyp_values = [\n    1,\n    2,\n]" in (tmp_path / "b" / "config.toml").read_text()
    again = call("train", "--runs", tmp_path, "--name", "b", "--resume", "--epochs", 2)
    assert again.exit_code == 0, again.output  # resumed and evaluated without saying it once more
    record = json.loads((tmp_path / "b" / "evaluation" / "test" / "evaluation.json").read_text())
    assert {sample["mask_rule"] for sample in record["samples"] if "reference" in sample} == {"values=1,2"}
    wrong = call("train", "--runs", tmp_path, "--name", "b", "--resume", "--polyp-values", "1")
    assert wrong.exit_code == 2
    assert "--resume uses the settings of the run" in wrong.output


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (lambda values: values * 0, "none of the 16 masks holds a polyp"),
        (lambda values: 255 - values, "masks look inverted or white"),
    ],
)
def test_sets_that_are_no_references_stop_a_training(sample_folder, tmp_path, how, message):
    import numpy as np
    from PIL import Image

    folder = tmp_path / "data"
    shutil.copytree(sample_folder, folder)
    for path in (folder / "masks").iterdir():
        with Image.open(path) as opened:
            values = np.asarray(opened.convert("L"))
        Image.fromarray(how(values).astype(np.uint8)).save(path)
    words = ("train", "--data", folder, "--runs", tmp_path, "--epochs", 1, "--no-evaluate", *SMALLER)
    done = call(*words)
    assert done.exit_code == 1
    assert message in done.output
    meant = ("--empty-masks",) if "none" in message else ("--polyp-values", "0")
    assert call(*words, "--name", "meant", *meant).exit_code == 0
