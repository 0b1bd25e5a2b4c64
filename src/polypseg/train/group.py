"""Groups of runs: a cross-validation, or one training with several seeds; each member is a run of its own.

Decisions:
- A member is a whole run folder within the group's (fold-1, seed-0, …), so that all that works on a run works on it.
- The group is resumed as a whole: finished members are left alone, a stopped one goes on, the others are started.
- Each fold draws with its own seed, so that the members of an ensemble differ in more than their data.
"""

from collections.abc import Sequence
from pathlib import Path

import keras

from polypseg.config import Config, with_absolute_paths
from polypseg.data.folds import make_folds
from polypseg.data.named_splits import NO_FILES, SplitFiles
from polypseg.errors import UsageError
from polypseg.progress import Track, silent
from polypseg.records.environment import TrainingFacts, add_start
from polypseg.records.lock import alone_in
from polypseg.records.run import Run, open_run, write_config, write_members
from polypseg.records.split import Split
from polypseg.records.training_state import load_state
from polypseg.train.devices import num_devices, with_devices
from polypseg.train.fit import OnEpoch, refuse_a_run, resume, train
from polypseg.train.samples import first_folder, seen_images, split_samples, usable_samples


def train_group(
    data: Path | None,
    folder: Path,
    config: Config,
    seeds: Sequence[int] = (),
    split_files: SplitFiles = NO_FILES,
    track: Track = silent,
    on_epoch: OnEpoch = lambda row: None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Run:
    """A new group: `config.split.folds` folds, or a run for each of the seeds on one split.

    Args:
        data: As for `train`.
        folder: The group's folder; it must not hold a run yet.
        config: The settings of every member.
        seeds: Of the members; empty for a cross-validation.
        split_files: A split to follow, as a manifest or as lists of names; a cross-validation takes its test split
            from it.
        track: Shows the progress of checking and hashing.
        on_epoch: As for `train`.
        callbacks: As for `train`.

    Raises:
        UsageError: Neither folds nor seeds, both, or a seed twice.
        RunError: The folder already holds a run.
        DataError: As for `train`.
        SplitError: As for `train`, or too few samples for so many folds.
    """
    if bool(seeds) == bool(config.split.folds) or len(set(seeds)) != len(seeds):
        raise UsageError(
            f"a group of runs is made of split.folds (found {config.split.folds}) or of unlike seeds (found "
            f"{list(seeds)}), one of the two"
        )
    group = Run(folder)
    refuse_a_run(group)
    num_devices(config)
    config = with_absolute_paths(config)
    seen = seen_images(config, split_files)
    samples, faults = usable_samples(data, config, track, seen)
    is_given = split_files != NO_FILES
    given = split_samples(samples, config, split_files, track, seen) if is_given or config.sources else None
    data = first_folder(data, config)
    if seeds:
        whole = given or split_samples(samples, config, split_files, track, seen)
        parts = {f"seed-{seed}": whole for seed in seeds}
    else:
        folds = make_folds(samples, config.split, track, given, seen)
        whole = folds.whole
        parts = {f"fold-{number}": part for number, part in enumerate(folds.parts, start=1)}
    group.folder.mkdir(parents=True, exist_ok=True)
    with alone_in(group.folder):
        refuse_a_run(group)  # again: another process may have begun one meanwhile
        _write(group, data, [fault.name for fault in faults], config, whole, parts)
        _train_members(group, data, track, on_epoch, callbacks)
    return group


def resume_group(
    folder: Path,
    data: Path | None = None,
    track: Track = silent,
    on_epoch: OnEpoch = lambda row: None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    devices: int | None = None,
) -> Run:
    """The group, continued where it was stopped; arguments as of `resume`.

    Raises:
        RunError: The folder is no group, or a member's saved state is damaged.
        SplitError: The data no longer match the manifest.
    """
    group = open_run(folder)
    with alone_in(group.folder):
        write_config(group, with_devices(group.config(), devices))
        _train_members(group, data or Path(group.environment().data), track, on_epoch, callbacks)
    return group


def member_config(config: Config, name: str) -> Config:
    """The settings of one member, by the name of its folder: a single run, with a seed of its own."""
    kind, _, number = name.partition("-")
    seed = int(number) if kind == "seed" else config.train.seed + int(number) - 1
    return config.model_copy(
        update={
            "split": config.split.model_copy(update={"folds": 0}),
            "train": config.train.model_copy(update={"seed": seed}),
        }
    )


def _write(
    group: Run, data: Path, skipped: Sequence[str], config: Config, whole: Split, parts: dict[str, Split]
) -> None:
    """All that a resume needs; config.toml last, for it is what makes the folder a run."""
    for name, part in parts.items():
        member = Run(group.folder / name)
        member.folder.mkdir(parents=True, exist_ok=True)
        part.save(member.splits_path)
    whole.save(group.splits_path)
    write_members(group, "folds" if config.split.folds else "seeds", list(parts))
    group.environment_path.unlink(missing_ok=True)  # of a start that was killed before it was a group
    facts = TrainingFacts(
        backend=keras.backend.backend(),
        split_source=whole.source,
        split_digest=whole.digest(),
        members=tuple(parts),
        checkpoint_chosen_by=f"each member's own: best {config.train.monitor} on its validation split",
    )
    add_start(group.environment_path, data, skipped, 0, facts)
    write_config(group, config)


def _train_members(
    group: Run, data: Path, track: Track, on_epoch: OnEpoch, callbacks: Sequence[keras.callbacks.Callback]
) -> None:
    config = group.config()
    for member in group.members():
        state = load_state(member.last_folder)
        if state is not None and state.finished:
            continue
        keras.backend.clear_session()  # the graph of the member before
        if member.config_path.exists():
            resume(member.folder, data, None, track, on_epoch, callbacks, config.train.devices)
        else:
            settings = member_config(config, member.folder.name)
            train(data, member.folder, settings, SplitFiles(member.splits_path), track, on_epoch, callbacks)
