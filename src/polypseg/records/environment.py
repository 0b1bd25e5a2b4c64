"""environment.json: where, with what and from which data a run was trained, and each start and resume of it.

The record's own entries tell of the first start, and where the data are now; each start adds what it ran with. What a
newer polypseg has added stays in the file when a start is added.
"""

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ConfigDict, Field

from polypseg.errors import RunError
from polypseg.machine import installed_versions, processor
from polypseg.records.atomic import write_text
from polypseg.records.reading import FileKind, Saved, as_json, read_json

PACKAGES = (
    "polypseg",
    "keras",
    "tensorflow-cpu",
    "tensorflow",
    "jax",
    "torch",
    "numpy",
    "opencv-python-headless",
    "pillow",
)

_KIND = FileKind("run's record", RunError, "put it back from a copy, or start a new run (--name)")


class TrainingFacts(Saved):
    """What a training knows of itself.

    Attributes:
        backend: Of Keras.
        split_source: Where the split comes from, in words.
        split_digest: Of the split manifest.
        sources: Of several folders of data: by source and split, the number of images.
        num_parameters: Of the model; None for a group.
        checkpoint_chosen_by: In words.
        members: Of a group: the names of its runs.
        start_digest: Of the model whose weights it started from.
        teacher_digest: Of the models that taught it.
    """

    model_config = ConfigDict(extra="allow")

    backend: str = ""
    split_source: str = ""
    split_digest: str = ""
    sources: dict[str, dict[str, int]] | None = None
    num_parameters: int | None = None
    checkpoint_chosen_by: str = "unknown"
    members: tuple[str, ...] = ()
    start_digest: str | None = None
    teacher_digest: str | None = None


class _Surroundings(TrainingFacts):
    """What a start ran with.

    Attributes:
        data: The folder of images and masks.
        skipped: Files that could not be used.
        command: What the user typed.
        python: Version.
        platform: Of the machine.
        processor: In words.
        cores: Number.
        packages: Version by name.
    """

    data: str
    skipped: tuple[str, ...] = ()
    command: str = ""
    python: str = ""
    platform: str = ""
    processor: str = ""
    cores: int | None = None
    packages: dict[str, str] = Field(default_factory=dict)


class Start(_Surroundings):
    """A start or a resume.

    Attributes:
        time: When.
        first_epoch: From 1.
    """

    time: str
    first_epoch: int


class Environment(_Surroundings):
    """What environment.json holds.

    Attributes:
        starts: The first one first.
    """

    starts: tuple[Start, ...] = ()


def read_environment(path: Path) -> Environment:
    """The record of a file.

    Raises:
        RunError: It is missing or damaged.
    """
    return read_json(path, Environment, _KIND)


def add_start(path: Path, data: Path, skipped: Sequence[str], first_epoch: int, facts: TrainingFacts) -> None:
    """Write the record of a first start, or add this start to the one that is there."""
    start = Start(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        first_epoch=first_epoch + 1,
        data=str(data.resolve()),
        skipped=tuple(skipped),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        python=platform.python_version(),
        platform=platform.platform(),
        processor=processor(),
        cores=os.cpu_count(),
        packages=installed_versions(PACKAGES),
        **facts.stated(),
    )
    if path.exists():
        record = read_environment(path)
        record = record.model_copy(update={"data": start.data, "starts": (*record.starts, start)})
    else:
        first = {key: value for key, value in start.stated().items() if key not in ("time", "first_epoch")}
        record = Environment(**first, starts=(start,))
    write_text(path, as_json(record))
