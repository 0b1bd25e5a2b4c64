"""What there is to know about data before a model is trained on them, and the leak audit.

Decisions:
- Every file is decoded once; nothing is changed, and nothing stops the inspection: what cannot be used is a finding.
- A leak is a pair of near-duplicates (`duplicates`) or a group on two sides: of a split, or of two data sets.
- Kvasir-SEG without a manifest is audited against its official 880/120.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polypseg.data.duplicates import HASH_BITS, SimilarPair, similar_pairs
from polypseg.data.fingerprints import Fingerprint, fingerprint
from polypseg.data.group_table import sizes_in_words
from polypseg.data.known_splits import known_splits
from polypseg.data.layouts import recognise
from polypseg.data.masks import inverted, set_faults
from polypseg.data.planned_split import PlannedSplit, plan_split
from polypseg.data.samples import Fault, MaskFacts, Sample, mask_facts
from polypseg.data.sources import refuse_twice, samples_of_source
from polypseg.errors import DataError
from polypseg.preprocess import AUTOMATIC, MaskRule, header_note, read_noted
from polypseg.progress import Track, silent
from polypseg.records.data_check import DataCheck, NearDuplicate
from polypseg.records.evaluation_record import LeftOutImage
from polypseg.records.split import Split

AREA_BOUNDS = (0.01, 0.05, 0.1, 0.2, 0.4)
"""Between the classes of polyp area, as shares of the image."""


@dataclass(frozen=True)
class Inspected:
    """One sample, as it was found.

    Attributes:
        sample: The sample.
        source: The folder that was named, its last part.
        split: train, validation or test; None where no split is known.
        size: Height and width of the image in pixels; None where it cannot be read.
        polyp_share: Area of the polyp over that of the image, 0 to 1; None where the mask cannot be used.
        is_soft: Whether the mask has other values than 0 and 255 (as JPEG masks do).
        fault: Why it cannot be trained on; None where it can.
        notes: What a user should know of its files; mostly empty.
        facts: What its mask says of the set; None where there is none, or it cannot be used.
    """

    sample: Sample
    source: str
    split: str | None
    size: tuple[int, int] | None
    polyp_share: float | None
    is_soft: bool
    fault: str | None
    notes: tuple[str, ...] = ()
    facts: MaskFacts | None = None


class Leak(NamedTuple):
    """Two samples that show the same, and where they lie to one another.

    Attributes:
        first: One sample.
        second: The other.
        pair: How alike they are; its places count the usable samples.
        where: across splits, across data sets, within one group, within train (validation, test), or within the
            data set.
    """

    first: Inspected
    second: Inspected
    pair: SimilarPair
    where: str

    @property
    def crosses(self) -> bool:
        """Whether a model may have seen in training what it is tested on."""
        return self.where.startswith("across")


@dataclass(frozen=True)
class CheckFindings:
    """What `inspect` found.

    Attributes:
        samples: Every pair of image and mask, in order.
        unpaired: Files that belong to no sample.
        leaks: Near-duplicates, those that cross a border first, the most alike first.
        split_groups: Groups that have samples in several splits, with the splits.
        strangers: Samples of the split manifest that are not in the data, or that have changed since.
        sets: What keeps the masks of a whole data set from being references.
        notes: What a user should know besides, a line each.
        planned: The sizes of the splits by source, of several folders without a manifest.
    """

    samples: tuple[Inspected, ...]
    unpaired: tuple[Fault, ...]
    leaks: tuple[Leak, ...]
    split_groups: Mapping[str, tuple[str, ...]]
    strangers: tuple[Fault, ...]
    sets: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    planned: PlannedSplit | None = None

    @property
    def faults(self) -> list[Fault]:
        """Everything that would stop a training."""
        unusable = [Fault(f"{s.source}/{s.sample.name}", s.fault) for s in self.samples if s.fault is not None]
        return [*self.sets, *self.unpaired, *unusable, *self.strangers]

    @property
    def empty(self) -> list[str]:
        """The names of samples without a polyp."""
        return [found.sample.name for found in self.samples if found.polyp_share == 0]

    def sizes(self) -> Counter[tuple[int, int]]:
        """How many images there are of each height and width."""
        return Counter(found.size for found in self.samples if found.size is not None)

    def areas(self) -> list[tuple[str, int]]:
        """How many polyps are of each class of area, in per cent of the image; frames without one left out."""
        shares = [found.polyp_share for found in self.samples if found.polyp_share]
        counts = np.bincount(np.searchsorted(AREA_BOUNDS, shares, side="right"), minlength=len(AREA_BOUNDS) + 1)
        edges = ["0", *(f"{100 * bound:g}" for bound in AREA_BOUNDS), "100"]
        labels = [f"{low} to {high} %" for low, high in pairwise(edges)]
        return list(zip(labels, counts.tolist(), strict=True))

    def polyp_values(self) -> dict[str, int]:
        """How many masks mean polyp by each value or colour, the most frequent first."""
        return dict(Counter(s.facts.polyp for s in self.samples if s.facts and s.facts.polyp).most_common())

    def record(self) -> DataCheck:
        """All of it as it is saved."""
        planned = {"planned_split": self.planned.record()} if self.planned else {}
        return DataCheck(
            num_samples=len(self.samples),
            splits=dict(Counter(found.split for found in self.samples if found.split)),
            sizes={f"{height}x{width}": n for (height, width), n in sorted(self.sizes().items())},
            polyp_areas=dict(self.areas()),
            without_polyp=tuple(self.empty),
            soft_masks=sum(found.is_soft for found in self.samples),
            polyp_values=self.polyp_values(),
            notes=self.notes,
            faults=tuple(LeftOutImage(**fault._asdict()) for fault in self.faults),
            near_duplicates=tuple(_leak_record(leak) for leak in self.leaks),
            groups_in_several_splits=dict(self.split_groups),
        ).model_copy(update=planned)


def inspect(
    folders: Sequence[Path],
    split: Split | None = None,
    empty_masks: bool = False,
    bits: int = HASH_BITS,
    track: Track = silent,
    rule: MaskRule = AUTOMATIC,
    negatives: Sequence[Path] = (),
) -> CheckFindings:
    """What there is to know about one or several data sets.

    Args:
        folders: As `find_samples` takes them; several are audited against one another.
        split: A manifest that tells which sample is in which split.
        empty_masks: As in `find_samples`; and no mask need hold a polyp.
        bits: As in `similar_pairs`; -1 looks for no near-duplicates.
        track: Shows progress.
        rule: What means polyp in the mask files.
        negatives: More data sets, of frames without a polyp and without masks.

    Raises:
        PairingError: A folder is no data set, or one of `negatives` holds masks.
        UsageError: A folder is named twice.
    """
    every = [*folders, *negatives]
    refuse_twice(every)
    samples: list[tuple[Sample, str]] = []
    unpaired: list[Fault] = []
    notes: list[str] = []
    for place, (folder, source) in enumerate(zip(every, _source_names(every), strict=True)):
        found, faults = samples_of_source(folder, place >= len(folders), rule, empty_masks)
        notes += _group_notes(folder, found)
        samples += [(sample, source) for sample in found]
        unpaired += faults
    splits, strangers = known_splits(samples, split, dict(zip(_source_names(every), every, strict=True)))
    inspected: list[Inspected] = []
    prints: list[Fingerprint | None] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(_inspect_sample, samples, splits)
        for result, fingerprint_ in track(results, "inspecting samples", len(samples)):
            inspected.append(result)
            prints.append(fingerprint_)
    inspected, sets = _judge_sets(inspected, rule, empty_masks)
    notes += [note for found in inspected for note in found.notes]
    leaks = _leaks(inspected, prints, bits, track) if bits >= 0 else []
    found_groups = _split_groups(inspected)
    planned = _planned(folders, negatives, inspected, leaks) if split is None and len(every) > 1 else None
    return CheckFindings(
        *(tuple(inspected), tuple(unpaired), tuple(leaks), found_groups, tuple(strangers), tuple(sets), tuple(notes)),
        planned,
    )


def _inspect_sample(given: tuple[Sample, str], split: str | None) -> tuple[Inspected, Fingerprint | None]:
    sample, source = given
    found = Inspected(sample, source, split, None, None, False, None)
    print_ = None
    try:
        image, note = read_noted(sample.image_path)
        mask_note = header_note(sample.mask_path) if sample.mask_path is not None else ""
        size = image.shape[0], image.shape[1]
        found = replace(found, size=size, notes=tuple(filter(None, (note, mask_note))))
        print_ = fingerprint(image)
        if sample.mask_path is None:
            return replace(found, polyp_share=0.0), print_
        mask, facts = mask_facts(sample)
        if mask.shape != size:
            unlike = f"the image is {size[0]}x{size[1]} (height x width), its mask {mask.shape[0]}x{mask.shape[1]}"
            return replace(found, fault=unlike), print_
        return replace(found, polyp_share=facts.share, is_soft=facts.is_soft, facts=facts), print_
    except DataError as error:
        return replace(found, fault=str(error)), print_


def _judge_sets(
    inspected: Sequence[Inspected], rule: MaskRule, empty_masks: bool
) -> tuple[list[Inspected], list[Fault]]:
    """The samples, those with faults that only the whole set shows among them, and the faults of whole sets."""
    sets: list[Fault] = []
    doubtful: dict[tuple[str, str], str] = {}
    for source in dict.fromkeys(found.source for found in inspected):
        facts = [found.facts for found in inspected if found.source == source and found.facts is not None]
        problems = set_faults(facts, rule, empty_masks)
        sets += [Fault(source, problem) for problem in problems]
        if not any("look inverted" in problem for problem in problems):
            doubtful |= {(source, fault.name): fault.reason for fault in inverted(facts, rule)}
    judged = [replace(s, fault=s.fault or doubtful.get((s.source, s.sample.name))) for s in inspected]
    return judged, sets


def _group_notes(folder: Path, samples: Sequence[Sample]) -> list[str]:
    """Where the groups of a data set are from, and how many of which size they are."""
    sources = dict.fromkeys(part.table.source for part in recognise(folder).parts if part.table.source)
    groups = [sample.group for sample in samples if sample.group is not None]
    return [f"{sizes_in_words(groups)}; from {'; '.join(sources)}"] if sources and groups else []


def _planned(
    folders: Sequence[Path], negatives: Sequence[Path], inspected: Sequence[Inspected], leaks: Sequence[Leak]
) -> PlannedSplit:
    """The split that a training would make of what can be used."""
    every = [*folders, *negatives]
    by_source = dict(zip(_source_names(every), every, strict=True))
    usable: dict[Path, list[Sample]] = {folder: [] for folder in every}
    for found in inspected:
        if found.fault is None:
            usable[by_source[found.source]].append(found.sample)
    alike = [(a.sample, b.sample) for a, b, *_ in leaks if a.fault is None and b.fault is None]
    return plan_split(folders, negatives, usable, alike)


def _leaks(inspected: Sequence[Inspected], prints: Sequence[Fingerprint | None], bits: int, track: Track) -> list[Leak]:
    usable = [(found, print_) for found, print_ in zip(inspected, prints, strict=True) if print_ is not None]
    pairs = similar_pairs([print_ for _, print_ in usable], bits, track)
    leaks = [
        Leak(first, second, pair, _where(first, second))
        for pair in pairs
        for first, second in [(usable[pair.first][0], usable[pair.second][0])]
    ]
    return sorted(leaks, key=lambda leak: (not leak.crosses, -leak.pair.similarity, leak.pair))


def _where(first: Inspected, second: Inspected) -> str:
    if first.split is not None and second.split is not None and first.split != second.split:
        return "across splits"
    if first.source != second.source:
        return "across data sets"
    if first.sample.group is not None and first.sample.group == second.sample.group:
        return "within one group"
    return f"within {first.split}" if first.split and second.split else "within the data set"


def _split_groups(inspected: Sequence[Inspected]) -> dict[str, tuple[str, ...]]:
    splits: dict[str, set[str]] = {}
    for found in inspected:
        if found.sample.group is not None and found.split is not None:
            splits.setdefault(f"{found.source}/{found.sample.group}", set()).add(found.split)
    return {group: tuple(sorted(names)) for group, names in splits.items() if len(names) > 1}


def _source_names(folders: Sequence[Path]) -> list[str]:
    """The last part of each folder's path; the whole path where two would be the same."""
    names = [folder.resolve().name for folder in folders]
    return [name if names.count(name) == 1 else str(folder) for name, folder in zip(names, folders, strict=True)]


def _leak_record(leak: Leak) -> NearDuplicate:
    return NearDuplicate(
        where=leak.where,
        first=str(leak.first.sample.image_path),
        first_split=leak.first.split,
        second=str(leak.second.sample.image_path),
        second_split=leak.second.split,
        similarity=leak.pair.similarity,
        orientation=leak.pair.orientation,
        is_identical=leak.pair.is_identical,
    )
