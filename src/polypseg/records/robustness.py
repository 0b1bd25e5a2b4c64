"""corruptions.json: how well a model segments corrupted frames, corruption by corruption."""

from pathlib import Path

from polypseg.errors import ScoreError
from polypseg.records.atomic import write_text
from polypseg.records.reading import FileKind, Saved, read_json

NAME = "corruptions.json"
KIND = FileKind("file of corruption errors", ScoreError, "make it with: polypseg robustness MODEL --data DIR")


class Robustness(Saved):
    """Mean Dice on corrupted frames.

    Attributes:
        title: Of the model.
        version: Of the corruptions.
        num_images: With a polyp.
        images_digest: Of their names, so that no two sets are compared.
        clean: Mean Dice of the frames as they are.
        dice: By corruption, the mean Dice at each strength from 1 on.
        baseline: Title of the model that errors are relative to; empty for none.
        corruption_error: By corruption, the errors summed over strengths, over those of the baseline.
        mean_corruption_error: The mean of these; None without a baseline.
    """

    title: str
    version: int
    num_images: int
    images_digest: str
    clean: float
    dice: dict[str, tuple[float, ...]]
    baseline: str = ""
    corruption_error: dict[str, float] | None = None
    mean_corruption_error: float | None = None

    @property
    def mean_dice(self) -> float:
        """Over all corruptions and strengths."""
        values = [value for strengths in self.dice.values() for value in strengths]
        return sum(values) / len(values)


def read_robustness(path: Path) -> Robustness:
    """The record of a file, or of a folder that holds one.

    Raises:
        ScoreError: It is missing or damaged.
    """
    return read_json(path / NAME if path.is_dir() else path, Robustness, KIND)


def write_robustness(folder: Path, record: Robustness) -> Path:
    """Where it was written."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / NAME, record.model_dump_json(indent=1) + "\n")
    return folder / NAME
