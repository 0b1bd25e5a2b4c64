"""Proof that an exported model is its source: on the values, and on the masks that come of them.

Decisions:
- The finished file is proved, in every engine that is installed, through the engines that users run.
- fp32 must give Keras' probabilities and attention to `LARGEST_DIFFERENCE`, on synthetic frames and on the validation
  images. fp16 and int8 round on purpose: their mean Dice over the validation images, at the images' own sizes and the
  model's threshold, must be that of fp32 to `LARGEST_DICE_CHANGE`.
- fp16 without images to measure Dice on must keep to `LARGEST_HALF_DIFFERENCE`; int8 needs images.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Image
from polypseg.data.samples import Sample
from polypseg.data.synthetic import synthetic_image
from polypseg.errors import ModelError
from polypseg.export.source import Source
from polypseg.metrics.overlap import dice
from polypseg.predict.engines import Engine, Outputs
from polypseg.predict.model_facts import ModelFacts
from polypseg.preprocess import normalise, read_image, read_mask, resize_image, restore, to_mask
from polypseg.progress import Track, silent

LARGEST_DIFFERENCE = 1e-4
LARGEST_HALF_DIFFERENCE = 1e-2
LARGEST_DICE_CHANGE = 0.002
NUM_SYNTHETIC = 8
MOST_COMPARED = 100
"""Validation images whose probabilities are compared at most; Dice is always measured on all."""
_BATCH = 4
"""Images at once, so that the free batch is proved too."""


class Difference(NamedTuple):
    """The largest absolute differences between two engines.

    Attributes:
        probability: Of the probabilities.
        attention: Of the gates' coefficients; 0 where the file has none.
        num_images: Over how many images.
    """

    probability: float
    attention: float
    num_images: int


def installed_engines() -> list[str]:
    """The names of the engines that run an exported model here, the default one first."""
    return [*(["openvino"] if find_spec("openvino") else []), "onnxruntime"]


def synthetic_squares(size: int, count: int = NUM_SYNTHETIC) -> Iterator[Image]:
    """Synthetic frames as the model sees them, (size, size, 3) uint8."""
    for seed in range(count):
        yield resize_image(synthetic_image(np.random.default_rng(seed))[0], (size, size))


def sample_squares(samples: Sequence[Sample], size: int) -> Iterator[Image]:
    """The images of samples as the model sees them, (size, size, 3) uint8, read ahead in threads."""

    def read(sample: Sample) -> Image:
        return resize_image(read_image(sample.image_path), (size, size))

    with ThreadPoolExecutor(2) as pool:
        waiting = iter(samples)
        while chunk := list(islice(waiting, 2 * _BATCH)):
            yield from pool.map(read, chunk)


def differences(
    reference: Engine, engines: Mapping[str, Engine], squares: Iterable[Image], with_attention: bool
) -> dict[str, Difference]:
    """The largest difference of each engine from the reference.

    Args:
        reference: Keras.
        engines: By name.
        squares: Each (size, size, 3) uint8.
        with_attention: Whether the gates' coefficients are compared too.
    """
    found = dict.fromkeys(engines, Difference(0.0, 0.0, 0))
    waiting = iter(squares)
    while chunk := list(islice(waiting, _BATCH)):
        batch = normalise(np.stack(chunk))
        expected = _outputs(reference, batch, with_attention)
        for name, engine in engines.items():
            given, so_far = _outputs(engine, batch, with_attention), found[name]
            probability = _largest(given.probabilities, expected.probabilities)
            attention = max((_largest(given.attention[k], expected.attention[k]) for k in given.attention), default=0.0)
            found[name] = Difference(
                max(so_far.probability, probability), max(so_far.attention, attention), so_far.num_images + len(chunk)
            )
    return found


def check_difference(found: Mapping[str, Difference], limit: float, precision: str) -> float:
    """The largest difference in probability over all engines.

    Raises:
        ModelError: A difference of probability or attention is above the limit.
    """
    for name, difference in found.items():
        for what in ("probability", "attention"):
            if not (value := getattr(difference, what)) <= limit:
                raise ModelError(
                    f"the {precision} export is not its source: in {name} the largest difference in {what} from Keras "
                    f"is {value:.2g} over {difference.num_images} images, at most {limit:.0e} is allowed; nothing was "
                    "written"
                )
    return max(difference.probability for difference in found.values())


@dataclass
class Prover:
    """Proves one file after another against one source.

    Attributes:
        source: The Keras model and its images.
        attention: Whether the files carry the gates' coefficients.
        track: Shows progress.
    """

    source: Source
    attention: bool
    track: Track = silent

    @cached_property
    def reference_dice(self) -> float:
        """The mean Dice of the Keras model over the validation images."""
        return self._dices({"keras": self.source.engine})["keras"]

    def prove(self, engines: Mapping[str, Engine], precision: str) -> dict[str, Any]:
        """The facts that the proof gives: `largest_difference`, `dice_change`, `proved_on`.

        Raises:
            ModelError: The file is not its source.
        """
        validation = self.source.validation
        squares = list(synthetic_squares(self.source.engine.size))
        seen = evenly(validation, MOST_COMPARED)
        images = chain(squares, sample_squares(seen, self.source.engine.size))
        tracked = self.track(images, "comparing probabilities", len(squares) + len(seen))
        found = differences(self.source.engine, engines, tracked, self.attention)
        limit = {"fp32": LARGEST_DIFFERENCE, "fp16": LARGEST_HALF_DIFFERENCE}.get(precision, 1.0)
        largest = check_difference(found, limit if precision == "fp32" or not validation else 1.0, precision)
        proof = {"largest_difference": largest, "dice_change": None}
        if precision != "fp32" and validation:
            proof["dice_change"] = self._check_dice(engines, precision)
        masks = f", Dice on {len(validation)}" if proof["dice_change"] is not None else ""
        kind = "validation" if self.source.run else "named"
        on = f"{NUM_SYNTHETIC} synthetic and {len(seen)} {kind} images{masks}"
        return {**proof, "proved_on": f"{on}, in {' and '.join(engines)}"}

    def _check_dice(self, engines: Mapping[str, Engine], precision: str) -> float:
        changes = {name: value - self.reference_dice for name, value in self._dices(engines).items()}
        name, change = max(changes.items(), key=lambda pair: abs(pair[1]))
        if abs(change) > LARGEST_DICE_CHANGE:
            raise ModelError(
                f"the {precision} export changes the mean Dice over {len(self.source.validation)} validation images "
                f"from {self.reference_dice:.4f} to {self.reference_dice + change:.4f} in {name}; at most "
                f"{LARGEST_DICE_CHANGE} either way is allowed; nothing was written: keep fp32 or fp16"
            )
        return change

    def _dices(self, engines: Mapping[str, Engine]) -> dict[str, float]:
        return mean_dices(engines, self.source.validation, self.source.engine.facts, self.track)


def evenly(samples: Sequence[Sample], most: int) -> list[Sample]:
    """At most so many of the samples, spread evenly over their order.

    >>> evenly(range(10), 3)
    [0, 3, 6]
    """
    count = min(most, len(samples))
    return [samples[index * len(samples) // count] for index in range(count)]


def mean_dices(
    engines: Mapping[str, Engine], samples: Sequence[Sample], facts: ModelFacts, track: Track = silent
) -> dict[str, float]:
    """The mean Dice of each engine over the images with a polyp, at the images' own sizes.

    Args:
        engines: By name, all of one input size.
        samples: With masks.
        facts: Of the source, whose thresholds make the masks.
        track: Shows progress.

    Raises:
        ModelError: No image shows a polyp.
    """
    size = next(iter(engines.values())).size
    sums, count = dict.fromkeys(engines, 0.0), 0
    squares = zip(samples, sample_squares(samples, size), strict=True)
    for sample, square in track(squares, "comparing masks", len(samples)):
        reference = read_mask(sample.mask_path) if sample.mask_path else np.zeros((1, 1), bool)
        if not reference.any():
            continue
        count += 1
        for name, engine in engines.items():
            probability = restore(engine.run(normalise(square[None]))[0, ..., 0], reference.shape)
            sums[name] += dice(to_mask(probability, facts.threshold, facts.seed_threshold), reference)
    if not count:
        raise ModelError("none of the validation images shows a polyp; a Dice to prove the export by needs one")
    return {name: total / count for name, total in sums.items()}


def _outputs(engine: Engine, batch: NDArray[np.float32], with_attention: bool) -> Outputs:
    return engine.run_with_attention(batch) if with_attention else Outputs(engine.run(batch), {})


def _largest(given: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    if given.shape != expected.shape:
        raise ModelError(f"the export gives the shape {given.shape} where its source gives {expected.shape}")
    largest = float(np.abs(given - expected).max())
    return largest if np.isfinite(largest) else np.inf  # of a NaN Python's `max` would take the other one
