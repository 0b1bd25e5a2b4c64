"""The saved state of a training: what a resume reads. No framework here."""

import json
from pathlib import Path
from typing import NamedTuple

from polypseg.errors import RunError
from polypseg.records.atomic import write_text
from polypseg.records.reading import FileKind, Saved, read_json

HistoryRow = dict[str, float]
CallbackState = dict[str, float | int | None]
STATE_NAME = "state.json"
KIND = FileKind("saved state of a training", RunError, "start a new run (--name)")
HISTORY_COLUMNS = (
    "epoch",
    "loss",
    "dice",
    "iou",
    "val_loss",
    "val_dice",
    "val_iou",
    "learning_rate",
    "seconds",
)
"""The columns of history.csv: train and validation figures of an epoch (from 1), its rate and its wall time."""


class SavedState(NamedTuple):
    """What was saved after the last whole epoch.

    Attributes:
        epoch: How many epochs are done.
        model_path: Model, weights and optimizer state after it.
        callbacks: The state of each callback, by class name.
        history: A row an epoch.
        finished: Whether the training came to its end.
    """

    epoch: int
    model_path: Path
    callbacks: dict[str, CallbackState]
    history: list[HistoryRow]
    finished: bool

    def of(self, callback: str) -> CallbackState:
        """The state of a callback.

        Raises:
            RunError: It is not there.
        """
        if callback not in self.callbacks:
            raise RunError(f"{self.model_path.parent / STATE_NAME} has no state of {callback}; {KIND.mend}")
        return self.callbacks[callback]

    @property
    def best(self) -> float | None:
        """The monitored value of the best model; None where none was saved; errors as `of`."""
        return self.of("ModelCheckpoint").get("best")


class _Record(Saved):
    epoch: int
    model: str
    callbacks: dict[str, CallbackState]
    history: list[HistoryRow]
    finished: bool


def load_state(folder: Path) -> SavedState | None:
    """The state saved in a folder (`checkpoints/last`), or None where no epoch was finished.

    Raises:
        RunError: The state is damaged.
    """
    path = folder / STATE_NAME
    if not path.exists():
        return None
    found = read_json(path, _Record, KIND)
    state = SavedState(found.epoch, folder / found.model, found.callbacks, found.history, found.finished)
    if not state.model_path.is_file():
        raise RunError(f"{path} names {state.model_path.name}, which is not there; start a new run")
    return state


def save_state(folder: Path, state: SavedState) -> None:
    """Write the state in one step; its model file must be there already."""
    plain = {name: value for name, value in state._asdict().items() if name != "model_path"}
    write_text(folder / STATE_NAME, json.dumps({**plain, "model": state.model_path.name}, indent=1))
