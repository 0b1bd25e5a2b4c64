"""Cross-validation: all but the test split, shared out so that each sample is validated on exactly once.

Decisions:
- The test split is that of the single split of the same config; no fold trains or validates on it.
- Groups and near-duplicates share a fold. What is near a test image trains in
  every fold and validates in none.
- The same samples, config and seed give the same folds on every machine.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from polypseg.config import SplitConfig
from polypseg.data.duplicates import DecodedImages
from polypseg.data.samples import Sample
from polypseg.data.splits import make_split, parted_units
from polypseg.errors import SplitError, plural
from polypseg.progress import Track, silent
from polypseg.records.split import Split, SplitName


class Folds(NamedTuple):
    """A cross-validation.

    Attributes:
        whole: Train and test alone: what the folds together have seen.
        parts: The split of each fold: its validation, and all else but the test split as train.
    """

    whole: Split
    parts: list[Split]


def make_folds(
    samples: Sequence[Sample],
    config: SplitConfig,
    track: Track = silent,
    manifest: Split | None = None,
    seen: DecodedImages | None = None,
) -> Folds:
    """The folds of the samples, as many as the config asks.

    Args:
        samples: With unique names.
        config: Kind and share of the test split, number of folds, seed.
        track: Shows the progress of hashing.
        manifest: A split whose test samples are the test split, instead of a new one.
        seen: Images that were decoded before.

    Raises:
        SplitError: There are fewer groups that must stay together than folds, or as of `make_split`.
    """
    base = manifest or make_split(samples, config, track, seen=seen)
    chosen = sorted((sample for sample in samples if sample.name in base.entries), key=lambda sample: sample.name)
    names = [sample.name for sample in chosen]
    is_test = [base.entries[name].split == "test" for name in names]
    units = parted_units(chosen, config, track, seen)
    free = [unit for unit in units if not any(is_test[index] for index in unit)]
    fold_of = _share_out(free, config)
    source = f"{base.source}; {config.folds} folds of all but the test split"

    def split(number: int, described: str) -> Split:
        kinds: dict[str, SplitName] = {
            name: "test" if tested else ("validation" if fold_of.get(index) == number else "train")
            for index, (name, tested) in enumerate(zip(names, is_test, strict=True))
        }
        entries = {name: replace(base.entries[name], split=kinds[name]) for name in names}
        return Split(described, config.seed, entries)

    parts = [split(number, f"{source}, fold {number}") for number in range(1, config.folds + 1)]
    return Folds(split(0, source), parts)


def _share_out(units: list[list[int]], config: SplitConfig) -> dict[int, int]:
    """The fold (from 1) of each place: units in a drawn order, the largest first, each to the smallest fold so far.

    Raises:
        SplitError: There are fewer units than folds.
    """
    if len(units) < config.folds:
        raise SplitError(
            f"samples that must stay together form {plural(len(units), 'group')}, too few for {config.folds} folds; "
            "add data, or take fewer folds"
        )
    order = [units[place] for place in np.random.default_rng(config.seed).permutation(len(units))]
    sizes = [0] * config.folds
    found: dict[int, int] = {}
    for unit in sorted(order, key=len, reverse=True):
        fold = int(np.argmin(sizes))
        sizes[fold] += len(unit)
        found |= dict.fromkeys(unit, fold + 1)
    return found
