"""Whole trainings, small ones: from a folder to a run, and on again after a kill."""

import itertools
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from polypseg.config import SourceConfig, config_from, load_config
from polypseg.data.named_splits import SplitFiles
from polypseg.data.sources import with_folders
from polypseg.data.splits import make_split
from polypseg.data.synthetic import make_synthetic
from polypseg.errors import DataError, ModelError, PairingError, RunError, SplitError, UsageError
from polypseg.export.onnx import export_model
from polypseg.models.blocks import gates_of
from polypseg.models.checkpoint import load_model
from polypseg.predict.engines.packaged import resolve
from polypseg.records.run import Run, open_run, write_members
from polypseg.records.split import SplitName
from polypseg.records.training_state import HISTORY_COLUMNS, load_state
from polypseg.train.fit import resume, train
from polypseg.train.named_models import files_digest, with_network_of_start
from polypseg.train.samples import usable_samples
from train.eager import eagerly
from train.killing import train_and_kill

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))

SMALL = {
    "split": {"kind": "ratio", "validation": 0.25, "test": 0.25, "near_duplicate_bits": -1},
    "data": {"size": 32, "batch_size": 4, "augment": "standard"},
    "model": {"filters": 2, "depth": 1, "dropout": 0.2},
    "train": {"epochs": 5, "plateau_patience": 1, "learning_rate": 0.02, "deterministic": True, "tensorboard": False},
}


def small(**train_settings):
    return config_from({**SMALL, "train": {**SMALL["train"], **train_settings}})


@pytest.fixture(scope="module")
def run(sample_folder, tmp_path_factory):
    return train(sample_folder, tmp_path_factory.mktemp("runs") / "first", small())


@pytest.fixture(scope="module")
def eager_run(sample_folder, tmp_path_factory):
    """The same without TensorFlow's graph, for tests that compare whole trainings with it."""
    with eagerly():
        return train(sample_folder, tmp_path_factory.mktemp("runs") / "eager", small())


@pytest.fixture(scope="module")
def begun(sample_folder, tmp_path_factory):
    """A run of one epoch; tests take a copy of it."""
    with eagerly():
        return train(sample_folder, tmp_path_factory.mktemp("runs") / "begun", small(epochs=1))


def copy_of(run, folder):
    return open_run(shutil.copytree(run.folder, folder))


def figures(run):
    """The history without its wall times."""
    return [[value for key, value in row.items() if key != "seconds"] for row in run.history()]


def test_run_folder_holds_what_is_promised(run):
    present = {str(path.relative_to(run.folder)) for path in run.folder.rglob("*") if path.is_file()}
    assert present == {
        "config.toml",
        "splits.json",
        "environment.json",
        "history.csv",
        "checkpoints/best.keras",
        "checkpoints/last/epoch-0005.keras",
        "checkpoints/last/state.json",
    }
    assert run.config() == small()
    assert tuple(run.history()[0]) == HISTORY_COLUMNS
    assert [row["epoch"] for row in run.history()] == [1, 2, 3, 4, 5]
    assert run.environment().checkpoint_chosen_by == "lowest val_loss on the validation split"
    assert run.environment().split_digest == run.split().digest()


@pytest.mark.graph
def test_best_checkpoint_is_the_one_of_the_lowest_validation_loss(run, sample_folder):
    import keras

    from polypseg.data.batches import get_tf_dataset
    from polypseg.data.catalogue import find_samples

    samples, _ = find_samples(sample_folder)
    validation = get_tf_dataset(samples, run.split(), run.config().data).validation
    found = load_model(run.best_path, compiled=True).evaluate(validation, verbose=0, return_dict=True)
    lowest = min(run.history(), key=lambda row: row["val_loss"])
    assert found["loss"] == pytest.approx(lowest["val_loss"], rel=1e-5)
    assert found["dice"] == pytest.approx(lowest["val_dice"], rel=1e-5)
    keras.backend.clear_session()


def test_rate_falls_on_the_plateau_of_the_history(run):
    rates = [row["learning_rate"] for row in run.history()]
    best = np.inf
    expected = np.float32(0.02)
    for row, rate in zip(run.history(), rates, strict=True):  # patience 1: halved after each epoch without a new best
        assert rate == pytest.approx(expected, rel=1e-6)
        expected = expected if row["val_loss"] < best else expected / 2
        best = min(best, row["val_loss"])


def test_two_runs_of_one_seed_are_equal_and_of_another_are_not(eager_run, sample_folder, tmp_path):
    assert figures(train(sample_folder, tmp_path / "again", small(epochs=3))) == figures(eager_run)[:3]
    assert figures(train(sample_folder, tmp_path / "other", small(epochs=1, seed=1))) != figures(eager_run)[:1]


@pytest.mark.graph
def test_killed_training_goes_on_as_if_nothing_had_happened(run, sample_folder, tmp_path):
    killed = tmp_path / "killed"
    done = train_and_kill(sample_folder, killed, run.config_path)
    assert 1 <= done < 5
    (killed / "checkpoints" / ".best.part.keras").write_bytes(b"half written")
    again = resume(killed)
    assert figures(again) == figures(run)
    assert [start.first_epoch for start in again.environment().starts] == [1, done + 1]
    best, other = (load_model(r.best_path).get_weights() for r in (again, run))
    assert all(np.array_equal(a, b) for a, b in zip(best, other, strict=True))
    assert not list(again.folder.rglob("*.part*"))


def test_resume_before_the_first_epoch_starts_from_the_beginning(eager_run, begun, tmp_path):
    started = copy_of(begun, tmp_path / "short").folder
    for path in sorted((started / "checkpoints").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (started / "history.csv").unlink()
    assert figures(resume(started, epochs=3)) == figures(eager_run)[:3]


def test_finished_run_resumes_to_itself_and_longer_on_request(eager_run, begun, tmp_path):
    short = copy_of(begun, tmp_path / "short")
    before = short.best_path.read_bytes()
    assert figures(resume(short.folder)) == figures(eager_run)[:1]
    assert short.best_path.read_bytes() == before
    assert figures(resume(short.folder, epochs=4)) == figures(eager_run)[:4]
    assert open_run(short.folder).config().train.epochs == 4


def test_fewer_epochs_than_are_done_are_refused(run):
    before = run.config_path.read_bytes()
    with pytest.raises(UsageError, match=r"5 epochs of .* are done; expected at least as many, found 2"):
        resume(run.folder, epochs=2)
    assert run.config_path.read_bytes() == before


def test_early_stopping_ends_the_run(sample_folder, tmp_path):
    # A rate of 1e-9 never lowers the loss by much; with patience 1 the first epoch that is no better is the last.
    stopped = train(sample_folder, tmp_path / "stopped", small(early_stopping_patience=1, epochs=40, learning_rate=0.5))
    losses = [row["val_loss"] for row in stopped.history()]
    assert len(losses) < 40
    assert losses[-1] >= min(losses[:-1])
    assert all(later < earlier for earlier, later in itertools.pairwise(losses[:-1]))
    assert load_state(stopped.last_folder).finished


def test_manifest_is_followed(run, sample_folder, tmp_path):
    again = train(sample_folder, tmp_path / "same", small(epochs=1), split_files=SplitFiles(run.splits_path))
    assert again.split() == run.split()


def test_run_is_never_overwritten(run, sample_folder):
    with pytest.raises(RunError, match="already holds a run"):
        train(sample_folder, run.folder, small())


def test_resume_refuses_data_that_changed(run, sample_folder, tmp_path):
    import shutil

    moved = tmp_path / "moved"
    shutil.copytree(sample_folder, moved)
    changed = next((moved / "images").iterdir())
    changed.write_bytes(changed.read_bytes() + b"\0")
    with pytest.raises(SplitError, match=changed.name):
        resume(run.folder, data=moved, epochs=6)


def test_bad_files_stop_the_training_or_are_left_out_and_listed(sample_folder, tmp_path):
    import shutil

    from polypseg.data.samples import SkippedSamplesWarning

    damaged = tmp_path / "damaged"
    shutil.copytree(sample_folder, damaged)
    first = sorted((damaged / "images").iterdir())[0]
    first.write_bytes(first.read_bytes()[:200])
    with pytest.raises(DataError, match=f"(?s)1 of the files cannot be used.*{first.name}"):
        train(damaged, tmp_path / "run", small())
    assert not (tmp_path / "run").exists()
    with pytest.warns(SkippedSamplesWarning, match=first.name):
        usable, faults = usable_samples(damaged, load_config(overrides=["data.skip_bad=true"]))
    assert (len(usable), [fault.name for fault in faults]) == (15, [first.stem])


def test_missing_folder_and_missing_run(tmp_path):
    with pytest.raises(PairingError, match="nowhere"):
        train(tmp_path / "nowhere", tmp_path / "run", small())
    with pytest.raises(RunError, match="no such run folder"):
        resume(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="not a run folder"):
        open_run(tmp_path / "empty")


def test_mixed_precision_trains_and_leaves_the_policy_as_it_was(sample_folder, tmp_path):
    import keras

    mixed = train(sample_folder, tmp_path / "mixed", small(epochs=1, mixed_precision=True))
    assert np.isfinite(mixed.history()[0]["loss"])
    assert keras.config.dtype_policy().name == "float32"
    model = load_model(mixed.best_path)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    trained = load_model(mixed.best_path, compiled=True)
    assert trained.get_layer("encoder_1_1_convolution").compute_dtype == "bfloat16"
    assert trained.get_layer("head_probability").compute_dtype == "float32"
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), trained.get_weights(), strict=True))


def test_file_that_vanishes_in_training_is_named(sample_folder, tmp_path):
    import shutil

    moved = tmp_path / "moved"
    shutil.copytree(sample_folder, moved)
    config = config_from({**SMALL, "data": {**SMALL["data"], "cache": "none"}})
    split = make_split(usable_samples(moved, config)[0], config.split)
    name: SplitName = "train"
    victim = next(path for path in (moved / "images").iterdir() if path.stem == split.names(name)[0])

    def remove(row):
        victim.unlink(missing_ok=True)

    with pytest.raises(DataError, match=f"{victim.name}: (no such file|cannot read)"):
        train(moved, tmp_path / "run", config, on_epoch=remove)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_file_is_valid_and_opens_with_command_time_and_score(path):
    load_config(path)
    opening = "\n".join(itertools.takewhile(lambda line: line.startswith("#"), path.read_text().splitlines()))
    assert re.search(r"^#   (polypseg train .*--config configs/" + path.name + "|make demo)$", opening, re.MULTILINE)
    assert all(re.search(rf"^# {word}: ", opening, re.MULTILINE) for word in ("Time", "Score"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [path for path in CONFIGS if "polyp-strong" not in path.stem], ids=lambda path: path.stem
)
def test_config_starts_a_training(path, tmp_path):
    # One step of the network and the recipe of the file, on frames of 32 pixels in place of each of its sources.
    overrides = ["data.size=32", "data.batch_size=64", "train.epochs=1", "train.tensorboard=false", "split.kind=ratio"]
    config = load_config(path, [*overrides, "split.near_duplicate_bits=-1", "split.validation=0.25", "split.test=0.25"])
    if config.model.encoder_weights not in (None, "imagenet"):  # a file that the script beside the command makes
        config = config.model_copy(update={"model": config.model.model_copy(update={"encoder_weights": None})})
    if config.train.start_from is not None:  # an included model: the command finds its file
        start = {"start_from": str(resolve(config.train.start_from))}
        config = with_network_of_start(config.model_copy(update={"train": config.train.model_copy(update=start)}))
    folders, negatives = [], []
    for seed, (name, source) in enumerate(config.sources.items() or [("set", SourceConfig())]):
        made = [sample.mask_path for sample in make_synthetic(tmp_path / name, 16, seed=seed, side_range=(40, 48))]
        if source.negatives:
            shutil.rmtree(made[0].parent)
        (negatives if source.negatives else folders).append(tmp_path / name)
    ratio = {name: source.model_copy(update={"split": "ratio"}) for name, source in config.sources.items()}
    config = with_folders(config.model_copy(update={"sources": ratio}), folders, negatives)
    made = train(None if config.sources else folders[0], tmp_path / "run", config)
    assert len(made.history()) == 1
    assert made.best_path.is_file()


def test_loss_that_is_no_number_ends_the_training_and_leaves_what_was_saved(begun, tmp_path):
    runs = copy_of(begun, tmp_path / "nan").folder
    state = load_state(runs / "checkpoints" / "last")

    class Poison(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            weight = self.model.trainable_weights[0]
            weight.assign(np.full(weight.shape, np.nan, np.float32))

    with pytest.raises(RunError, match=r"loss became nan in epoch 2, batch 1, .* the 1 epochs before are saved"):
        resume(runs, epochs=2, callbacks=[Poison()])
    assert load_state(runs / "checkpoints" / "last").epoch == state.epoch == 1
    assert [row["epoch"] for row in resume(runs, epochs=2).history()] == [1, 2]


def test_each_start_keeps_its_own_command_and_the_record_the_first(sample_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/bin/polypseg", "train", "first"])
    run = train(sample_folder, tmp_path / "twice", small(epochs=1))
    monkeypatch.setattr("sys.argv", ["/bin/polypseg", "train", "second"])
    resume(run.folder, epochs=2)
    record = run.environment()
    assert record.command == "polypseg train first"
    assert [start.command for start in record.starts] == ["polypseg train first", "polypseg train second"]
    assert [start.first_epoch for start in record.starts] == [1, 2]
    assert all(start.packages["keras"] for start in record.starts)


def test_best_model_that_is_gone_is_missed_at_once(begun, tmp_path):
    run = copy_of(begun, tmp_path / "gone")
    run.best_path.unlink()
    with pytest.raises(RunError, match=r"best.keras is gone: .* Put it back from a copy, or start a new run"):
        resume(run.folder, epochs=2)
    assert load_state(run.last_folder).epoch == 1


def test_damaged_state_is_told_in_one_line(begun, tmp_path):
    run = copy_of(begun, tmp_path / "damaged")
    path = load_state(run.last_folder).model_path
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(RunError, match=r"epoch-0001.keras: .*The saved state of epoch 1 is damaged") as caught:
        resume(run.folder, epochs=2)
    assert "\n" not in str(caught.value)


def test_run_that_stopped_early_goes_on_with_its_whole_patience(sample_folder, tmp_path):
    # At a rate of 1e-9 the loss stands still but for rounding, so that patience 2 ends the run.
    settings = {"early_stopping_patience": 2, "learning_rate": 0.5, "plateau_patience": 9}
    run = train(sample_folder, tmp_path / "stopped", small(epochs=40, **settings))
    done = len(run.history())
    assert done < 40
    more = resume(run.folder, epochs=done + 2).history()
    assert len(more) == done + 2  # with the old counter the first epoch without progress would be the last


def test_start_killed_before_its_first_step_is_started_again(run, sample_folder, tmp_path):
    killed = tmp_path / "killed"
    killed.mkdir()
    for path in (run.splits_path, run.environment_path):
        (killed / path.name).write_bytes(path.read_bytes())
    with pytest.raises(RunError, match=r"stopped before its first step.*start it again, without --resume"):
        resume(killed)
    again = train(sample_folder, killed, small(epochs=1))
    assert len(again.environment().starts) == 1


def test_weights_that_the_last_update_ruined_are_not_saved(begun, tmp_path):
    run = copy_of(begun, tmp_path / "ruined")

    class Ruin(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:  # the last: half of 16 samples are trained on, in batches of 4; no loss is computed after it
                weight = self.model.trainable_weights[0]
                weight.assign(np.full(weight.shape, np.nan, np.float32))

    with pytest.raises(RunError, match=r"weights became NaN or infinite in epoch 2 .*the 1 epochs before are saved"):
        resume(run.folder, epochs=3, callbacks=[Ruin()])
    state = load_state(run.last_folder)
    assert state.epoch == 1
    assert all(np.isfinite(weight).all() for weight in load_model(state.model_path).get_weights())


def test_finished_run_that_is_prolonged_and_killed_at_once_still_goes_on(begun, tmp_path):
    run = copy_of(begun, tmp_path / "prolonged")

    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resume(run.folder, epochs=3, callbacks=[Interrupt()])
    assert [row["epoch"] for row in resume(run.folder).history()] == [1, 2, 3]


@pytest.mark.filterwarnings("ignore::polypseg.train.named_models.SeenImagesWarning")
def test_training_starts_from_the_weights_of_a_run_or_file_at_any_size(run, sample_folder, tmp_path):
    # A rate of 1e-12 moves no weight of a float32 by as much as its last digit.
    begun = load_model(run.best_path).trainable_variables
    for number, (start, size) in enumerate([(run.folder, 32), (run.best_path, 48)]):
        config = small(epochs=1, learning_rate=1e-12, start_from=str(start))
        config = config.model_copy(update={"data": config.data.model_copy(update={"size": size})})
        again = train(sample_folder, tmp_path / str(number), config)
        for found, expected in zip(load_model(again.best_path).trainable_variables, begun, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-7)
        assert again.environment().start_digest == files_digest([run.best_path])
        assert again.seen_before() == run.seen()


@pytest.mark.filterwarnings("ignore::polypseg.train.named_models.SeenImagesWarning")
def test_training_starts_from_an_exported_file(run, sample_folder, tmp_path):
    path = tmp_path / "small.onnx"
    export_model(run.folder, path)
    config = small(epochs=1, learning_rate=1e-12, start_from=str(path))
    again = train(sample_folder, tmp_path / "again", config)
    assert again.seen_before() == run.seen()
    ours, theirs = load_model(again.best_path), load_model(run.best_path)
    images = np.random.default_rng(0).random((4, 32, 32, 3), np.float32)
    # Its averages of batch normalisation are of other batches: near, not equal; a new network's are nowhere near.
    plain = np.abs(np.asarray(ours(images)) - np.asarray(theirs(images))).mean()
    new = train(sample_folder, tmp_path / "new", small(epochs=1, learning_rate=1e-12))
    assert not new.seen_before_path.exists()
    far = np.abs(np.asarray(load_model(new.best_path)(images)) - np.asarray(theirs(images))).mean()
    assert plain < 0.1 * far
    assert again.environment().start_digest == files_digest([path])


@pytest.mark.filterwarnings("ignore::polypseg.train.named_models.SeenImagesWarning")
def test_frozen_normalisation_begins_as_the_file_and_is_kept(run, sample_folder, tmp_path):
    path = tmp_path / "small.onnx"
    export_model(run.folder, path)
    frozen = {"epochs": 1, "start_from": str(path), "freeze_normalisation": True}
    images = np.random.default_rng(0).random((4, 32, 32, 3), np.float32)
    theirs = np.asarray(load_model(run.best_path)(images))
    still = load_model(train(sample_folder, tmp_path / "still", small(learning_rate=1e-12, **frozen)).best_path)
    np.testing.assert_allclose(still(images), theirs, atol=1e-4)  # the export's own bound
    moved = train(sample_folder, tmp_path / "moved", small(learning_rate=0.01, ema_momentum=0.5, **frozen))
    before, after = still.variables, load_model(moved.best_path).variables
    changed = {"normalisation" in old.path: 0 for old in before}
    for old, new in zip(before, after, strict=True):
        changed["normalisation" in old.path] += not np.array_equal(old, new)
    assert changed[True] == 0
    assert changed[False] > 5


def test_frozen_normalisation_needs_a_start():
    with pytest.raises(UsageError, match=r"train\.freeze_normalisation needs a train\.start_from"):
        small(freeze_normalisation=True)


@pytest.mark.filterwarnings("ignore::polypseg.train.named_models.SeenImagesWarning")
def test_start_is_needed_until_an_epoch_is_saved_and_is_the_same(run, sample_folder, tmp_path, monkeypatch):
    class Stop(keras.callbacks.Callback):
        def __init__(self, epoch):
            super().__init__()
            self.last = epoch

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == self.last:
                raise KeyboardInterrupt

    start = Path(shutil.copy(run.best_path, tmp_path / "start.keras"))
    monkeypatch.chdir(tmp_path)
    for last in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            train(
                sample_folder,
                tmp_path / f"cut{last}",
                small(epochs=2, start_from="start.keras"),
                callbacks=[Stop(last)],
            )
    monkeypatch.chdir("/")  # the start is found from anywhere
    start.write_bytes(load_state(tmp_path / "cut1/checkpoints/last").model_path.read_bytes())
    with pytest.raises(RunError, match=r"start\.keras: not the start that .*cut0 began with"):
        resume(tmp_path / "cut0")
    start.unlink()
    with pytest.raises(ModelError, match=r"start\.keras/checkpoints/best\.keras is not there"):
        resume(tmp_path / "cut0")
    assert len(resume(tmp_path / "cut1").history()) == 2  # an epoch is saved: the start is not needed any more


def test_group_of_runs_is_no_start(sample_folder, tmp_path):
    for name in ("fold-1", "fold-2"):
        best = Run(tmp_path / "five" / name).best_path
        best.parent.mkdir(parents=True)
        best.touch()
    write_members(Run(tmp_path / "five"), "folds", ["fold-1", "fold-2"])
    with pytest.raises(ModelError, match=r"five: a group of 2 runs; expected one"):
        train(sample_folder, tmp_path / "run", small(start_from=str(tmp_path / "five")))


@pytest.mark.filterwarnings("ignore::polypseg.train.named_models.SeenImagesWarning")
def test_start_from_what_is_not_there_or_another_network_is_refused(run, sample_folder, tmp_path):
    with pytest.raises(ModelError, match=r"train\.start_from .*none: .* is not there; expected a run"):
        train(sample_folder, tmp_path / "a", small(start_from=str(tmp_path / "none")))
    wide = config_from({**SMALL, "model": {**SMALL["model"], "filters": 3}, "train": {"start_from": str(run.folder)}})
    with pytest.raises(ModelError, match=r"another network, of [\d,]+ parameters in \d+ weights; expected the one"):
        train(sample_folder, tmp_path / "b", wide)
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b/config.toml").exists()


def test_run_from_before_the_setting_of_gates_goes_on_with_plain_ones(sample_folder, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise KeyboardInterrupt

    settings = {"model": {**SMALL["model"], "gates": "plain"}, "train": {**SMALL["train"], "epochs": 3}}
    config = config_from({**SMALL, **settings})
    folders = [tmp_path / "never-stopped", tmp_path / "at-once", tmp_path / "later"]
    expected = figures(train(sample_folder, folders[0], config))
    with pytest.raises(KeyboardInterrupt):
        train(sample_folder, folders[1], config, callbacks=[Stop()])
    train(sample_folder, folders[2], config.model_copy(update={"train": config.train.model_copy(update={"epochs": 1})}))
    for folder in folders[1:]:
        run = open_run(folder)
        run.config_path.write_text(run.config_path.read_text().replace('gates = "plain"\n', ""))
        again = resume(folder, epochs=3)
        assert again.config().model.gates == "plain"
        assert figures(again) == expected
        assert gates_of(load_model(again.best_path)) == "plain"
