"""The run folder: what a training leaves behind, and the only place that knows its file names.

config.toml       all settings, defaults included
splits.json       which sample is where, with a digest of each file
environment.json  versions, machine, data folder, what chose the checkpoint, each start and resume
seen_before.json  which images the model had seen whose weights the training began with, where that is known
history.csv       a row an epoch
checkpoints/      best.keras (best on the validation split), last/ (what a resume needs)
figures/          pictures
logs/             TensorBoard

A group of runs (a cross-validation, several seeds) is a folder with the first three and `members.json`, which names the
runs in it: fold-1, fold-2, … or seed-0, seed-1, …
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from polypseg.config import Config, load_run_config
from polypseg.errors import RunError
from polypseg.records.atomic import write_text
from polypseg.records.environment import Environment, read_environment
from polypseg.records.reading import FileKind, Saved, as_json, read_json, read_rows
from polypseg.records.seen import SEEN, SeenImages, seen_of_split, unpack
from polypseg.records.split import Split, load_split
from polypseg.records.training_state import HISTORY_COLUMNS, HistoryRow

_MEND = "put it back from a copy, or start a new run (--name)"


class _Members(Saved):
    members: tuple[str, ...]


class _SeenBefore(Saved):
    images: str


@dataclass(frozen=True)
class Run:
    """A run folder."""

    folder: Path

    @property
    def config_path(self) -> Path:
        """All settings of the run."""
        return self.folder / "config.toml"

    @property
    def splits_path(self) -> Path:
        """The split manifest."""
        return self.folder / "splits.json"

    @property
    def environment_path(self) -> Path:
        """Versions, machine, data folder, starts."""
        return self.folder / "environment.json"

    @property
    def history_path(self) -> Path:
        """A row an epoch."""
        return self.folder / "history.csv"

    @property
    def seen_before_path(self) -> Path:
        """Which images the model had seen that the training began with."""
        return self.folder / "seen_before.json"

    @property
    def members_path(self) -> Path:
        """The runs of a group; a single run has none."""
        return self.folder / "members.json"

    @property
    def best_path(self) -> Path:
        """The model that was best on the validation split."""
        return self.folder / "checkpoints" / "best.keras"

    @property
    def last_folder(self) -> Path:
        """What a resume needs."""
        return self.folder / "checkpoints" / "last"

    @property
    def figures_folder(self) -> Path:
        """Pictures."""
        return self.folder / "figures"

    @property
    def logs_folder(self) -> Path:
        """TensorBoard's logs."""
        return self.folder / "logs"

    def members(self) -> list["Run"]:
        """The runs of a group, in order; empty for a single run.

        Raises:
            RunError: Their list is damaged.
        """
        if not self.members_path.is_file():
            return []
        found = read_json(self.members_path, _Members, FileKind("list of a group's runs", RunError, _MEND))
        return [Run(self.folder / name) for name in found.members]

    def config(self) -> Config:
        """The settings, read from the folder."""
        return load_run_config(self.config_path)

    def split(self) -> Split:
        """The split manifest, read from the folder."""
        return load_split(self.splits_path)

    def seen_before(self) -> SeenImages:
        """The images that the model had seen whose weights the training began with; none where that is not known.

        Raises:
            RunError: The record is damaged.
        """
        if not self.seen_before_path.is_file():
            return SeenImages(frozenset())
        kind = FileKind("record of a start", RunError, _MEND)
        return unpack(read_json(self.seen_before_path, _SeenBefore, kind).images)

    def seen(self, sides: Sequence[str] = SEEN) -> SeenImages:
        """The images that the run has seen, or any member of a group: of these sides of its split, and before it began.

        Args:
            sides: `train`, or those that chose the checkpoint, too.

        Raises:
            RunError: A record is missing or damaged.
        """
        runs = self.members() or [self]
        parts = [part for run in runs for part in (seen_of_split(run.split(), sides), run.seen_before())]
        return SeenImages(frozenset().union(*(part.prefixes for part in parts)))

    def environment(self) -> Environment:
        """The record of versions, machine and data, read from the folder.

        Raises:
            RunError: It is missing or damaged.
        """
        return read_environment(self.environment_path)

    def history(self) -> list[HistoryRow]:
        """The rows of history.csv.

        Raises:
            RunError: It is missing: no epoch was finished yet.
        """
        if not self.history_path.exists():
            raise RunError(f"{self.history_path}: no epoch of this run is finished yet")
        kind = FileKind("history of a training", RunError, "polypseg train --resume writes it again")
        rows = read_rows(self.history_path, HISTORY_COLUMNS[:1], kind)
        try:
            return [{key: float(value) for key, value in row.items() if value} for row in rows]
        except ValueError as error:
            raise kind.damaged(self.history_path, error) from error


def open_run(folder: Path | str) -> Run:
    """The run of an existing folder.

    Raises:
        RunError: There is no such folder, or it is no run.
    """
    run = Run(Path(folder))
    if not run.folder.is_dir():
        raise RunError(f"{folder}: no such run folder; expected what polypseg train wrote, as runs/NAME")
    if run.splits_path.is_file() and not run.config_path.is_file():
        raise RunError(
            f"{folder}: the training was stopped before its first step, there is nothing to go on with; "
            "start it again, without --resume"
        )
    if not run.config_path.is_file():
        raise RunError(f"{folder}: not a run folder (config.toml is missing); expected what polypseg train wrote")
    return run


def write_config(run: Run, config: Config) -> None:
    """Write config.toml; unset values are left out, as TOML has no null."""
    write_text(run.config_path, tomli_w.dumps(config.model_dump(exclude_none=True)))


def write_seen_before(run: Run, seen: SeenImages) -> None:
    """Write seen_before.json, or remove the one of an earlier start where nothing is known."""
    if seen:
        write_text(run.seen_before_path, as_json(_SeenBefore(images=seen.pack())))
    else:
        run.seen_before_path.unlink(missing_ok=True)


def write_members(run: Run, kind: str, names: Sequence[str]) -> None:
    """Write members.json.

    Args:
        run: The group.
        kind: folds or seeds.
        names: Of the members' folders.
    """
    write_text(run.members_path, json.dumps({"kind": kind, "members": list(names)}, indent=1))


def write_history(run: Run, history: Sequence[HistoryRow]) -> None:
    """Write history.csv; its epochs are whole numbers, whether they were counted or come from a saved state."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HISTORY_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "epoch": int(row["epoch"])} for row in history)
    write_text(run.history_path, text.getvalue())
