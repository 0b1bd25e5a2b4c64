"""The saved state of a training, and the history that is written from it."""

import pytest

from polypseg.errors import RunError
from polypseg.records.run import Run, write_history
from polypseg.records.training_state import SavedState, load_state, save_state


def test_a_history_from_a_saved_state_is_written_as_one_that_was_counted(tmp_path):
    counted = [{"epoch": 1, "loss": 1.5, "seconds": 2.0}, {"epoch": 2, "loss": 1.25, "seconds": 3.0}]
    run = Run(tmp_path)
    write_history(run, counted)
    expected = run.history_path.read_bytes()
    assert expected.splitlines()[1].startswith(b"1,1.5,")
    model = tmp_path / "model.keras"
    model.touch()
    save_state(tmp_path, SavedState(2, model, {}, counted, finished=False))
    write_history(run, load_state(tmp_path).history)
    assert run.history_path.read_bytes() == expected


def test_a_state_without_a_callback_is_one_line(tmp_path):
    state = SavedState(1, tmp_path / "model.keras", {"ModelCheckpoint": {"best": 0.5}}, [], finished=False)
    assert state.best == 0.5
    with pytest.raises(RunError, match=r"state\.json has no state of EarlyStopping; start a new run"):
        state.of("EarlyStopping")
