"""The samples of a training: found, checked and split, from one folder or from several sources."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from polypseg.config import Config, DataConfig
from polypseg.data.catalogue import find_samples
from polypseg.data.duplicates import DecodedImages
from polypseg.data.masks import inverted, rule_of, set_faults
from polypseg.data.named_splits import SplitFiles, split_by_names
from polypseg.data.samples import Fault, MaskFacts, Sample, check_samples, refuse
from polypseg.data.sources import draws, find_source_samples
from polypseg.data.splits import make_split, verify_split
from polypseg.errors import DataError, PolypsegWarning, UsageError, listed, plural
from polypseg.progress import Track, silent
from polypseg.records.run import Run
from polypseg.records.split import SPLIT_NAMES, Split, load_split


class PartedGroupsWarning(PolypsegWarning):
    """A user's own split parts groups or near-duplicates; the message lists them."""


def usable_samples(
    data: Path | None, config: Config, track: Track = silent, seen: DecodedImages | None = None
) -> tuple[list[Sample], list[Fault]]:
    """The samples of a folder, or of the config's sources, each checked by decoding it, and what was left out.

    Args:
        data: The folder; None for the sources.
        config: The settings.
        track: Shows progress.
        seen: Takes the images' fingerprints, for `split_samples`.

    Raises:
        DataError: Something cannot be used and `data.skip_bad` is False, or nothing is left; or the masks of a source
            as a whole are no references (`data/masks.py`).
        UsageError: Neither a folder nor sources are named.
    """
    samples, faults = _find(data, config)
    skip_bad = config.data.skip_bad
    refuse(faults, skip_bad)
    usable, bad, facts = check_samples(samples, track, see=seen.see if seen else None)
    refuse(bad, skip_bad)
    doubtful = _judge_masks(usable, facts, config.data)
    refuse(doubtful, skip_bad)
    left_out = {fault.name for fault in doubtful}
    usable = [sample for sample in usable if sample.name not in left_out]
    if not usable:
        raise DataError(f"{data or ', '.join(config.sources)}: no usable sample is left")
    return usable, faults + bad + doubtful


def _judge_masks(samples: Sequence[Sample], facts: Sequence[MaskFacts], config: DataConfig) -> list[Fault]:
    """The masks that look inverted.

    Raises:
        DataError: The masks of a source as a whole are no references.
    """
    source_of = {sample.name: sample.source for sample in samples}
    rule = rule_of(config)
    doubtful: list[Fault] = []
    for source in dict.fromkeys(source_of.values()):
        found = [fact for fact in facts if source_of.get(fact.name) == source]
        problems = set_faults(found, rule, config.empty_masks)
        if problems:
            raise DataError(f"{source}: {problems[0]}" if source else problems[0])
        doubtful += inverted(found, rule)
    return doubtful


def split_samples(
    samples: Sequence[Sample],
    config: Config,
    files: SplitFiles,
    track: Track = silent,
    seen: DecodedImages | None = None,
) -> Split:
    """The split of a new training: a given one, or one that the config makes.

    Raises:
        SplitError: A given one does not fit the samples, or none can be made.
    """
    if files.has_names:
        split, parted = split_by_names(samples, files, config.split, track, seen)
        if parted:
            warnings.warn(
                f"{plural(len(parted), 'group or near-duplicate lies', 'groups or near-duplicates lie')} "
                f"in several of your splits:{listed(parted)}",
                PartedGroupsWarning,
                stacklevel=2,
            )
        return split
    if files.manifest is None:
        return make_split(samples, config.split, track, config.sources, seen)
    split = load_split(files.manifest)
    verify_split(split, samples, track)
    return split


def seen_images(config: Config, files: SplitFiles) -> DecodedImages | None:
    """Takes the fingerprints that a new split will look for; None where it looks for none."""
    return DecodedImages() if config.split.near_duplicate_bits >= 0 and files.manifest is None else None


def training_draws(samples: Sequence[Sample], split: Split, config: Config) -> tuple[float, ...]:
    """How often an epoch shows each training sample, in the order of the split; empty for once each."""
    return draws(split.select(samples, "train"), config.sources, config.data) if config.sources else ()


def source_counts(split: Split) -> dict[str, dict[str, int]]:
    """How many samples of each source are in each split; empty where there is one folder."""
    counts = Counter((entry.source, entry.split) for entry in split.entries.values() if entry.source is not None)
    names = dict.fromkeys(name for name, _ in sorted(counts))
    return {str(name): {side: counts[name, side] for side in SPLIT_NAMES} for name in names}


def first_folder(data: Path | None, config: Config) -> Path:
    """The folder that stands for the data in a run's record."""
    paths: Mapping[str, str | None] = {name: source.path for name, source in config.sources.items()}
    return data or Path(next((path for path in paths.values() if path), "."))


def _find(data: Path | None, config: Config) -> tuple[list[Sample], list[Fault]]:
    if config.sources:
        return find_source_samples(config.sources, rule_of(config.data))
    if data is None:
        raise UsageError("no data are named: a folder of images and masks, or sources in the config")
    return find_samples(data, rule=rule_of(config.data))


def run_samples(run: Run, data: Path | None = None) -> tuple[list[Sample], list[Fault]]:
    """The samples that a run was trained on, and the files that do not pair.

    Args:
        run: The run.
        data: Where they are now: the folder, or, of a run with several sources, the folder that holds theirs; None for
            where they were.

    Raises:
        PairingError: A folder is gone, or no data set.
    """
    config = run.config()
    sources, rule = config.sources, rule_of(config.data)
    if not sources:
        return find_samples(data or Path(run.environment().data), rule=rule)
    if data is not None:
        sources = {
            name: source.model_copy(update={"path": str(data / Path(source.path or name).name)})
            for name, source in sources.items()
        }
    return find_source_samples(sources, rule)
