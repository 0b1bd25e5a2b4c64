"""How a training would split several sources, told before one is started.

Decisions:
- It is the split that `polypseg train --data A --data B … --negatives C` makes without other settings: the same names,
  groups, near-duplicates, rules and seed.
- What would stop that training is told, and is no error: data sets may be compared that are not trained on together.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from polypseg.config import Config
from polypseg.data.samples import Sample
from polypseg.data.sources import as_one, with_folders
from polypseg.data.splits import assign_samples
from polypseg.errors import PolypsegError
from polypseg.records.data_check import PlannedSplitRecord
from polypseg.records.split import SPLIT_NAMES

LEFT_OUT = "left out"
SIDES = (*SPLIT_NAMES, LEFT_OUT)


@dataclass(frozen=True)
class PlannedSplit:
    """The sizes of the splits by source.

    Attributes:
        counts: By source, how many of its images are in each of `SIDES`.
        made_by: The rules, in words.
        refusal: Why the folders cannot be trained on together; empty where they can.
    """

    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    made_by: str = ""
    refusal: str = ""

    def record(self) -> PlannedSplitRecord:
        """As it is saved."""
        if self.refusal:
            return PlannedSplitRecord(refused=self.refusal)
        images = {name: dict(sides) for name, sides in self.counts.items()}
        return PlannedSplitRecord(made_by=self.made_by, images=images)


def plan_split(
    folders: Sequence[Path],
    negatives: Sequence[Path],
    samples: Mapping[Path, Sequence[Sample]],
    alike: Iterable[tuple[Sample, Sample]],
) -> PlannedSplit:
    """The sizes that the splits of a training on all the folders would have.

    Args:
        folders: With images and masks.
        negatives: Of frames without a polyp.
        samples: Of each folder, those that can be used, with the names that they have in it.
        alike: Pairs of near-duplicates among them.
    """
    try:
        sources = with_folders(Config(), folders, negatives).sources
        named = dict(zip(sources, [*folders, *negatives], strict=True))
        renamed = as_one({name: samples[folder] for name, folder in named.items()})
        places = {sample.image_path: place for place, sample in enumerate(renamed)}
        joined = [[places[first.image_path], places[second.image_path]] for first, second in alike]
        assigned, made_by = assign_samples(renamed, joined, Config().split, sources)
    except PolypsegError as error:
        return PlannedSplit(refusal=str(error))
    counts = Counter((sample.source, side or LEFT_OUT) for sample, side in zip(renamed, assigned, strict=True))
    return PlannedSplit({name: {side: counts[name, side] for side in SIDES} for name in sources}, made_by)
