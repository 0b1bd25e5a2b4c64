"""splits.json, the split manifest: which sample is in which split, and a digest of each of its files."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from polypseg.errors import SplitError, UsageError, listed, unknown_name
from polypseg.records.atomic import write_text
from polypseg.records.reading import FileKind, Saved, parse_json, read_text

SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")
FORMAT = 1
KIND = FileKind("split manifest", SplitError, "make one with: polypseg train")


class HasName(Protocol):
    """What a manifest can choose from."""

    @property
    def name(self) -> str:
        """Unique among its like."""


Named = TypeVar("Named", bound=HasName)


@dataclass(frozen=True)
class SplitEntry:
    """One sample of a manifest.

    Attributes:
        split: train, validation or test.
        image_digest: SHA-256 of the image file's bytes, in hex.
        mask_digest: The same of the mask file; None without one.
        group: As in the sample.
        source: Which of several folders of data it is of; None where there was one.
    """

    split: SplitName
    image_digest: str
    mask_digest: str | None
    group: str | None
    source: str | None = None


@dataclass(frozen=True)
class Split:
    """A split manifest.

    Attributes:
        source: Where it comes from, in words.
        seed: The seed that drew it.
        entries: Sample name to its entry, in order of the names.
    """

    source: str
    seed: int
    entries: Mapping[str, SplitEntry]

    def names(self, split: str) -> list[str]:
        """The names of one split's samples, in order.

        Raises:
            UsageError: No such split.
        """
        if split not in SPLIT_NAMES:
            raise UsageError(unknown_name("split", split, SPLIT_NAMES))
        return [name for name, entry in self.entries.items() if entry.split == split]

    def digest(self) -> str:
        """SHA-256 over all names, splits and file digests: two runs with one value saw the same data."""
        lines = [f"{n} {e.split} {e.image_digest} {e.mask_digest}\n" for n, e in sorted(self.entries.items())]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write the manifest as JSON, in one step."""
        entries = {name: _plain(entry) for name, entry in self.entries.items()}
        record = {"format": FORMAT, "source": self.source, "seed": self.seed, "digest": self.digest()}
        write_text(path, json.dumps(record | {"samples": entries}, indent=1) + "\n")

    def select(self, samples: Sequence[Named], split: str) -> list[Named]:
        """The samples of one split, in order of their names.

        Raises:
            SplitError: A sample of the manifest is not among `samples`.
        """
        by_name = {sample.name: sample for sample in samples}
        names = self.names(split)
        missing = [name for name in names if name not in by_name]
        if missing:
            raise SplitError(
                f"{len(missing)} of the {len(names)} {split} samples of the split manifest are not in the data; "
                f"was a file renamed or removed, or is this another folder?{listed(missing)}"
            )
        return [by_name[name] for name in names]


def _plain(entry: SplitEntry) -> dict[str, str | None]:
    """The entry as JSON takes it; without a source there is no word of one, as in older manifests."""
    return {key: value for key, value in asdict(entry).items() if key != "source" or value is not None}


def load_split(path: Path) -> Split:
    """The manifest of a `splits.json`.

    Raises:
        SplitError: The file is missing, damaged, or was changed by hand (its digest does not fit).
    """
    text = read_text(path, KIND)
    version = parse_json(text, _Version, path, KIND).format
    if version != FORMAT:
        raise SplitError(f"{path}: manifest format {version}, expected {FORMAT}; was it written by a newer polypseg?")
    saved = parse_json(text, _SavedSplit, path, KIND)
    split = Split(saved.source, saved.seed, saved.samples)
    if saved.digest != split.digest():
        raise SplitError(f"{path}: the manifest was changed after it was written: its digest does not fit its samples")
    return split


class _Version(Saved):
    format: int


class _SavedSplit(_Version):
    source: str
    seed: int
    digest: str
    samples: dict[str, SplitEntry]
