"""Splits: which sample is trained on, which chooses the checkpoint, which is tested on.

Decisions:
- A split is made once and saved (`records/split.py`) with a digest of each file's bytes; data that no longer
  match it are refused.
- Groups (video sequences, patients) and near-duplicates stay on one side. In the official split of
  Kvasir-SEG the 120 are given; only the validation, carved out of the 880, can keep that promise,
  and it takes no near-duplicate of a training image.
- The same samples, config and seed give the same split on every machine: no file order, no hash seed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from polypseg.config import SourceConfig, SplitConfig
from polypseg.data.dividing import by_group, fill_split, join_units
from polypseg.data.duplicates import DecodedImages, near_duplicate_groups
from polypseg.data.official import is_kvasir_seg, official_test_names
from polypseg.data.samples import Sample
from polypseg.data.source_splits import assign_sources
from polypseg.errors import SplitError, listed, plural
from polypseg.progress import Track, silent
from polypseg.records.digests import file_digests
from polypseg.records.split import SPLIT_NAMES, Split, SplitEntry, SplitName


def make_split(
    samples: Sequence[Sample],
    config: SplitConfig,
    track: Track = silent,
    sources: Mapping[str, SourceConfig] = MappingProxyType({}),
    seen: DecodedImages | None = None,
) -> Split:
    """A new split of the samples, as the config asks.

    Args:
        samples: With unique names.
        config: Kind, shares and seed.
        track: Shows the progress of hashing.
        sources: Where the samples come from several folders: the rule of each, by name.
        seen: Images that were decoded before.

    Raises:
        SplitError: Names repeat, there are too few samples, or an official split was asked for
            of a folder that is not Kvasir-SEG.
    """
    ordered = sorted(samples, key=lambda sample: sample.name)
    names = [sample.name for sample in ordered]
    if len(set(names)) != len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise SplitError(f"sample names repeat; expected each once:{listed(repeated)}")
    paths = [s.image_path for s in ordered]
    joined = _near_duplicates(paths, config, track, seen)
    assigned, source = assign_samples(ordered, joined, config, sources)
    return split_of(ordered, assigned, source, config.seed, track)


def assign_samples(
    samples: Sequence[Sample],
    joined: Sequence[Sequence[int]],
    config: SplitConfig,
    sources: Mapping[str, SourceConfig] = MappingProxyType({}),
) -> tuple[Sequence[SplitName | None], str]:
    """The split of each sample, None for one that is left out, and where they come from in words.

    Args:
        samples: With unique names, in order of them.
        joined: As in `assign`.
        config: Kind, shares and seed.
        sources: As in `make_split`.

    Raises:
        SplitError: As `assign`, or as `assign_sources`.
    """
    if any(sample.is_held_out for sample in samples):
        return _around_held_out(samples, joined, config, sources)
    groups = [sample.group for sample in samples]
    if sources:
        units = join_units(len(samples), [*by_group(groups), *joined])
        return assign_sources(samples, units, sources, config)
    return assign([sample.name for sample in samples], groups, joined, config)


def _around_held_out(
    samples: Sequence[Sample],
    joined: Sequence[Sequence[int]],
    config: SplitConfig,
    sources: Mapping[str, SourceConfig],
) -> tuple[Sequence[SplitName | None], str]:
    """As `assign_samples`: what is held out is the test, what must stay with it is left out, the rest is divided."""
    units = join_units(len(samples), [*by_group([sample.group for sample in samples]), *joined])
    apart = {i for unit in units if any(samples[i].is_held_out for i in unit) for i in unit}
    rest = [index for index in range(len(samples)) if index not in apart]
    if not rest:
        raise SplitError(f"all samples ({len(samples)}) are held out; label more frames of other groups")
    place_of = {index: place for place, index in enumerate(rest)}
    inner = [[place_of[i] for i in unit if i in place_of] for unit in units]
    keeping = {sample.source for sample in samples if sample.is_held_out}
    without_test = {
        name: source.model_copy(update={"test": 0.0}) if name in keeping else source for name, source in sources.items()
    }
    found, words = assign_samples(
        [samples[index] for index in rest], inner, config.model_copy(update={"test": 0.0}), without_test
    )
    assigned: list[SplitName | None] = ["test" if sample.is_held_out else None for sample in samples]
    for index, side in zip(rest, found, strict=True):
        assigned[index] = side
    return assigned, f"{words}; test: what the project holds out"


def split_of(
    samples: Sequence[Sample], assigned: Sequence[SplitName | None], source: str, seed: int, track: Track = silent
) -> Split:
    """The manifest of samples whose splits are known; those of None are left out."""
    kept = [(sample, split) for sample, split in zip(samples, assigned, strict=True) if split is not None]
    digests = file_digests([path for s, _ in kept for path in (s.image_path, s.mask_path) if path], track)
    entries = {
        sample.name: SplitEntry(
            split,
            digests[sample.image_path],
            digests[sample.mask_path] if sample.mask_path else None,
            sample.group,
            sample.source,
        )
        for sample, split in kept
    }
    return Split(source, seed, entries)


def assign(
    names: Sequence[str],
    groups: Sequence[str | None],
    joined: Sequence[Sequence[int]],
    config: SplitConfig,
) -> tuple[list[SplitName], str]:
    """The split of each sample, and where it comes from in words.

    Args:
        names: Unique, sorted.
        groups: The group of each sample, None where unknown.
        joined: Places of samples that must stay together besides (near-duplicates).
        config: Kind, shares and seed.

    Raises:
        SplitError: Nothing is left for a split, or an official split was asked for of another data set.
    """
    is_official = is_kvasir_seg(names)
    if config.kind == "official" and not is_official:
        raise SplitError(
            f"split.kind official: these {len(names)} samples are not Kvasir-SEG's 1,000; "
            "use the whole Kvasir-SEG, or --set split.kind=ratio"
        )
    units = join_units(len(names), [*by_group(groups), *joined])
    generator = np.random.default_rng(config.seed)
    if config.kind == "official" or (config.kind == "auto" and is_official):
        source = f"Kvasir-SEG official 880/120, {config.official_validation} of the 880 as validation"
        return _carve_official(names, units, config, generator), source
    source = f"ratio: validation {config.validation:g}, test {config.test:g}"
    return _by_ratio(len(names), units, config, generator), source


def verify_split(split: Split, samples: Sequence[Sample], track: Track = silent) -> None:
    """Nothing, if every file of the manifest still has the bytes that it had.

    Raises:
        SplitError: Samples are missing, or files changed; they are named.
    """
    chosen = [sample for name in SPLIT_NAMES for sample in split.select(samples, name)]
    digests = file_digests([path for s in chosen for path in (s.image_path, s.mask_path) if path], track)
    changed = []
    for sample in chosen:
        entry = split.entries[sample.name]
        if digests[sample.image_path] != entry.image_digest:
            changed.append(sample.image_path)
        if (digests[sample.mask_path] if sample.mask_path else None) != entry.mask_digest:
            changed.append(sample.mask_path or sample.image_path)
    if changed:
        raise SplitError(
            f"{plural(len(changed), 'file is not what it was', 'files are not what they were')} "
            "when the split was made; bring the old files back, "
            f"or start a new run:{listed(changed)}"
        )


def parted_units(
    samples: Sequence[Sample], config: SplitConfig, track: Track = silent, seen: DecodedImages | None = None
) -> list[list[int]]:
    """The places of samples that must stay together: groups and near-duplicates, directly or through a third."""
    joined = _near_duplicates([sample.image_path for sample in samples], config, track, seen)
    return join_units(len(samples), [*by_group([sample.group for sample in samples]), *joined])


def _near_duplicates(
    paths: Sequence[Path], config: SplitConfig, track: Track, seen: DecodedImages | None
) -> list[list[int]]:
    bits = config.near_duplicate_bits
    return near_duplicate_groups(paths, bits, track, seen) if bits >= 0 else []


def _carve_official(
    names: Sequence[str],
    units: list[list[int]],
    config: SplitConfig,
    generator: np.random.Generator,
) -> list[SplitName]:
    test = official_test_names(names)
    assigned: list[SplitName] = ["test" if name in test else "train" for name in names]
    # A near-duplicate of a test image stays in training: moving it into validation would let the test choose.
    free = [unit for unit in units if all(assigned[index] == "train" for index in unit)]
    fill_split(assigned, free, "validation", config.official_validation, generator)
    return assigned


def _by_ratio(
    count: int, units: list[list[int]], config: SplitConfig, generator: np.random.Generator
) -> list[SplitName]:
    assigned: list[SplitName] = ["train"] * count
    free = units
    for split, share in (("test", config.test), ("validation", config.validation)):
        wanted = max(1, round(share * count)) if share else 0
        free = fill_split(assigned, free, split, wanted, generator)  # type: ignore[arg-type]
        if share and split not in assigned:
            raise SplitError(
                f"{plural(count, 'sample')} in {plural(len(units), 'group')} "
                f"that must stay together leave nothing for {split}; "
                "add data, or set other shares"
            )
    if "train" not in assigned:
        raise SplitError(
            f"{plural(count, 'sample')} in {plural(len(units), 'group')} "
            "that must stay together leave nothing to train on"
        )
    return assigned
