"""The modern recipe as a whole: AdamW, one cycle, averages, mixed precision, synthesised frames, deep supervision."""

import runpy
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from polypseg.config import config_from
from polypseg.errors import UsageError
from polypseg.models.checkpoint import load_model
from polypseg.models.deep_supervision import SUPERVISED
from polypseg.records.digests import file_digests
from polypseg.records.gates import load_gates
from polypseg.records.run import Run
from polypseg.records.training_state import load_state
from polypseg.train.fit import resume, train
from train.eager import eagerly
from train.killing import train_and_kill

RECIPE = {
    "split": {"kind": "ratio", "validation": 0.25, "test": 0.25, "near_duplicate_bits": -1},
    "data": {
        **{"size": 32, "batch_size": 4, "augment": "strong", "polyp_removal": 0.2, "copy_paste": 0.2, "jpeg": 0.3},
        **{"colour_transfer": 0.3, "elastic": 0.3, "close_ups": 0.2},
    },
    "model": {"filters": 2, "depth": 2, "dropout": 0.2, "deep_supervision": True},
    "train": {
        **{"epochs": 3, "optimizer": "adamw", "learning_rate": 0.02, "encoder_rate": 0.5, "weight_decay": 0.01},
        **{"clip_norm": 1.0, "ema_momentum": 0.8, "schedule": "one_cycle", "monitor": "val_dice"},
        **{"mixed_precision": True, "deterministic": True, "tensorboard": False},
    },
}


def recipe(table="train", **settings):
    return config_from({**RECIPE, table: {**RECIPE[table], **settings}})


@pytest.fixture(scope="module")
def run(sample_folder, tmp_path_factory):
    return train(sample_folder, tmp_path_factory.mktemp("runs") / "first", recipe())


def figures(run):
    """The history without its wall times."""
    return [[value for key, value in row.items() if key != "seconds"] for row in run.history()]


def equal(ours, theirs):
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.graph
def test_killed_training_goes_on_as_if_nothing_had_happened(run, sample_folder, tmp_path):
    killed = tmp_path / "killed"
    assert 1 <= train_and_kill(sample_folder, killed, run.config_path) < 3
    again = resume(killed)
    assert figures(again) == figures(run)
    for path in ("best_path", "last_folder"):
        files = [getattr(r, path) for r in (again, run)]
        models = [load_model(f if f.is_file() else load_state(f).model_path, compiled=True) for f in files]
        assert equal(*(model.get_weights() for model in models))
    assert equal(*([np.asarray(v) for v in model.optimizer.variables] for model in models))  # averages and moments


def test_best_model_is_the_average_alone_and_what_was_judged(run):
    last = load_model(load_state(run.last_folder).model_path, compiled=True)
    assert any(layer.name == SUPERVISED for layer in last.layers)
    best = load_model(run.best_path)
    assert best.output_shape == (None, 32, 32, 1)
    assert not any(layer.name.startswith("supervision") for layer in best.layers)
    chosen = max(run.history(), key=lambda row: row["val_dice"])
    if chosen["epoch"] == 3:
        averages = {v.path: np.asarray(a) for v, a in zip(last.trainable_variables, _averages(last), strict=True)}
        assert all(np.array_equal(v.numpy(), averages[v.path]) for v in best.trainable_variables)
    assert run.environment().checkpoint_chosen_by == "highest val_dice on the validation split"


def test_mean_of_a_best_and_a_last_epoch_leaves_the_supervised_levels_out(run, tmp_path, monkeypatch, capsys):
    made = Run(tmp_path / "mean")
    script = Path(__file__).parents[2] / "scripts" / "average_runs.py"
    monkeypatch.setattr(sys, "argv", [script.name, str(run.folder), f"{run.folder}:last", "--out", str(made.folder)])
    runpy.run_path(str(script), run_name="__main__")
    last = load_model(load_state(run.last_folder).model_path, compiled=True)
    averages = {v.path: np.asarray(a) for v, a in zip(last.trainable_variables, _averages(last), strict=True)}
    best = {v.path: v.numpy() for v in load_model(run.best_path).trainable_variables}
    mean = load_model(made.best_path).trainable_variables
    assert {v.path for v in mean} == set(best)
    assert all(np.allclose(v.numpy(), (best[v.path] + averages[v.path]) / 2, atol=1e-6) for v in mean)
    assert "gate 1:  mean 0." in capsys.readouterr().out
    assert load_gates(made.folder).model_digest == file_digests([made.best_path])[made.best_path]


def test_first_epochs_average_is_kept_with_statistics_of_its_own(sample_folder, tmp_path):
    run = train(sample_folder, tmp_path / "one", recipe(epochs=1))
    last = load_model(load_state(run.last_folder).model_path, compiled=True)
    best = load_model(run.best_path)
    averages = {v.path: np.asarray(a) for v, a in zip(last.trainable_variables, _averages(last), strict=True)}
    assert all(np.array_equal(v.numpy(), averages[v.path]) for v in best.trainable_variables)
    weights = {v.path: v.numpy() for v in last.trainable_variables}
    assert any(not np.array_equal(v.numpy(), weights[v.path]) for v in best.trainable_variables)
    name = "decoder_1_2_normalisation"
    assert not np.array_equal(*(model.get_layer(name).moving_mean.numpy() for model in (best, last)))


def _averages(model):
    return model.optimizer._model_variables_moving_average


def test_rate_follows_the_schedule(run):
    # 8 training samples in batches of 4: two steps an epoch, six in all. One of them (0.1 * 6, rounded) rises; then a
    # cosine over the other five. The rate shown is that after the epoch's last step: of steps 2, 4 and 6.
    expected = [0.02 * (1 + np.cos(np.pi * (step - 1) / 5)) / 2 for step in (2, 4, 6)]
    assert [row["learning_rate"] for row in run.history()] == pytest.approx(expected, rel=1e-4, abs=1e-8)


def test_planned_length_of_a_schedule_cannot_be_changed(run):
    with pytest.raises(UsageError, match="was planned for 3 epochs: the one_cycle schedule"):
        resume(run.folder, epochs=5)


class OneEpoch(keras.callbacks.Callback):
    """Ends a training after its first epoch, of as many as are planned: the schedule is the same."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True


def loss_of_one_epoch(data, folder, config):
    return train(data, folder, config, callbacks=[OneEpoch()]).history()[0]["val_loss"]


@pytest.fixture(scope="module")
def first_loss(sample_folder, tmp_path_factory):
    """The validation loss after an epoch of the recipe, which comes out the same each time."""
    runs = tmp_path_factory.mktemp("runs")
    with eagerly():
        losses = {loss_of_one_epoch(sample_folder, runs / name, recipe()) for name in ("once", "again")}
    assert len(losses) == 1
    return losses.pop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "setting", "value"),
    [
        ("data", "augment", "standard"),
        ("data", "polyp_removal", 0.6),
        ("data", "copy_paste", 0.6),
        ("data", "jpeg", 1.0),
        ("data", "close_ups", 0.6),
        ("model", "deep_supervision", False),
        ("train", "optimizer", "adam"),
        ("train", "encoder_rate", 1.0),
        ("train", "weight_decay", 0.5),
        ("train", "clip_norm", 1e-3),
        ("train", "schedule", "cosine"),
        ("train", "warmup", 0.5),
        ("train", "mixed_precision", False),
    ],
)
def test_every_setting_of_the_recipe_acts(table, setting, value, first_loss, sample_folder, tmp_path):
    settings = {setting: value}
    if setting == "optimizer":
        settings |= {"encoder_rate": 1.0, "weight_decay": 0.0}
    planned = config_from({**RECIPE, table: {**RECIPE[table], **settings}})

    assert loss_of_one_epoch(sample_folder, tmp_path / "other", planned) != first_loss


def test_average_acts_and_none_keeps_the_weights_themselves(sample_folder, tmp_path):
    run = train(sample_folder, tmp_path / "plain", recipe(epochs=1, ema_momentum=0.0))
    last = load_model(load_state(run.last_folder).model_path, compiled=True)
    kept = {weight.path: weight.numpy() for layer in last.layers for weight in layer.weights}
    best = [weight for layer in load_model(run.best_path).layers for weight in layer.weights]
    assert all(np.array_equal(weight.numpy(), kept[weight.path]) for weight in best if "seed" not in weight.path)
