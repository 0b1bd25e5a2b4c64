"""The mean Dice of a model file through each engine, and whether a machine reproduces what the file says of itself.

Decisions:
- The masks are those that a user gets: `Predictor.predict_file`, at the image's own size and the file's thresholds.
- A figure is known by its images: the file carries the beginnings of their digests (`records/seen.py`). Whatever folder
  holds them all can be checked, and what else lies there is passed over.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from polypseg.data.catalogue import find_samples
from polypseg.data.samples import Sample
from polypseg.errors import DataError, ModelError
from polypseg.metrics.overlap import dice
from polypseg.predict.engines.engine import Engine
from polypseg.predict.predictor import Predictor
from polypseg.preprocess import read_image, read_mask
from polypseg.progress import Track, silent
from polypseg.records.digests import file_digests
from polypseg.records.model_facts import DiceByEngine, EngineDice, ModelFacts
from polypseg.records.seen import seen_of, unpack

TOLERANCE = 0.002
"""Of the mean Dice: a machine within it reproduces a figure."""


class Checked(NamedTuple):
    """One figure of a file, measured again.

    Attributes:
        name: Of the figure, as `test`.
        num_images: That it is of.
        stated: The mean Dice by engine and instruction set, as the file says.
        found: On this machine.
    """

    name: str
    num_images: int
    stated: Mapping[str, float]
    found: float

    @property
    def change(self) -> float:
        """From the stated value that is furthest away."""
        return max((self.found - value for value in self.stated.values()), key=abs)

    @property
    def is_reproduced(self) -> bool:
        """Whether this machine gives every stated value to the tolerance."""
        return abs(self.change) <= TOLERANCE


def dices_by_engine(
    engines: Mapping[str, Engine], samples: Sequence[Sample], track: Track = silent
) -> dict[str, list[float]]:
    """The Dice of each image that shows a polyp, by engine, as a user gets it.

    Args:
        engines: By name.
        samples: With masks; those whose masks are empty are passed over.
        track: Shows progress.
    """
    predictors = {name: Predictor(engine) for name, engine in engines.items()}
    found: dict[str, list[float]] = {name: [] for name in engines}
    for sample in track(samples, "measuring Dice", len(samples)):
        reference = read_mask(sample.mask_path, sample.mask_rule) if sample.mask_path else None
        if reference is None or not reference.any():
            continue
        image = read_image(sample.image_path)
        for name, predictor in predictors.items():
            found[name].append(dice(predictor.predict(image).mask, reference))
    return found


def figure_of(dices: Mapping[str, Sequence[float]], samples: Sequence[Sample]) -> DiceByEngine:
    """The entry of `ModelFacts.dice_by_engine` of images and what `dices_by_engine` found on them."""
    digests = file_digests([sample.image_path for sample in samples]).values()
    engines = {name: EngineDice(dice=round(fmean(values), 6)) for name, values in dices.items()}
    return DiceByEngine(images=len(next(iter(dices.values()))), engines=engines, digests=seen_of(digests).pack())


def check(engine: Engine, data: Path, track: Track = silent) -> list[Checked]:
    """Each figure of a model's file whose images lie in a folder, measured again.

    Args:
        engine: Of the file.
        data: A folder of images and masks.
        track: Shows progress.

    Raises:
        ModelError: The file states no figures that can be checked.
        DataError: The folder holds the images of none.
    """
    stated = {name: figure for name, figure in engine.facts.dice_by_engine.items() if figure.digests}
    if not stated:
        raise ModelError(f"{engine.facts.name or 'the model'}: its file states no Dice of images that it names")
    samples, _ = find_samples(data)
    checked = list(_checked(engine, stated, samples, track))
    if not checked:
        known = "; ".join(f"{name}: {figure.images} images" for name, figure in stated.items())
        raise DataError(
            f"{data}: lacks images of each figure that the file states ({known}; trained on "
            f"{_words(engine.facts)}); give the folder with the very files"
        )
    return checked


def _checked(
    engine: Engine, stated: Mapping[str, DiceByEngine], samples: Sequence[Sample], track: Track
) -> Iterator[Checked]:
    digests = file_digests([sample.image_path for sample in samples])
    for name, figure in stated.items():
        wanted = unpack(figure.digests)
        own = [sample for sample in samples if digests[sample.image_path] in wanted]
        if len({digests[sample.image_path] for sample in own}) < len(wanted):
            continue
        dices = dices_by_engine({"": engine}, own, track)[""]
        values = {key: value.dice for key, value in figure.engines.items()}
        yield Checked(name, len(dices), values, fmean(dices))


def _words(facts: ModelFacts) -> str:
    return facts.training_data or "unknown data"
