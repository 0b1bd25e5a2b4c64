r"""Which score of a frame tells of which failure: risk-coverage, AURC, AUROC, share of failures found.

    python benchmarks/doubt_scores.py polyp-lite --kvasir data/kvasir-seg --test data/cvc-clinicdb \
        --empty data/polypgen-negatives

First on the validation frames of Kvasir-SEG's official split (80 of the 880): as they are and perturbed, and with their
polyp cut away (`data.frame_synthesis`) for false marks. Then on those of --test (with polyps) and --empty (without).
A failure is a Dice below 0.5 where there is a polyp, any mark where there is none. `mirror` and `scale` (--agreement)
cost a prediction each; the others cost what is printed.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.config.tables import SplitConfig
from polypseg.data.catalogue import find_samples
from polypseg.data.frame_synthesis import without_polyp
from polypseg.data.perturbations import PERTURBATIONS, PLAIN
from polypseg.data.samples import Sample, load_sample
from polypseg.data.splits import make_split
from polypseg.machine import machine, versions
from polypseg.metrics.overlap import dice
from polypseg.predict.doubt import doubt_of, to_review
from polypseg.predict.engines.packaged import resolve
from polypseg.predict.predictor import Predictor, load

BUDGETS = (0.01, 0.05, 0.1, 0.2)
FAILED_BELOW = 0.5


class Frame(NamedTuple):
    """One frame, scored.

    Attributes:
        has_polyp: In the reference.
        is_marked: In the mask.
        dice: 1 where both are empty.
        scores: By name; higher is more doubtful.
    """

    has_polyp: bool
    is_marked: bool
    dice: float
    scores: dict[str, float]

    @property
    def failed(self) -> bool:
        """Whether it should be looked at again."""
        return self.dice < FAILED_BELOW if self.has_polyp else self.is_marked


def candidates(probability: NDArray[np.float32], mask: NDArray[np.bool_], threshold: float) -> dict[str, float]:
    """Scores that need nothing but the model's map."""
    doubt = doubt_of(probability, threshold, bool(mask.any()))
    chosen = probability >= threshold
    area = max(1, int(chosen.sum()))
    clipped = np.clip(probability, 1e-5, 1 - 1e-5)
    entropy = -(clipped * np.log(clipped) + (1 - clipped) * np.log(1 - clipped))
    soft, sure = (probability >= 0.1).sum(), (probability >= 0.9).sum()
    wide, narrow = (probability >= 0.02).sum(), (probability >= 0.98).sum()
    return {
        "mark (softness)": doubt.mark,
        "outline (expected Dice)": doubt.outline,
        "1 - mean inside": 1 - float(probability[chosen].mean()) if chosen.any() else float(probability.max()),
        "1 - peak": 1 - float(probability.max()),
        "mean entropy": float(entropy.mean()),
        "entropy over area": float(entropy.sum() / area),
        "width of the soft band": float((soft - sure) / np.sqrt(area)),
        "1 - narrow over wide": 1 - float(narrow / wide) if wide else 0.0,
        "- area": -float(chosen.mean()),
        "components": float(cv2.connectedComponents(chosen.astype(np.uint8))[0] - 1),
    }


def agreement(predictor: Predictor, pixels: NDArray[np.float32], plain: NDArray[np.float32]) -> dict[str, float]:
    """Scores that need two predictions more: of the mirrored and of the shrunk picture."""
    mirrored = predictor.run([np.ascontiguousarray(pixels[:, ::-1])]).probabilities[0, :, ::-1, 0]
    size = plain.shape[0]
    small, edge = round(0.8 * size), (size - round(0.8 * size)) // 2
    shrunk = np.zeros_like(pixels)
    inside = slice(edge, edge + small), slice(edge, edge + small)
    shrunk[inside] = cv2.resize(pixels, (small, small), interpolation=cv2.INTER_AREA)
    back = cv2.resize(predictor.run([shrunk]).probabilities[0, ..., 0][inside], (size, size))
    return {"mirror": 1 - soft_dice(plain, mirrored), "scale": 1 - soft_dice(plain, back)}


def soft_dice(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Overlap of two maps; 1 for two empty ones."""
    return float((2 * np.minimum(first, second).sum() + 1e-3) / (first.sum() + second.sum() + 1e-3))


def frame_of(predictor: Predictor, image: NDArray[np.uint8], reference: NDArray[np.bool_], more: bool) -> Frame:
    """A frame with its scores; with `more` those that need more predictions too."""
    prepared = predictor.prepare(image)
    outputs = predictor.run([prepared.pixels])
    found = predictor.finish(image, prepared, outputs)
    plain = outputs.probabilities[0, ..., 0]
    scores = candidates(plain, found.mask, predictor.threshold)
    scores |= agreement(predictor, prepared.pixels, plain) if more else {}
    return Frame(bool(reference.any()), bool(found.mask.any()), dice(found.mask, reference), scores)


def frames_of(predictor: Predictor, samples: Sequence[Sample], more: bool) -> list[Frame]:
    """Each sample as it is."""
    return [frame_of(predictor, *load_sample(sample), more) for sample in samples]


def validation_frames(predictor: Predictor, samples: Sequence[Sample], more: bool) -> tuple[list[Frame], list[Frame]]:
    """Validation frames as they are and perturbed, and the same with their polyp cut away."""
    rng = np.random.default_rng(0)
    shown, emptied = [], []
    for sample in samples:
        image, mask = load_sample(sample)
        for name, change in PERTURBATIONS.items():
            shown.append(frame_of(predictor, change.image(image), change.mask(mask), more and name == PLAIN))
        image, mask = load_sample(sample, predictor.engine.size)
        empty = without_polyp(image, mask.view(np.uint8), rng)
        if empty is not None:
            emptied.append(frame_of(predictor, empty, np.zeros(empty.shape[:2], bool), more))
    return shown, emptied


def auroc(scores: NDArray[np.float64], failed: NDArray[np.bool_]) -> float:
    """The chance that a failure scores above a success; a tie counts half."""
    bad, good = scores[failed], scores[~failed]
    if not bad.size or not good.size:
        return float("nan")
    above = (bad[:, np.newaxis] > good).sum() + 0.5 * (bad[:, np.newaxis] == good).sum()
    return float(above / (bad.size * good.size))


def aurc(scores: NDArray[np.float64], losses: NDArray[np.float64]) -> float:
    """The mean, over all coverages, of the mean loss of the least doubtful frames."""
    ordered = losses[np.argsort(scores, kind="stable")]
    return float((np.cumsum(ordered) / np.arange(1, len(ordered) + 1)).mean())


def found_shares(scores: NDArray[np.float64], failed: NDArray[np.bool_]) -> Iterator[float]:
    """The share of failures among the most doubtful frames, at each budget."""
    order = np.argsort(-scores, kind="stable")
    for budget in BUDGETS:
        yield float(failed[order[: int(np.ceil(budget * len(order)))]].sum() / max(1, failed.sum()))


def show(title: str, frames: Sequence[Frame]) -> None:
    """Print the table of all scores."""
    failed = np.array([frame.failed for frame in frames])
    losses = np.array([1 - frame.dice for frame in frames])
    print(f"\n### {title}: {failed.sum()} failures in {len(frames)} frames\n")
    print(f"| score | AUROC | AURC | {' | '.join(f'found at {budget:.0%}' for budget in BUDGETS)} |")
    print("|---|---|---|" + "---|" * len(BUDGETS))
    names = [name for name in frames[0].scores if all(name in frame.scores for frame in frames)]
    columns = {name: np.array([frame.scores[name] for frame in frames]) for name in names}
    columns["larger of mark and outline"] = np.maximum(columns["mark (softness)"], columns["outline (expected Dice)"])
    is_marked = np.array([frame.is_marked for frame in frames])
    if not is_marked.all():
        columns["outline, unmarked frames first"] = np.where(is_marked, columns["outline (expected Dice)"], 1.0)
    columns["(the best possible)"] = losses
    for name, values in columns.items():
        shares = " | ".join(f"{share:.0%}" for share in found_shares(values, failed))
        print(f"| {name} | {auroc(values, failed):.3f} | {aurc(values, losses):.4f} | {shares} |", flush=True)


def cost(predictor: Predictor, sample: Sample, repeats: int = 20) -> None:
    """Print the time of the two scores beside that of a prediction."""
    image, _ = load_sample(sample)
    prepared = predictor.prepare(image)
    plain = predictor.run([prepared.pixels]).probabilities[0, ..., 0]
    times: dict[str, list[float]] = {"prediction": [], "scores": []}
    for _ in range(repeats):
        began = perf_counter()
        predictor.predict(image)
        middle = perf_counter()
        to_review([doubt_of(plain, predictor.threshold, True)], 1)
        times["prediction"].append(middle - began)
        times["scores"].append(perf_counter() - middle)
    whole, scores = (float(np.median(each)) for each in times.values())
    print(
        f"\nscores {1000 * scores:.2f} ms, prediction {1000 * whole:.1f} ms: {scores / whole:.1%}, medians of {repeats}"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--kvasir", type=Path, required=True, help="Kvasir-SEG, for its 80 validation images")
    parser.add_argument("--test", type=Path, required=True, help="frames with polyps of another hospital")
    parser.add_argument("--empty", type=Path, required=True, help="frames without a polyp")
    parser.add_argument("--agreement", action="store_true", help="try mirror and scale too; three times the work")
    options = parser.parse_args()
    path = resolve(options.model)
    predictor = load(path, "onnxruntime", threads=1)
    print(machine(), versions(), options.model, sep="\n")
    kvasir, _ = find_samples(options.kvasir)
    entries = make_split(kvasir, SplitConfig(kind="official")).entries
    validation = [sample for sample in kvasir if entries[sample.name].split == "validation"]
    cost(predictor, validation[0])
    shown, emptied = validation_frames(predictor, validation, options.agreement)
    show("Validation, as they are and perturbed", shown)
    marked = [frame for frame in emptied if frame.is_marked]
    show("Validation, marked: polyps cut away against found ones", marked + [f for f in shown if not f.failed])
    test = frames_of(predictor, find_samples(options.test)[0], options.agreement)
    empty = frames_of(predictor, find_samples(options.empty, empty_masks=True)[0], options.agreement)
    show("Other hospital", test)
    show("Other hospital, marked frames", [frame for frame in test if frame.is_marked])
    false = [frame for frame in empty if frame.is_marked]
    show(
        "Marked: frames without a polyp against found polyps", false + [f for f in test if f.is_marked and not f.failed]
    )
    unmarked = [frame for frame in test + empty if not frame.is_marked]
    show("Unmarked: missed polyps against frames without one", unmarked)
    show("Both together", test + empty)


if __name__ == "__main__":
    main()
