"""A user's own split: lists of names, or a table of names and splits.

Decisions:
- A name is the image's file name without its ending; of several sources `SOURCE_NAME`, or the bare name where only one
  source has it.
- Where names are listed for the training split, images that no list names are left out. Without such a list, all that
  are not listed train.
- Without a list for validation, validation is drawn from the training images as the config says, groups and
  near-duplicates kept together.
- A user's lists are followed even where they part a group; the caller is given the groups that they part.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polypseg.config import SplitConfig
from polypseg.data.dividing import fill_split
from polypseg.data.duplicates import DecodedImages
from polypseg.data.samples import Sample
from polypseg.data.sources import own_name
from polypseg.data.splits import parted_units, split_of
from polypseg.errors import SplitError, listed, plural, unknown_name
from polypseg.progress import Track, silent
from polypseg.records.reading import FileKind, read_names, read_text
from polypseg.records.split import SPLIT_NAMES, Split, SplitName

NAME_COLUMNS = ("name", "image", "file", "frame")

TABLE = FileKind("table of splits", SplitError, "expected a CSV file with the columns name and split")


class SplitFiles(NamedTuple):
    """The files that tell a split, each None where there is none.

    Attributes:
        manifest: A splits.json, or a CSV table with the columns name and split.
        train: Names that are trained on, one a line.
        validation: Names that choose the checkpoint.
        test: Names that are tested on.
    """

    manifest: Path | None = None
    train: Path | None = None
    validation: Path | None = None
    test: Path | None = None

    @property
    def lists(self) -> dict[SplitName, Path]:
        """The lists of names, by the split that they are of."""
        given: tuple[tuple[SplitName, Path | None], ...] = (
            ("train", self.train),
            ("validation", self.validation),
            ("test", self.test),
        )
        return {split: path for split, path in given if path is not None}

    @property
    def has_names(self) -> bool:
        """Whether names tell the split: lists, or a table."""
        return bool(self.lists) or (self.manifest is not None and self.manifest.suffix.lower() == ".csv")

    def names(self) -> dict[SplitName, list[str]]:
        """The names of each split that a list or the table tells.

        Raises:
            SplitError: A file cannot be read, a name repeats, or both lists and a table are given.
        """
        if self.lists and self.manifest is not None:
            raise SplitError("lists of names and a split manifest or table exclude one another; give one of them")
        if self.manifest is not None:
            found = _read_table(self.manifest)
        else:
            found = {split: read_names(path, SplitError) for split, path in self.lists.items()}
        every = [name for names in found.values() for name in names]
        repeated = sorted({name for name in every if every.count(name) > 1}) if len(set(every)) < len(every) else []
        if repeated:
            raise SplitError(
                f"{plural(len(repeated), 'name is', 'names are')} "
                f"listed more than once; expected each once:{listed(repeated)}"
            )
        return found


NO_FILES = SplitFiles()
"""No split is given: the config makes one."""


def split_by_names(
    samples: Sequence[Sample],
    files: SplitFiles,
    config: SplitConfig,
    track: Track = silent,
    seen: DecodedImages | None = None,
) -> tuple[Split, list[str]]:
    """The split that the lists tell, and the groups (and near-duplicates) that they part, a line each.

    Args:
        samples: With unique names.
        files: Whose names are followed.
        config: Share of validation where no list names it, near-duplicates, seed.
        track: Shows progress.
        seen: Images that were decoded before.

    Raises:
        SplitError: A list cannot be read, or names an unknown image; or nothing is left for train or validation.
    """
    ordered = sorted(samples, key=lambda sample: sample.name)
    named = files.names()
    places = _places(ordered, named)
    rest: SplitName | None = None if "train" in named else "train"
    assigned: list[SplitName | None] = [places.get(index, rest) for index in range(len(ordered))]
    units = parted_units(ordered, config, track, seen)
    if "validation" not in named:
        free = [unit for unit in units if all(assigned[index] == "train" for index in unit)]
        wanted = max(1, round(config.validation * sum(map(len, free))))
        fill_split(assigned, free, "validation", wanted, np.random.default_rng(config.seed))
    for split in ("train", "validation"):
        if split not in assigned:
            raise SplitError(f"the lists leave nothing for {split}; list some names for it (--{split}-names)")
    words = ", ".join(f"{split} by {path.name}" for split, path in files.lists.items())
    source = f"names: {words or (files.manifest.name if files.manifest else '')}"
    return split_of(ordered, assigned, source, config.seed, track), _parted(ordered, units, assigned)


def _places(samples: Sequence[Sample], named: Mapping[SplitName, Sequence[str]]) -> dict[int, SplitName]:
    by_name = {sample.name: index for index, sample in enumerate(samples)}
    owners: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        owners.setdefault(own_name(sample), []).append(index)
    found: dict[int, SplitName] = {}
    unknown: list[str] = []
    unclear: list[str] = []
    for split, names in named.items():
        for name in names:
            owned = [by_name[name]] if name in by_name else owners.get(name, [])
            if len(owned) == 1:
                found[owned[0]] = split
            else:
                (unclear if owned else unknown).append(name)
    if unclear:
        raise SplitError(
            f"{plural(len(unclear), 'name is', 'names are')} in several sources; expected SOURCE_NAME:{listed(unclear)}"
        )
    if unknown:
        raise SplitError(
            f"{plural(len(unknown), 'listed name is', 'listed names are')} "
            f"not in the data; was a file renamed?{listed(unknown)}"
        )
    return found


def _parted(samples: Sequence[Sample], units: list[list[int]], assigned: Sequence[SplitName | None]) -> list[str]:
    """A line for each group or set of near-duplicates that lies in several splits."""
    found = []
    for unit in units:
        sides = sorted({str(assigned[index]) for index in unit if assigned[index] is not None})
        if len(sides) > 1:
            names = [samples[index].name for index in unit]
            found.append(f"{', '.join(names[:3])}{' …' if len(names) > 3 else ''} in {' and '.join(sides)}")
    return found


def _read_table(path: Path) -> dict[SplitName, list[str]]:
    text = read_text(path, TABLE)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
        rows = list(reader)
    except csv.Error as error:
        raise TABLE.damaged(path, error) from error
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise TABLE.damaged(path, f"row {number} has more or fewer cells than the first one")
    header = list(rows[0]) if rows else []
    name = next((column for column in header if column and column.lower() in NAME_COLUMNS), None)
    split = next((column for column in header if column and column.lower() == "split"), None)
    if name is None or split is None:
        raise SplitError(
            f"{path}: expected the columns name and split, found {', '.join(map(str, header)) or 'nothing'}"
        )
    found: dict[SplitName, list[str]] = {}
    for row in rows:
        side = next((known for known in SPLIT_NAMES if known == (row[split] or "").strip().lower()), None)
        if side is None:
            raise SplitError(f"{path}: {unknown_name('split', str(row[split]), SPLIT_NAMES)}")
        found.setdefault(side, []).append((row[name] or "").strip())
    return found
