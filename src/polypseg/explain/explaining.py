"""From a model and frames with references to figures of how faithful its maps are: `polypseg explain`.

Every map is judged at the model's own size, over frames with a polyp in which the model marks something: gates, beside
them the gradient, the probability itself (what a good map should come near to) and a random map (what it must beat).

Decisions:
- The gradient, the random weights and the held gates need a network that can be changed: a run or a `.keras` file. An
  exported file is judged by the rest.
- All weights are drawn again at once, as the network's own initialisers do.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Mask
from polypseg.data.samples import Sample, load_sample
from polypseg.errors import DataError, UsageError
from polypseg.explain.faithfulness import Map, energy_inside, faithfulness, rank_correlation
from polypseg.predict.attention import agreement
from polypseg.predict.engines.engine import Outputs
from polypseg.predict.predictor import Predictor
from polypseg.preprocess import resize_mask, restore, to_mask
from polypseg.progress import Track, silent
from polypseg.records.digests import file_digests, model_file_digest
from polypseg.records.explanation import Explanation, MapFigures

if TYPE_CHECKING:
    import keras

PROBABILITY, RANDOM, GRADIENT = "probability", "random", "gradient"
SMALL = 32
"""Side to which maps are brought before they are compared with those of random weights."""


class _Frame(NamedTuple):
    """A frame as the model sees it, with what it says."""

    pixels: NDArray[np.float32]
    reference: Mask
    mask: Mask
    maps: dict[str, Map]


def explain_model(
    model: Path,
    predictor: Predictor,
    samples: Sequence[Sample],
    limit: int = 40,
    num_steps: int = 10,
    track: Track = silent,
) -> Explanation:
    """How faithful a model's maps are, over the first frames in which both the reference and the model mark something.

    Args:
        model: The model's path, for its digest.
        predictor: Made from it.
        samples: With references.
        limit: At most so many frames count; they are taken evenly from all.
        num_steps: Of deletion and insertion.
        track: Shows progress.

    Raises:
        ModelError: The model has no gates, or its file does not carry them.
        DataError: No frame shows a polyp that the model marks.
        UsageError: A limit or a number of steps below 1.
    """
    if limit < 1 or num_steps < 1:
        raise UsageError(f"limit {limit}, steps {num_steps}: expected at least 1 each")
    shown = [sample for sample in samples if sample.mask_path is not None]
    chosen = shown[:: max(1, len(shown) // limit)][:limit]
    rng, network = np.random.default_rng(0), getattr(predictor.engine, "model", None)
    twin = _with_random_weights(network) if network is not None else None
    rows: list[dict[str, dict[str, float]]] = []
    areas, used = [], []
    for sample, frame in track(_frames(predictor, chosen, network), "explaining", len(chosen)):
        if frame is None:
            continue
        others = _maps(twin.run(frame.pixels[np.newaxis]), rng) if twin is not None else {}
        if GRADIENT in frame.maps and twin is not None:
            others[GRADIENT] = _gradient(twin.model, frame.pixels, frame.mask)
        rows.append({name: _figures(predictor, frame, name, others.get(name), rng, num_steps) for name in frame.maps})
        areas.append(float(frame.reference.mean()))
        used.append(sample)
    if not rows:
        raise DataError(f"none of {len(chosen)} frames shows a polyp that the model marks; name others with --data")
    lost = _dice_lost(predictor, network, used) if network is not None else {}
    return Explanation(
        maps=tuple(_mean_of(name, [row[name] for row in rows], lost.get(name)) for name in rows[0]),
        num_frames=len(rows),
        polyp_share=float(np.mean(areas)),
        num_steps=num_steps,
        model=predictor.engine.facts.name or model.name,
        model_sha256=model_file_digest(model),
        frame_sha256=tuple(file_digests([sample.image_path for sample in used]).values()),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _frames(
    predictor: Predictor, samples: Sequence[Sample], network: "keras.Model | None"
) -> Iterator[tuple[Sample, _Frame | None]]:
    """Each sample with what the model says; None where there is nothing to explain."""
    reader, rng = predictor.with_options(attention=True), np.random.default_rng(1)
    size = (predictor.engine.size,) * 2
    for sample in samples:
        image, reference = load_sample(sample)
        prepared = reader.prepare(image)
        outputs = reader.run([prepared.pixels])
        seen = resize_mask(prepared.field.crop(reference), size)
        mask = to_mask(outputs.probabilities[0, ..., 0], predictor.raw_threshold, predictor.engine.facts.peak_threshold)
        if not seen.any() or seen.all() or not mask.any():
            yield sample, None
            continue
        maps = _maps(outputs, rng)
        if network is not None:
            maps[GRADIENT] = _gradient(network, prepared.pixels, mask)
        yield sample, _Frame(prepared.pixels, seen, mask, maps)


def _maps(outputs: Outputs, rng: np.random.Generator) -> dict[str, Map]:
    """The gates' maps, the probability and a random map, at the model's own size."""
    probability = outputs.probabilities[0, ..., 0]
    size = (probability.shape[0], probability.shape[1])
    maps = {f"gate {level}": restore(values[0], size) for level, values in sorted(outputs.attention.items())}
    return maps | {PROBABILITY: probability, RANDOM: rng.random(size, np.float32)}


def _gradient(network: "keras.Model", pixels: NDArray[np.float32], mask: Mask) -> Map:
    from polypseg.explain.gradient import gradient_map

    return gradient_map(network, pixels, mask)


def _figures(
    predictor: Predictor, frame: _Frame, name: str, other: Map | None, rng: np.random.Generator, num_steps: int
) -> dict[str, float]:
    """The figures of one map of one frame."""
    values = frame.maps[name]
    found = faithfulness(predictor.engine.run, frame.pixels, frame.mask, values, rng, num_steps)
    figures = {
        "auroc": agreement(values, frame.reference),
        "energy_inside": energy_inside(values, frame.reference),
        "deletion": found.deletion,
        "insertion": found.insertion,
    }
    if other is not None and name not in (RANDOM, PROBABILITY):
        figures["randomised"] = rank_correlation(_small(values), _small(other))
    return figures


def _small(values: Map) -> Map:
    import cv2

    return np.asarray(cv2.resize(values, (SMALL, SMALL), interpolation=cv2.INTER_AREA), np.float32)


def _mean_of(name: str, rows: Sequence[dict[str, float]], dice_lost: float | None) -> MapFigures:
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    return MapFigures(name=name, **means, dice_lost=dice_lost)


class _Twin(NamedTuple):
    """A network with random weights."""

    model: "keras.Model"
    engine: Any

    def run(self, batch: NDArray[np.float32]) -> Outputs:
        """What it says, with its gates."""
        found: Outputs = self.engine.run_with_attention(batch)
        return found


def _with_random_weights(network: "keras.Model") -> _Twin:
    """The same network as its initialisers would have it before any training."""
    import keras

    from polypseg.predict.engines.keras_engine import KerasEngine

    keras.utils.set_random_seed(0)
    twin = keras.models.clone_model(network)
    return _Twin(twin, KerasEngine(twin))


def _dice_lost(predictor: Predictor, network: "keras.Model", samples: Sequence[Sample]) -> dict[str, float | None]:
    """What the Dice loses where each gate is held at its mean."""
    from polypseg.explain.gates import SampleFrames, measure_gates

    record = measure_gates(
        network,
        SampleFrames(samples),
        predictor.raw_threshold,
        predictor.engine.facts.peak_threshold,
        predictor.field,
    )
    return {f"gate {gate.level}": gate.dice_lost for gate in record.gates}
