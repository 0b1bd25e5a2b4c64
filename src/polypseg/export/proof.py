"""Proof that an exported model is its source: on the values, and on the masks that come of them.

Decisions:
- The finished file is proved, in every engine that is installed, through the engines that users run.
- fp32 must give Keras' probabilities and attention to `LARGEST_DIFFERENCE`, on synthetic frames and on the validation
  images. fp16 and int8 round on purpose: their mean Dice over the validation images, at the images' own sizes and the
  model's thresholds, must be that of fp32 to `LARGEST_DICE_CHANGE`, and so must that over the same images as they are
  and perturbed (`data.perturbations`), whose thresholds were chosen there.
- fp16 without images to measure Dice on must keep to `LARGEST_HALF_DIFFERENCE`; int8 needs images.
- Where the processor has newer instructions than AVX2, OpenVINO is asked once more, held back to AVX2. ONNX Runtime
  cannot be held back: there the count of saturating sums is the proof (pair_sums.py).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from statistics import fmean
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Image
from polypseg.data.perturbations import AS_IT_IS, PERTURBATIONS, PLAIN, Perturbation
from polypseg.data.samples import Sample
from polypseg.data.synthetic import synthetic_image
from polypseg.errors import ModelError
from polypseg.export.source import ExportSource
from polypseg.machine import onednn_instruction_set
from polypseg.metrics.overlap import dice
from polypseg.predict.engines.engine import Engine, Outputs
from polypseg.predict.engines.opening import open_engine, with_second_look
from polypseg.predict.engines.restricted import OLDEST, RestrictedEngine, engine_label
from polypseg.predict.mirroring import run_augmented
from polypseg.preprocess import ModelView, model_view, normalise, read_image, read_mask, resize_image, restore, to_mask
from polypseg.progress import Track, silent
from polypseg.records.digests import file_digests
from polypseg.records.model_facts import DiceByEngine, EngineDice, ModelFacts
from polypseg.records.seen import seen_of

T = TypeVar("T")

LARGEST_DIFFERENCE = 1e-4
LARGEST_HALF_DIFFERENCE = 1e-2
LARGEST_DICE_CHANGE = 0.002
NUM_SYNTHETIC = 8
MOST_COMPARED = 100
"""Validation images at most whose probabilities are compared and that are perturbed; unperturbed, all give the Dice."""
APART = 0.05
"""Of Dice: images that change by more are counted."""
_BATCH = 4
"""Images at once, so that the free batch is proved too."""


class Proof(NamedTuple):
    """What a model file says of its proof: the fields of `ModelFacts` of these names."""

    largest_difference: float
    dice_change: float | None
    dice_by_engine: dict[str, DiceByEngine]
    proved_on: str


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


@contextmanager
def proving_engines(path: Path) -> Iterator[dict[str, Engine]]:
    """All that runs an exported model here, by name, on the instruction sets that the machine has."""
    with ExitStack() as stack:
        engines: dict[str, Engine] = {engine_label(name): open_engine(path, name) for name in installed_engines()}
        if "openvino" in installed_engines() and onednn_instruction_set() not in (OLDEST, ""):
            restricted = stack.enter_context(RestrictedEngine(path))
            engines[restricted.name] = with_second_look(restricted, path)
        yield engines


def synthetic_squares(size: int, count: int = NUM_SYNTHETIC) -> Iterator[Image]:
    """Synthetic frames as the model sees them, (size, size, 3) uint8."""
    for seed in range(count):
        yield resize_image(synthetic_image(np.random.default_rng(seed))[0], (size, size))


def sample_squares(samples: Sequence[Sample], facts: ModelFacts) -> Iterator[ModelView]:
    """The images of samples as a model of those facts sees them, read ahead in threads."""

    def read(sample: Sample) -> ModelView:
        return model_view(read_image(sample.image_path), facts.size, facts.field)

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
                    f"the {precision} export is not its source: in {name} the largest difference in {what} from it "
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

    source: ExportSource
    attention: bool
    track: Track = silent

    @cached_property
    def shown(self) -> list[Sample]:
        """The validation images that show a polyp."""
        return [
            s for s in self.source.validation if s.mask_path is not None and read_mask(s.mask_path, s.mask_rule).any()
        ]

    @cached_property
    def reference_dices(self) -> dict[str, list[float]]:
        """The Dice of each image in the source, by perturbation; one that leaves no polyp in any frame is left out.

        Raises:
            ModelError: No validation image shows a polyp.
        """
        if not self.shown:
            raise ModelError("none of the validation images shows a polyp; a Dice to prove the export by needs one")
        found = {name: self._dices({"source": self.source.engine}, name) for name in PERTURBATIONS}
        return {name: dices["source"] for name, dices in found.items() if dices}

    def prove(self, engines: Mapping[str, Engine], precision: str) -> Proof:
        """What the model file says of the proof.

        Raises:
            ModelError: The file is not its source.
        """
        validation = self.source.validation
        squares = list(synthetic_squares(self.source.engine.size))
        compared = evenly(validation, MOST_COMPARED)
        images = chain(squares, (seen.square for seen in sample_squares(compared, self.source.engine.facts)))
        tracked = self.track(images, "comparing probabilities", len(squares) + len(compared))
        found = differences(self.source.engine, engines, tracked, self.attention)
        limit = {"fp32": LARGEST_DIFFERENCE, "fp16": LARGEST_HALF_DIFFERENCE}.get(precision, 1.0)
        largest = check_difference(found, limit if precision == "fp32" or not validation else 1.0, precision)
        change, dices = self._check_dice(engines, precision) if precision != "fp32" and validation else (None, {})
        masks = f", Dice on {self._perturbed_words()}" if change is not None else ""
        kind = "validation" if self.source.run else "named"
        on = f"{NUM_SYNTHETIC} synthetic and {len(compared)} {kind} images{masks}"
        return Proof(largest, change, dices, f"{on}, in {' and '.join(engines)}")

    def _check_dice(self, engines: Mapping[str, Engine], precision: str) -> tuple[float, dict[str, DiceByEngine]]:
        """The change of the mean Dice over the images as they are, in the engine where it is largest, and all means.

        Raises:
            ModelError: It is too large, over the images as they are or over all perturbations.
        """
        plain = self._dices(engines, PLAIN)
        change = _largest_change(
            {name: fmean(dices) for name, dices in plain.items()},
            fmean(self.reference_dices[PLAIN]),
            f"the {precision} export",
            f"{len(self.shown)} validation images",
        )
        found = {PLAIN: plain} | {key: self._dices(engines, key) for key in self.reference_dices if key != PLAIN}
        means = {engine: fmean(fmean(dices[engine]) for dices in found.values()) for engine in engines}
        reference = fmean(fmean(dices) for dices in self.reference_dices.values())
        _largest_change(means, reference, f"the {precision} export", f"validation images ({self._perturbed_words()})")
        seen = seen_of(file_digests([sample.image_path for sample in self.shown]).values()).pack()
        alone = _figures({PLAIN: plain}, self.reference_dices).model_copy(update={"digests": seen})
        figures = {"validation": alone}
        if len(found) > 1:
            figures["validation, perturbed too"] = _figures(found, self.reference_dices)
        return change, figures

    def _perturbed_words(self) -> str:
        """Over how many images the Dice is, and how many of them were perturbed."""
        num_shown, num_perturbed = len(self.shown), min(len(self.shown), MOST_COMPARED)
        some = f", {num_perturbed} of them" if num_perturbed < num_shown else ""
        return f"{num_shown}{some} in {len(self.reference_dices)} perturbations"

    def _dices(self, engines: Mapping[str, Engine], perturbation: str) -> dict[str, list[float]]:
        samples = self.shown if perturbation == PLAIN else evenly(self.shown, MOST_COMPARED)
        return image_dices(engines, samples, self.source.engine.facts, self.track, PERTURBATIONS[perturbation])


def _figures(
    found: Mapping[str, Mapping[str, Sequence[float]]], reference: Mapping[str, Sequence[float]]
) -> DiceByEngine:
    """Of each engine the mean of the means by perturbation, and how many images changed by more than `APART`."""
    engines = {}
    for engine in found[PLAIN]:
        pairs = [(a, b) for key in found for a, b in zip(found[key][engine], reference[key], strict=True)]
        mean = fmean(fmean(found[key][engine]) for key in found)
        engines[engine] = EngineDice(dice=round(mean, 6), apart=sum(abs(a - b) > APART for a, b in pairs))
    source = fmean(fmean(reference[key]) for key in found)
    num_images = sum(len(reference[key]) for key in found)
    return DiceByEngine(images=num_images, source=round(source, 6), engines=engines)


def _largest_change(dices: Mapping[str, float], reference: float, export: str, images: str) -> float:
    """The change of the mean Dice in the engine where it is largest.

    Raises:
        ModelError: It is more than `LARGEST_DICE_CHANGE`, either way.
    """
    name, mean = max(dices.items(), key=lambda pair: abs(pair[1] - reference))
    if abs(mean - reference) > LARGEST_DICE_CHANGE:
        raise ModelError(
            f"{export} changes the mean Dice over {images} from {reference:.4f} to {mean:.4f} in {name}; at most "
            f"{LARGEST_DICE_CHANGE} either way is allowed; nothing was written: keep fp32 or fp16"
        )
    return mean - reference


def evenly(samples: Sequence[T], most: int) -> list[T]:
    """At most so many of the samples, spread evenly over their order.

    >>> evenly(range(10), 3)
    [0, 3, 6]
    """
    count = min(most, len(samples))
    return [samples[index * len(samples) // count] for index in range(count)]


def image_dices(
    engines: Mapping[str, Engine],
    samples: Sequence[Sample],
    facts: ModelFacts,
    track: Track = silent,
    perturbation: Perturbation = AS_IT_IS,
) -> dict[str, list[float]]:
    """By engine the Dice of each image with a polyp, at the images' own sizes; empty where no image shows one.

    Args:
        engines: By name, all of one input size.
        samples: With masks.
        facts: Of the source, whose thresholds make the masks.
        track: Shows progress.
        perturbation: How images and masks are changed first.
    """
    found: dict[str, list[float]] = {name: [] for name in engines}
    views = zip(samples, sample_squares(samples, facts), strict=True)
    for sample, (square, field, _) in track(views, "comparing masks", len(samples)):
        reference = read_mask(sample.mask_path, sample.mask_rule) if sample.mask_path else np.zeros((1, 1), bool)
        changed = perturbation.mask(field.crop(reference)) if reference.any() else reference
        if not changed.any():
            continue
        batch = normalise(perturbation.image(square)[None])
        for name, engine in engines.items():
            probabilities = run_augmented(engine, batch).probabilities
            probability = restore(probabilities[0, ..., 0], (changed.shape[0], changed.shape[1]))
            found[name].append(dice(to_mask(probability, facts.threshold, facts.peak_threshold), changed))
    return {name: dices for name, dices in found.items() if dices}


def _outputs(engine: Engine, batch: NDArray[np.float32], with_attention: bool) -> Outputs:
    return engine.run_with_attention(batch) if with_attention else Outputs(engine.run(batch), {})


def _largest(given: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    if given.shape != expected.shape:
        raise ModelError(f"the export gives the shape {given.shape} where its source gives {expected.shape}")
    largest = float(np.abs(given - expected).max())
    return largest if np.isfinite(largest) else np.inf  # of a NaN Python's `max` would take the other one
