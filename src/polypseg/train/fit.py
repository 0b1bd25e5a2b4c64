"""The training itself: from a folder of images and a config to a run folder; and the way back after a kill."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import keras

from polypseg.config import Config, TrainConfig, removed_settings, with_absolute_paths
from polypseg.data.batches import SampleReader, batch_maker, make_readers
from polypseg.data.epochs import BatchPlan, EpochCounter, training_plan
from polypseg.data.named_splits import NO_FILES, SplitFiles
from polypseg.data.samples import Fault, Sample
from polypseg.data.splits import verify_split
from polypseg.errors import ModelError, RunError, UsageError
from polypseg.models.checkpoint import load_model
from polypseg.models.deep_supervision import without_supervised_levels
from polypseg.progress import Track, silent
from polypseg.records.environment import TrainingFacts, add_start
from polypseg.records.lock import alone_in
from polypseg.records.run import Run, open_run, write_config, write_history, write_seen_before
from polypseg.records.split import Split
from polypseg.records.training_state import HistoryRow, SavedState, load_state, save_state
from polypseg.train.callbacks import (
    Averages,
    EarlyStopping,
    EpochBegins,
    LastCheckpoint,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
    mode_of,
)
from polypseg.train.devices import num_devices, on_devices, share_batches, with_devices
from polypseg.train.named_models import check_named_models, named_digests, seen_by_start, warn_of_seen_images
from polypseg.train.new_model import new_model
from polypseg.train.normalisation import calibration_batches
from polypseg.train.numerics import numerics
from polypseg.train.samples import (
    first_folder,
    run_samples,
    seen_images,
    source_counts,
    split_samples,
    training_draws,
    usable_samples,
)
from polypseg.train.teacher import teacher_of

OnEpoch = Callable[[HistoryRow], None]


def train(
    data: Path | None,
    folder: Path,
    config: Config = Config(),  # noqa: B008 (frozen)
    split_files: SplitFiles = NO_FILES,
    track: Track = silent,
    on_epoch: OnEpoch = lambda row: None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Run:
    """A new run: the data checked and split, the model trained, everything recorded in its folder.

    Args:
        data: A folder of images and masks in any layout that `find_samples` knows; None where the config has sources.
        folder: The run folder; it must not hold a run yet.
        config: All settings.
        split_files: A split to follow, as a manifest or as lists of names; without one the config makes a split.
        track: Shows the progress of checking and hashing.
        on_epoch: Called with each epoch's figures, after they are safe on disk.
        callbacks: More Keras callbacks, for example to show progress.

    Raises:
        BusyError: Another process works in the folder.
        RunError: The folder already holds a run.
        DataError: Samples that cannot be used (and `data.skip_bad` is off), or too few.
        SplitError: The manifest does not fit the data.
    """
    run = Run(folder)
    refuse_a_run(run)
    num_devices(config)
    config = with_absolute_paths(config)
    named_digests(config, has_begun=False)  # what is missing is missed before hours of work
    seen = seen_images(config, split_files)
    samples, faults = usable_samples(data, config, track, seen)
    split = split_samples(samples, config, split_files, track, seen)
    warn_of_seen_images(config, split)
    data = first_folder(data, config)
    run.folder.mkdir(parents=True, exist_ok=True)
    with alone_in(run.folder), numerics(config.train), on_devices(config):
        refuse_a_run(run)  # again: another process may have begun one meanwhile
        split.save(run.splits_path)
        write_seen_before(run, seen_by_start(config))
        run.environment_path.unlink(missing_ok=True)  # of a start that was killed before it was a run
        keras.utils.set_random_seed(config.train.seed)
        model = new_model(config, samples, split)
        _record(run, data, faults, 0, _Setup(model, split, config))
        write_config(run, config)  # last: it is what makes the folder a run, which from here on can be resumed
        _fit(run, model, config, samples, split, None, on_epoch, callbacks)
    return run


def refuse_a_run(run: Run) -> None:
    """Nothing, if the folder holds no run yet.

    Raises:
        RunError: It does.
    """
    if run.config_path.exists():
        raise RunError(f"{run.folder} already holds a run; go on with it (--resume), or choose another name (--name)")


def resume(
    folder: Path,
    data: Path | None = None,
    epochs: int | None = None,
    track: Track = silent,
    on_epoch: OnEpoch = lambda row: None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    devices: int | None = None,
) -> Run:
    """The run, continued after its last whole epoch as if nothing had happened.

    Args:
        folder: The run folder.
        data: Where the data are now; unless given, where they were.
        epochs: Another last epoch; unless given, the config's. A run that early stopping ended goes on, with its
            whole patience.
        track: Shows the progress of hashing.
        on_epoch: As for `train`.
        callbacks: As for `train`.
        devices: Another number of devices; unless given, the config's.

    Raises:
        RunError: The folder is no run, its saved state is damaged, its best model is gone, or the loss is no number.
        SplitError: The data no longer match the run's manifest.
    """
    run = open_run(folder)
    with alone_in(run.folder):
        return _go_on(run, data, epochs, devices, track, on_epoch, callbacks)


def _go_on(
    run: Run,
    data: Path | None,
    epochs: int | None,
    devices: int | None,
    track: Track,
    on_epoch: OnEpoch,
    callbacks: Sequence[keras.callbacks.Callback],
) -> Run:
    """As `resume`, of a run that nobody else works on."""
    folder, config = run.folder, with_devices(run.config(), devices)
    num_devices(config)
    if removed := removed_settings(run.config_path):
        raise RunError(f"{folder} was trained with {', '.join(removed)}, which polypseg has no more; start a new run")
    state = load_state(run.last_folder)
    if state is not None:
        _check_best(run, state)
    if epochs is not None:
        if state is not None and epochs < state.epoch:
            raise UsageError(f"{state.epoch} epochs of {folder} are done; expected at least as many, found {epochs}")
        if config.train.schedule != "plateau" and epochs != config.train.epochs:
            raise UsageError(
                f"{folder} was planned for {config.train.epochs} epochs: the {config.train.schedule} schedule of its "
                f"rate ends there, found {epochs}; start a new run (--name) with another number"
            )
        config = config.model_copy(update={"train": config.train.model_copy(update={"epochs": epochs})})
    split = run.split()
    samples, faults = run_samples(run, data)
    data = data or Path(run.environment().data)
    verify_split(split, samples, track)
    check_named_models(run, config, has_begun=state is not None)
    write_config(run, config)
    if state is not None and state.epoch < config.train.epochs and epochs is not None:
        state = _reopened(state, config.train)
        save_state(run.last_folder, state)  # so that a kill before its next epoch ends leaves a run that goes on
    keras.utils.set_random_seed(config.train.seed)
    with numerics(config.train), on_devices(config):
        if state is None:
            model = new_model(config, samples, split)
        else:
            write_history(run, state.history)
            if state.finished:
                return run
            model = _last_model(state)
        _record(run, data, faults, state.epoch if state else 0, _Setup(model, split, config))
        _fit(run, model, config, samples, split, state, on_epoch, callbacks)
    return run


def _check_best(run: Run, state: SavedState) -> None:
    """Nothing where the best model is there, or none was saved yet.

    Raises:
        RunError: It was saved and is gone.
    """
    best = state.best
    if best is not None and math.isfinite(best) and not run.best_path.is_file():
        raise RunError(
            f"{run.best_path} is gone: the best model so far (validation {best:.4g}). "
            "Put it back from a copy, or start a new run (--name)"
        )


def _reopened(state: SavedState, settings: TrainConfig) -> SavedState:
    """A finished state, made ready for more epochs; what early stopping ended gets its whole patience again."""
    stopping = state.of("EarlyStopping")
    if state.finished and (stopping.get("wait") or 0) >= settings.early_stopping_patience:
        stopping = {**stopping, "wait": 0, "stopped_epoch": 0}
    return state._replace(finished=False, callbacks={**state.callbacks, "EarlyStopping": stopping})


def _last_model(state: SavedState) -> keras.Model:
    """The model of the last whole epoch, with its optimizer's state.

    Raises:
        RunError: Its file is damaged.
    """
    try:
        return load_model(state.model_path, compiled=True)
    except ModelError as error:
        raise RunError(
            f"{error}. The saved state of epoch {state.epoch} is damaged: put the file back from a copy, "
            "or start a new run (--name)"
        ) from error


def _fit(
    run: Run,
    model: keras.Model,
    config: Config,
    samples: Sequence[Sample],
    split: Split,
    state: SavedState | None,
    on_epoch: OnEpoch,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Train to the end; the state after each epoch is on disk before the next begins."""
    settings = config.train
    trained, validated, _ = make_readers(samples, split, config.data, config.split).values()
    counter = EpochCounter()
    make = batch_maker()
    batch_size = config.data.batch_size
    plan = training_plan(config.data, settings.seed, training_draws(samples, split, config))
    batches = make(trained, plan, counter, teacher_of(config))
    validation = make(validated, BatchPlan(batch_size, "none", False, settings.seed), EpochCounter(), None)

    monitor, mode = settings.monitor, mode_of(settings.monitor)
    averages = Averages(partial(calibration_batches, trained, plan))
    remembered: list[Any] = [ModelCheckpoint(run.best_path, monitor, averages=averages)]
    if settings.schedule == "plateau":
        remembered.append(
            ReduceLROnPlateau(
                monitor=monitor,
                mode=mode,
                factor=settings.plateau_factor,
                patience=settings.plateau_patience,
                min_lr=settings.min_learning_rate,
            )
        )
    remembered.append(EarlyStopping(monitor=monitor, mode=mode, patience=settings.early_stopping_patience))
    history = list(state.history) if state else []
    if state is not None:
        for callback in remembered:
            callback.restore(state.of(type(callback).__name__))

    def after_epoch(row: HistoryRow) -> None:
        write_history(run, history)
        on_epoch(row)

    last = LastCheckpoint(run.last_folder, remembered, history, settings.epochs, after_epoch)
    run.best_path.parent.mkdir(parents=True, exist_ok=True)
    share_batches(model)
    with _reader_errors(trained, validated):
        model.fit(
            batches,
            validation_data=validation,
            epochs=settings.epochs,
            initial_epoch=state.epoch if state else 0,
            callbacks=[
                EpochBegins(counter, settings.seed),
                TerminateOnNaN(),
                averages,
                *remembered,
                *_tensorboard(run, settings),
                *callbacks,
                last,
            ],
            shuffle=False,  # the batches are shuffled already, by the seed
            verbose=0,
        )


def _tensorboard(run: Run, settings: TrainConfig) -> list[keras.callbacks.Callback]:
    if not settings.tensorboard or find_spec("tensorboard") is None or find_spec("tensorflow") is None:
        return []
    return [keras.callbacks.TensorBoard(str(run.logs_folder), write_graph=False)]


class _Setup(NamedTuple):
    """What is trained, on what, and how."""

    model: keras.Model
    split: Split
    config: Config


def _record(run: Run, data: Path, faults: Sequence[Fault], first_epoch: int, setup: _Setup) -> None:
    model, split, settings = setup.model, setup.split, setup.config.train
    best = "highest" if mode_of(settings.monitor) == "max" else "lowest"
    facts = TrainingFacts(
        backend=keras.backend.backend(),
        split_source=split.source,
        split_digest=split.digest(),
        num_parameters=int(without_supervised_levels(model).count_params()),
        checkpoint_chosen_by=f"{best} {settings.monitor} on the validation split",
    )
    sources = {"sources": source_counts(split)} if setup.config.sources else {}
    facts = facts.model_copy(update={**sources, **named_digests(setup.config, has_begun=first_epoch > 0)})
    add_start(run.environment_path, data, [fault.name for fault in faults], first_epoch, facts)


@contextmanager
def _reader_errors(*readers: SampleReader) -> Iterator[None]:
    """A file that fails in the pipeline's own thread ends the training with its own error, not the pipeline's."""
    try:
        yield
    except Exception as error:
        for reader in readers:
            if reader.error is not None:
                raise reader.error from error
        raise
