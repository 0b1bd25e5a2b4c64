import json

import keras
import numpy as np
import pytest

from polypseg.errors import RunError
from polypseg.records.training_state import SavedState, load_state, save_state, write_text
from polypseg.train.callbacks import EarlyStopping, LastCheckpoint, ModelCheckpoint, ReduceLROnPlateau


def tiny_model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def begin(callback, model):
    callback.set_model(model)
    callback.on_train_begin()
    return callback


def play(callbacks, model, losses, first=0):
    for epoch, loss in enumerate(losses, start=first):
        for callback in callbacks:
            callback.on_epoch_begin(epoch)
        logs = {"loss": loss, "val_loss": loss}
        for callback in callbacks:
            callback.on_epoch_end(epoch, logs)


def test_checkpoint_of_a_resume_is_not_replaced_by_a_worse_one(tmp_path):
    model, path = tiny_model(), tmp_path / "best.keras"
    first = begin(ModelCheckpoint(path), model)
    play([first], model, [0.5, 0.3])
    best = path.read_bytes()
    second = ModelCheckpoint(path)
    second.restore(json.loads(json.dumps(first.state())))
    begin(second, model)
    play([second], model, [0.4], first=2)  # Keras' own callback would overwrite here (keras issue 17012)
    assert path.read_bytes() == best
    model.layers[0].kernel.assign([[9.0]])
    play([second], model, [0.2], first=3)
    assert keras.saving.load_model(path).layers[0].kernel.numpy()[0, 0] == 9
    assert [p.name for p in tmp_path.iterdir()] == ["best.keras"]


def test_half_written_checkpoint_of_a_killed_process_is_removed(tmp_path):
    (tmp_path / ".best.part.keras").write_bytes(b"half")
    begin(ModelCheckpoint(tmp_path / "best.keras"), tiny_model())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", range(7))
def test_plateau_and_early_stopping_go_on_after_a_resume(cut):
    # Best 0.5 at epoch 2; patience 2 halves the rate after epochs 4 and 6; patience 4 stops after epoch 6.
    losses = [0.9, 0.5, 0.6, 0.7, 0.6, 0.6, 0.6]

    def fresh():
        return [ReduceLROnPlateau(factor=0.5, patience=2), EarlyStopping(patience=4)]

    def run(model, callbacks, losses, first):
        for callback in callbacks:
            begin(callback, model)
        for epoch, loss in enumerate(losses, start=first):
            play(callbacks, model, [loss], first=epoch)
            if model.stop_training:
                return epoch
        return None

    model = tiny_model()
    before = fresh()
    stopped = run(model, before, losses[:cut], 0)
    if stopped is None:
        after = fresh()
        for old, new in zip(before, after, strict=True):
            if cut:
                new.restore(json.loads(json.dumps(old.state())))
        stopped = run(model, after, losses[cut:], cut)
    assert stopped == 5
    assert float(model.optimizer.learning_rate) == 0.25


def test_last_checkpoint_leaves_one_model_and_the_whole_state(tmp_path):
    model, history, told = tiny_model(), [], []
    plateau = ReduceLROnPlateau(patience=1)
    last = LastCheckpoint(tmp_path, [plateau], history, 3, told.append)
    for callback in (plateau, last):
        begin(callback, model)
    play([plateau, last], model, [0.5, 0.6])
    state = load_state(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0002.keras", "state.json"]
    assert (state.epoch, state.finished, state.model_path.name) == (2, False, "epoch-0002.keras")
    assert state.callbacks == {"ReduceLROnPlateau": {"wait": 0, "best": 0.5, "cooldown_counter": 0}}
    assert [row["epoch"] for row in state.history] == [1, 2]
    assert state.history[1]["learning_rate"] == 1.0  # the rate that the epoch was trained with
    assert told == history == state.history
    play([plateau, last], model, [0.4], first=2)
    assert load_state(tmp_path).finished
    again = keras.saving.load_model(load_state(tmp_path).model_path)
    assert float(again.optimizer.learning_rate) == pytest.approx(0.1)


def test_state_of_a_kill_between_model_and_state_is_the_one_before(tmp_path):
    (tmp_path / "epoch-0001.keras").write_bytes(b"one")
    save_state(tmp_path, SavedState(1, tmp_path / "epoch-0001.keras", {}, [{"epoch": 1}], False))
    (tmp_path / "epoch-0002.keras").write_bytes(b"two")  # and here the process was killed
    assert load_state(tmp_path).model_path.name == "epoch-0001.keras"


def test_no_state_is_none_and_a_damaged_one_an_error(tmp_path):
    assert load_state(tmp_path) is None
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(RunError, match="not a saved state of a training, or a damaged one"):
        load_state(tmp_path)
    (tmp_path / "state.json").write_text(
        json.dumps({"epoch": 1, "model": "epoch-0001.keras", "callbacks": {}, "history": [], "finished": False})
    )
    with pytest.raises(RunError, match=r"names epoch-0001\.keras, which is not there"):
        load_state(tmp_path)


def test_numbers_survive_the_state_exactly(tmp_path):
    value = float(np.float32(0.1)) / 3
    (tmp_path / "m.keras").write_bytes(b"m")
    save_state(tmp_path, SavedState(1, tmp_path / "m.keras", {"A": {"best": value}}, [], False))
    assert load_state(tmp_path).callbacks["A"]["best"] == value


def test_write_in_one_step_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    for text in ("first", "second"):
        write_text(path, text)
        assert path.read_text() == text
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_nan_never_becomes_the_best(tmp_path):
    checkpoint = begin(ModelCheckpoint(tmp_path / "best.keras"), tiny_model())
    play([checkpoint], checkpoint.model, [float("nan"), 0.5])
    assert checkpoint.best == 0.5
    assert (tmp_path / "best.keras").is_file()
