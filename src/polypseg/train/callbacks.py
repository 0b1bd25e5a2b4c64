"""Keras' callbacks by their own names, made to survive a kill and a resume.

Keras' EarlyStopping, ReduceLROnPlateau and ModelCheckpoint forget their counters and their best value when
a training starts again (keras issue 17012: a better checkpoint is overwritten by a worse one). The classes
here keep the names and the behaviour, and can say and take back what they know. `LastCheckpoint` writes all
of it after each epoch, in one step, so that a process killed at any moment can go on from its last whole epoch.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import keras
import numpy as np
from numpy.typing import NDArray

from polypseg.data.epochs import EpochCounter
from polypseg.errors import RunError
from polypseg.models.checkpoint import save_model
from polypseg.models.deep_supervision import without_supervised_levels
from polypseg.records.atomic import replacing, temporary_of
from polypseg.records.training_state import HISTORY_COLUMNS, HistoryRow, SavedState, save_state
from polypseg.train.normalisation import measure_normalisation, normalisations


class _Remembers:
    """What a callback knows between epochs, as plain numbers."""

    _fields: ClassVar[tuple[str, ...]]
    _restored: Mapping[str, float | int | None] | None = None

    def state(self) -> dict[str, float | int | None]:
        """The counters and the best value so far."""
        return {field: _plain(getattr(self, field)) for field in self._fields}

    def restore(self, state: Mapping[str, float | int | None]) -> None:
        """Take the state back when the training begins, after Keras has reset the callback."""
        self._restored = state

    def on_train_begin(self, logs: Any = None) -> None:
        """Reset, as Keras does, then take back what was restored."""
        super().on_train_begin(logs)  # type: ignore[misc]
        for field, value in (self._restored or {}).items():
            setattr(self, field, value)
        self._restored = None


def mode_of(monitor: str) -> str:
    """Whether less or more of a monitored value is better, as Keras' callbacks take it."""
    return "max" if monitor.endswith(("dice", "iou")) else "min"


class Averages(keras.callbacks.Callback):  # type: ignore[misc]
    """Validates the optimizer's average of the weights, where it keeps one, and puts the weights back after.

    Batch normalisation is measured again for the averaged weights, on training images changed as the training changes
    them: the moving averages belong to the weights of the last steps. A network of averaged weights with them had a
    validation Dice of .16, with its own .86 (polyp-lite after 9 epochs). Statistics of images as they are fit such
    images alone: on validation images blurred by 2 px, Dice .76 against .87 (docs/explanation/experiments.md).
    `keras.callbacks.SwapEMAWeights` keeps the moving averages, and swaps by adding and subtracting, which leaves a
    rounding in the weights; here they come back bit for bit.

    Args:
        batches: Gives batches of training images (N, H, W, 3) float32 in [0, 1], the same each time.

    Reference:
        Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018, sec. 3.2 (batch
        normalisation of averaged weights).
    """

    def __init__(self, batches: Callable[[], Iterator[NDArray[np.float32]]]) -> None:
        super().__init__()
        self._batches = batches
        self._swapped = ExitStack()
        self._statistics: list[NDArray[Any]] | None = None

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The averages in the model for a while, with the statistics of the last validation."""
        if not getattr(self.model.optimizer, "use_ema", False):
            yield
            return
        # Keras names no public way to the averages.
        pairs = list(
            zip(self.model.trainable_variables, self.model.optimizer._model_variables_moving_average, strict=True)
        )
        statistics = [v for layer in normalisations(self.model) for v in (layer.moving_mean, layer.moving_variance)]
        changed = [weight for weight, _ in pairs] + statistics
        kept = [keras.ops.convert_to_numpy(weight).copy() for weight in changed]
        for weight, average in pairs:
            weight.assign(keras.ops.copy(average))  # a step of JAX gives up the memory of its weights
        for variable, value in zip(statistics, self._statistics or (), strict=self._statistics is not None):
            variable.assign(value)
        try:
            yield
        finally:
            for weight, value in zip(changed, kept, strict=True):
                weight.assign(value)

    def on_test_begin(self, logs: Any = None) -> None:
        """Put the averages in, and measure batch normalisation."""
        self._statistics = None
        self._swapped.enter_context(self.in_place())
        layers = normalisations(self.model)
        if getattr(self.model.optimizer, "use_ema", False) and any(layer.trainable for layer in layers):
            measure_normalisation(self.model, self._batches())
            self._statistics = [
                keras.ops.convert_to_numpy(v).copy() for n in layers for v in (n.moving_mean, n.moving_variance)
            ]

    def on_test_end(self, logs: Any = None) -> None:
        """Put the weights back."""
        self._swapped.close()


class EarlyStopping(_Remembers, keras.callbacks.EarlyStopping):  # type: ignore[misc]
    """`keras.callbacks.EarlyStopping` whose patience goes on after a resume."""

    _fields = ("wait", "best", "best_epoch", "stopped_epoch")


class ReduceLROnPlateau(_Remembers, keras.callbacks.ReduceLROnPlateau):  # type: ignore[misc]
    """`keras.callbacks.ReduceLROnPlateau` whose plateau goes on after a resume."""

    _fields = ("wait", "best", "cooldown_counter")


class ModelCheckpoint(_Remembers, keras.callbacks.ModelCheckpoint):  # type: ignore[misc]
    """`keras.callbacks.ModelCheckpoint` of the best model, written in one step, never replaced by a worse one.

    Args:
        path: The `.keras` file.
        monitor: What is best for the best model: lowest, or highest for a Dice coefficient.
        initial_value_threshold: As in Keras: nothing is saved until this is beaten.
        averages: What puts the averaged weights in, where those are what was judged and so what is saved.
    """

    _fields = ("best",)

    def __init__(
        self,
        path: Path,
        monitor: str = "val_loss",
        initial_value_threshold: float | None = None,
        averages: Averages | None = None,
    ) -> None:
        self._averages = averages
        self._path = path
        super().__init__(
            str(path),
            monitor=monitor,
            mode=mode_of(monitor),
            save_best_only=True,
            initial_value_threshold=initial_value_threshold,
        )

    def on_train_begin(self, logs: Any = None) -> None:
        """As Keras; a half-written file of a killed process is removed."""
        temporary_of(self._path).unlink(missing_ok=True)
        super().on_train_begin(logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Save where the monitored value is the best so far, then put the whole file in place."""
        if not self._is_better(logs or {}):
            return
        trained = self.model
        self.set_model(without_supervised_levels(trained))
        try:
            with self._averages.in_place() if self._averages else nullcontext(), replacing(self._path) as temporary:
                self.filepath = str(temporary)
                super().on_epoch_end(epoch, logs)
        finally:
            self.set_model(trained)

    def _is_better(self, logs: Mapping[str, float]) -> bool:
        """Whether the epoch has the best value; never NaN, which Keras would take for a best that nothing beats."""
        value = logs.get(self.monitor, math.nan)
        if not math.isfinite(value):
            return False
        return self.best is None or (value > self.best if mode_of(self.monitor) == "max" else value < self.best)


class LastCheckpoint(keras.callbacks.Callback):  # type: ignore[misc]
    """Saves, after each epoch, everything that a resume needs; must be the last of the callbacks.

    The model goes into a file named after its epoch; then `state.json`, replaced in one step, names that file
    and holds the callbacks' states and the history; then the file before it is removed. A kill at any moment
    leaves a state whose files are whole.

    Args:
        folder: `checkpoints/last`.
        remembered: The callbacks whose states are saved.
        history: Rows of the epochs before (of a resume), which is added to in place.
        num_epochs: How many epochs there are at most.
        on_row: Called with each new row, after it is safe.
    """

    def __init__(
        self,
        folder: Path,
        remembered: Sequence[_Remembers],
        history: list[HistoryRow],
        num_epochs: int,
        on_row: Callable[[HistoryRow], None],
    ) -> None:
        super().__init__()
        self._folder, self._remembered, self._history = folder, remembered, history
        self._num_epochs, self._on_row = num_epochs, on_row
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock."""
        self._began = perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Save model and state, then let the caller know of the new row."""
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        known = {
            "learning_rate": rate,
            **(logs or {}),
            "epoch": epoch + 1,
            "seconds": round(perf_counter() - self._began, 2),
        }
        row = {column: float(known[column]) for column in HISTORY_COLUMNS if column in known}
        row["epoch"] = epoch + 1
        self._history.append(row)
        finished = epoch + 1 >= self._num_epochs or bool(self.model.stop_training)
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"epoch-{epoch + 1:04d}.keras"
        save_model(self.model, self._folder / name)
        states = {type(callback).__name__: callback.state() for callback in self._remembered}
        save_state(self._folder, SavedState(epoch + 1, self._folder / name, states, self._history, finished))
        for path in self._folder.glob("*.keras"):
            if path.name != name:
                path.unlink()
        self._on_row(row)


class TerminateOnNaN(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends a training whose loss is no number, before such weights are saved.

    `keras.callbacks.TerminateOnNaN` prints and lets the epoch end, so that its weights would be the saved state.
    """

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Remember where we are."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Raise where the loss is NaN or infinite.

        Raises:
            RunError: It is.
        """
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
            raise RunError(
                f"the loss became {loss} in epoch {self._epoch + 1}, batch {batch + 1}, learning rate {rate:g}; the "
                f"{self._epoch} epochs before are saved. Start a new run with a lower train.learning_rate"
            )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Raise where the last update left weights that are no number, which no loss has shown yet.

        Raises:
            RunError: It did.
        """
        for weight in self.model.weights:
            if not np.isfinite(keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32"))).all():
                raise RunError(
                    f"weights became NaN or infinite in epoch {epoch + 1} ({weight.path}); the {epoch} epochs before "
                    "are saved. Start a new run with a lower train.learning_rate"
                )


class EpochBegins(keras.callbacks.Callback):  # type: ignore[misc]
    """Makes all that an epoch draws follow from the seed and the number of the epoch.

    The batches learn the number, for order and augmentation. The generators of dropout are set from it: Keras
    does not save their state, so that a resumed training would draw otherwise.

    Args:
        counter: Of the training batches.
        seed: The training's seed.
    """

    def __init__(self, counter: EpochCounter, seed: int) -> None:
        super().__init__()
        self._counter, self._seed = counter, seed

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Set the number of the epoch that begins."""
        self._counter.next_epoch = epoch
        for index, layer in enumerate(self.model.layers):
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                first = np.random.SeedSequence([self._seed, index, epoch]).generate_state(1)[0] % 2**31
                generator.state.assign(np.array([first, 0], generator.state.dtype))


def _plain(value: Any) -> float | int | None:
    return value if value is None or isinstance(value, int) else float(value)
