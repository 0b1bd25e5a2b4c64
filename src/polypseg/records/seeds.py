"""seeds.json: the figures of several runs that differ in their seed, each and all together."""

from pathlib import Path

from polypseg.records.atomic import write_text
from polypseg.records.reading import Number, Saved, as_json

NAME = "seeds.json"


class OverSeeds(Saved):
    """A figure over runs.

    Attributes:
        mean: Over the runs.
        low: Lower end of its 95 % interval by Student's t; None for a single run.
        high: Upper end.
        deviation: Standard deviation of a run (n - 1); None for a single run.
    """

    mean: Number
    low: Number
    high: Number
    deviation: Number


class SeedFigures(Saved):
    """What seeds.json holds.

    Attributes:
        split: That was scored.
        num_runs: How many.
        runs: By run, its mean Dice and IoU.
        dice: Over the runs.
        iou: Over the runs.
    """

    split: str
    num_runs: int
    runs: dict[str, dict[str, Number]]
    dice: OverSeeds
    iou: OverSeeds


def save_seed_figures(folder: Path, figures: SeedFigures) -> Path:
    """The path, once it is written in the folder of the group."""
    write_text(folder / NAME, as_json(figures))
    return folder / NAME
