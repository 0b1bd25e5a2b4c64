"""Splits of several sources at once: each follows its own rule, and nothing leaks from one into another.

Decisions:
- What must stay together (a group, near-duplicates) may span sources. An official split decides first, then sources
  that train as a whole, then those that are divided by ratio, in their order.
- A near-duplicate of an official test image in another source is left out: it must neither be trained on nor change
  the test. Within the official source itself it stays where the owners put it, as everybody's figures have it.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from polypseg.config import SourceConfig, SplitConfig
from polypseg.data.dividing import fill_split
from polypseg.data.official import is_kvasir_seg, official_test_names
from polypseg.data.samples import Sample
from polypseg.data.sources import own_name
from polypseg.errors import SplitError
from polypseg.records.split import SplitName

Assigned = list[SplitName | None]
"""The split of each sample; None for one that is left out or has none yet."""


def assign_sources(
    samples: Sequence[Sample], units: list[list[int]], sources: Mapping[str, SourceConfig], config: SplitConfig
) -> tuple[Assigned, str]:
    """The split of each sample, None for one that is left out, and where they come from in words.

    Args:
        samples: In order of their names, each with its source.
        units: Places of samples that must stay together; each place in one of them.
        sources: By name, with their rules.
        config: Shares where a source has none of its own, and the seed.

    Raises:
        SplitError: An official split was asked for of another data set, or nothing is left for a split.
    """
    assigned: Assigned = [None] * len(samples)
    places = {name: [i for i, sample in enumerate(samples) if sample.source == name] for name in sources}
    rules = {
        name: _rule(name, source, [own_name(samples[i]) for i in places[name]]) for name, source in sources.items()
    }
    generator = np.random.default_rng(config.seed)
    words = []
    for name in sorted(sources, key=lambda each: ("official", "train", "ratio").index(rules[each])):
        if rules[name] == "official":
            _official(assigned, samples, places[name], units, config.official_validation, generator)
            words.append(f"{name}: official 880/120, {config.official_validation} of the 880 as validation")
        elif rules[name] == "train":
            _fill_rest(assigned, places[name], units)
            words.append(f"{name}: all of it trains")
        else:
            shares = _shares(sources[name], config)
            _ratio(assigned, places[name], units, shares, generator)
            words.append(f"{name}: ratio, validation {shares[0]:g}, test {shares[1]:g}")
    num_left_out = assigned.count(None)
    words += [f"{num_left_out} near-duplicates of official test images left out"] if num_left_out else []
    for split in ("train", "validation"):
        if split not in assigned:
            raise SplitError(f"the sources leave nothing for {split}; set other shares, or another source's split")
    return assigned, "; ".join(words)


def _rule(name: str, source: SourceConfig, names: Sequence[str]) -> str:
    is_official = is_kvasir_seg(names)
    if source.split == "official" and not is_official:
        raise SplitError(
            f"sources.{name}.split official: these {len(names)} samples are not Kvasir-SEG's 1,000; use the whole "
            f"Kvasir-SEG, or --set sources.{name}.split=ratio"
        )
    if source.split == "auto":
        return "official" if is_official else "ratio"
    return source.split


def _shares(source: SourceConfig, config: SplitConfig) -> tuple[float, float]:
    validation = config.validation if source.validation is None else source.validation
    test = config.test if source.test is None else source.test
    if validation + test >= 1:
        raise SplitError(f"validation {validation:g} + test {test:g} of a source leave nothing to train on")
    return validation, test


def _official(
    assigned: Assigned,
    samples: Sequence[Sample],
    own: Sequence[int],
    units: list[list[int]],
    num_validation: int,
    generator: np.random.Generator,
) -> None:
    test = official_test_names([own_name(samples[i]) for i in own])
    mine = set(own)
    for i in own:
        assigned[i] = "test" if own_name(samples[i]) in test else "train"
    inner = [[i for i in unit if i in mine] for unit in units]
    free = [unit for unit in inner if unit and all(assigned[i] == "train" for i in unit)]
    fill_split(assigned, free, "validation", num_validation, generator)
    for unit, members in zip(units, inner, strict=True):
        sides = {assigned[i] for i in members}
        for i in set(unit) - mine:
            if sides and "test" not in sides:
                assigned[i] = "validation" if "validation" in sides else "train"
    _keep_out(assigned, units, inner)


def _keep_out(assigned: Assigned, units: list[list[int]], inner: list[list[int]]) -> None:
    """Take what looks like an official test image out of the units, so that no later source is given it."""
    for unit, members in zip(units, inner, strict=True):
        if any(assigned[i] == "test" for i in members):
            unit[:] = members


def _fill_rest(assigned: Assigned, own: Sequence[int], units: list[list[int]]) -> None:
    """All of a source trains, with what must stay with it; what a side was decided for stays there."""
    mine = set(own)
    for unit in units:
        if mine & set(unit):
            decided: SplitName = next((side for i in unit if (side := assigned[i]) is not None), "train")
            for i in unit:
                assigned[i] = assigned[i] or decided


def _ratio(
    assigned: Assigned,
    own: Sequence[int],
    units: list[list[int]],
    shares: tuple[float, float],
    generator: np.random.Generator,
) -> None:
    mine = set(own)
    free = []
    for unit in units:
        if mine & set(unit):
            decided = next((assigned[i] for i in unit if assigned[i] is not None), None)
            if decided is None:
                free.append(unit)
            for i in unit:
                assigned[i] = assigned[i] or decided
    wanted: tuple[tuple[SplitName, float], ...] = (("test", shares[1]), ("validation", shares[0]))
    for split, share in wanted:
        free = fill_split(assigned, free, split, max(1, round(share * len(own))) if share else 0, generator)
    for unit in free:
        for i in unit:
            assigned[i] = "train"
