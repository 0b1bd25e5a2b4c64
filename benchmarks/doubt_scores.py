r"""Which score of a frame tells of which failure: risk-coverage, AURC, AUROC, share of failures found.

    python benchmarks/doubt_scores.py polyp-lite --kvasir data/kvasir-seg --test data/cvc-clinicdb \
        --empty data/polypgen-negatives --agreement --cache /tmp/doubt

First on the validation frames of Kvasir-SEG's official split (80 of the 880): as they are and perturbed, and with their
polyp cut away (`data.frame_synthesis`) for false marks. Then on those of --test (with polyps) and --empty (without).
A failure is a Dice below 0.5 where there is a polyp, any mark where there is none. `mirror` and `scale` (--agreement)
cost a prediction each; the others cost what is printed. With --cache what the model says is kept for the next call.
"""

import argparse
import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from time import thread_time
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.config.tables import SplitConfig
from polypseg.data.catalogue import find_samples
from polypseg.data.frame_synthesis import without_polyp
from polypseg.data.perturbations import PERTURBATIONS
from polypseg.data.samples import Sample, load_sample
from polypseg.data.splits import make_split
from polypseg.machine import machine, versions
from polypseg.metrics.overlap import dice
from polypseg.predict.doubt import REVIEW_FOR, Doubt, doubt_of, review_order
from polypseg.predict.drift import frame_statistics
from polypseg.predict.engines.packaged import resolve
from polypseg.predict.nested import nested_mask
from polypseg.predict.prediction import Prediction
from polypseg.predict.predictor import Predictor, load
from polypseg.records.calibration import Bound
from polypseg.records.digests import model_file_digest

MARK, OUTLINE = "mark (softness)", "outline (expected Dice)"
BUDGETS = (0.01, 0.05, 0.1, 0.2)
COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5, 0.3)
FAILED_BELOW = 0.5
SIZES = ((384, 288), (720, 576), (1280, 1024), (1920, 1080), (3840, 2160))


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


def candidates(probability: NDArray[np.float32], is_marked: bool, threshold: float) -> dict[str, float]:
    """Scores that need nothing but the model's map."""
    doubt = doubt_of(probability, threshold, is_marked)
    chosen = probability >= threshold
    area = max(1, int(chosen.sum()))
    clipped = np.clip(probability, 1e-5, 1 - 1e-5)
    entropy = -(clipped * np.log(clipped) + (1 - clipped) * np.log(1 - clipped))
    soft, sure = (probability >= 0.1).sum(), (probability >= 0.9).sum()
    wide, narrow = (probability >= 0.02).sum(), (probability >= 0.98).sum()
    return {
        MARK: doubt.mark,
        OUTLINE: doubt.outline,
        "1 - mean inside": 1 - float(probability[chosen].mean()) if chosen.any() else float(probability.max()),
        "1 - peak": 1 - float(probability.max()),
        "mean entropy": float(entropy.mean()),
        "entropy over area": float(entropy.sum() / area),
        "width of the soft band": float((soft - sure) / np.sqrt(area)),
        "1 - narrow over wide": 1 - float(narrow / wide) if wide else 0.0,
        "- area": -float(chosen.mean()),
        "components": float(cv2.connectedComponents(chosen.astype(np.uint8))[0] - 1),
    }


class Answer(NamedTuple):
    """What is kept of a frame.

    Attributes:
        maps: The model's own map, and with `more` those of the mirrored and of the shrunk picture, turned back: shape
            (1 or 3, size, size).
        has_polyp: In the reference.
        dice: Of the user's mask.
        is_marked: Whether that has a pixel.
    """

    maps: NDArray[np.float32]
    has_polyp: bool
    dice: float
    is_marked: bool


def answer_of(predictor: Predictor, image: NDArray[np.uint8], reference: NDArray[np.bool_], more: bool) -> Answer:
    """What the model says of a frame; with `more` of the mirrored and the shrunk picture too."""
    prepared = predictor.prepare(image)
    outputs = predictor.run([prepared.pixels])
    found = predictor.finish(image, prepared, outputs)
    plain = outputs.probabilities[0, ..., 0]
    maps = np.stack([plain, *(others(predictor, prepared.pixels) if more else ())])
    return Answer(maps, bool(reference.any()), dice(found.mask, reference), bool(found.mask.any()))


def others(predictor: Predictor, pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Two predictions more: of the mirrored and of the shrunk picture, turned back."""
    mirrored = predictor.run([np.ascontiguousarray(pixels[:, ::-1])]).probabilities[0, :, ::-1, 0]
    size = pixels.shape[0]
    small, edge = round(0.8 * size), (size - round(0.8 * size)) // 2
    shrunk = np.zeros_like(pixels)
    inside = slice(edge, edge + small), slice(edge, edge + small)
    shrunk[inside] = cv2.resize(pixels, (small, small), interpolation=cv2.INTER_AREA)
    back = cv2.resize(predictor.run([shrunk]).probabilities[0, ..., 0][inside], (size, size))
    return [mirrored, back]


def soft_dice(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Overlap of two maps; 1 for two empty ones."""
    return float((2 * np.minimum(first, second).sum() + 1e-3) / (first.sum() + second.sum() + 1e-3))


def scored(answer: Answer, threshold: float) -> Frame:
    """A frame with its scores."""
    plain = answer.maps[0]
    scores = candidates(plain, answer.is_marked, threshold)
    scores |= {name: 1 - soft_dice(plain, m) for name, m in zip(("mirror", "scale"), answer.maps[1:], strict=False)}
    return Frame(answer.has_polyp, answer.is_marked, answer.dice, scores)


class Source(NamedTuple):
    """Where answers come from.

    Attributes:
        predictor: The model.
        digest: Of its file.
        cache: Folder in which answers are kept; None keeps none.
        more: Whether mirror and scale are tried too.
    """

    predictor: Predictor
    digest: str
    cache: Path | None
    more: bool

    def frames(self, name: str, pairs: Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]) -> list[Frame]:
        """The frames of a set, scored; `name` and the model's digest say what is kept."""
        key = hashlib.sha256(f"{self.digest} {name} {self.more}".encode()).hexdigest()[:16]
        path = self.cache / f"scores-{key}.npz" if self.cache else None
        if path is not None and path.exists():
            with np.load(path) as kept:
                rows = [Answer(m, bool(h), float(d), bool(k)) for m, h, d, k in zip(*kept.values(), strict=True)]
        else:
            rows = [answer_of(self.predictor, image, reference, self.more) for image, reference in pairs]
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                columns = zip(*rows, strict=True)
                np.savez_compressed(path, *(np.stack([np.asarray(each) for each in column]) for column in columns))
        return [scored(row, self.predictor.engine.threshold) for row in rows]

    def samples(self, folder: Path, samples: Sequence[Sample]) -> list[Frame]:
        """Each sample as it is."""
        return self.frames(f"{folder.name} {len(samples)}", (load_sample(sample) for sample in samples))


def perturbed(samples: Sequence[Sample]) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """Each sample as it is and perturbed."""
    for sample in samples:
        image, mask = load_sample(sample)
        for change in PERTURBATIONS.values():
            yield change.image(image), change.mask(mask)


def emptied(samples: Sequence[Sample], size: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """Each sample with its polyp cut away, where it can be."""
    rng = np.random.default_rng(0)
    for sample in samples:
        image, mask = load_sample(sample, size)
        empty = without_polyp(image, mask.view(np.uint8), rng)
        if empty is not None:
            yield empty, np.zeros(empty.shape[:2], bool)


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


def curve(scores: NDArray[np.float64], losses: NDArray[np.float64]) -> Iterator[float]:
    """The mean loss of the least doubtful frames, at each coverage: the risk-coverage curve, whose mean is `aurc`."""
    ordered = losses[np.argsort(scores, kind="stable")]
    for coverage in COVERAGES:
        yield float(ordered[: max(1, round(coverage * len(ordered)))].mean())


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
    columns["larger of mark and outline"] = np.maximum(columns[MARK], columns[OUTLINE])
    is_marked = np.array([frame.is_marked for frame in frames])
    if not is_marked.all():
        columns["outline, unmarked frames first"] = np.where(is_marked, columns[OUTLINE], 1.0)
    columns["(the best possible)"] = losses
    for name, values in columns.items():
        shares = " | ".join(f"{share:.0%}" for share in found_shares(values, failed))
        print(f"| {name} | {auroc(values, failed):.3f} | {aurc(values, losses):.4f} | {shares} |", flush=True)


def show_curves(title: str, frames: Sequence[Frame]) -> None:
    """Print the risk-coverage curves of the two scores, of the mean probability, and the best possible one."""
    print(f"\n### {title}: mean 1 - Dice of the share of the {len(frames)} frames that is doubted least\n")
    print(f"| score | {' | '.join(f'{coverage:.0%}' for coverage in COVERAGES)} |\n|---|{'---|' * len(COVERAGES)}")
    losses = np.array([1 - frame.dice for frame in frames])
    columns = {n: np.array([frame.scores[n] for frame in frames]) for n in (MARK, OUTLINE, "1 - mean inside")}
    columns["outline, unmarked frames first"] = np.where([frame.is_marked for frame in frames], columns[OUTLINE], 1.0)
    for name, values in (columns | {"(the best possible)": losses}).items():
        print(f"| {name} | {' | '.join(f'{risk:.3f}' for risk in curve(values, losses))} |", flush=True)


def orders(title: str, shown: Sequence[Frame], empty: Sequence[Frame], num_draws: int = 200) -> None:
    """Print what share of the failures each order of review finds, where more or fewer frames show a polyp."""
    print(f"\n### {title}: means over {num_draws} draws of 400 frames\n")
    print(f"| frames with a polyp | order | {' | '.join(f'found at {budget:.0%}' for budget in BUDGETS)} |")
    print("|---|---|" + "---|" * len(BUDGETS))
    rng = np.random.default_rng(0)
    for share in (1.0, 0.5, 0.1):
        found: dict[str, list[list[float]]] = {}
        for _ in range(num_draws):
            num_shown = round(400 * share)
            drawn = [shown[place] for place in rng.integers(len(shown), size=num_shown)]
            drawn += [empty[place] for place in rng.integers(len(empty), size=400 - num_shown)]
            failed = np.array([frame.failed for frame in drawn])
            if not failed.any():
                continue
            doubts = [Doubt(frame.scores[MARK], frame.scores[OUTLINE]) for frame in drawn]
            is_marked = [frame.is_marked for frame in drawn]
            ranked = {what: [each.place for each in review_order(doubts, is_marked, what)] for what in REVIEW_FOR} | {
                "larger of the two scores": sorted(range(400), key=lambda place: -max(doubts[place]))
            }
            for what, places in ranked.items():
                hits = [failed[places[: round(budget * 400)]].sum() / failed.sum() for budget in BUDGETS]
                found.setdefault(what, []).append(hits)
        for what, hits in found.items():
            print(
                f"| {share:.0%} | {what} | {' | '.join(f'{value:.0%}' for value in np.mean(hits, axis=0))} |",
                flush=True,
            )


def cost(predictor: Predictor, sample: Sample, repeats: int = 15) -> None:
    """Print what doubt costs beside a prediction, in turn, in processor time of one thread, by size of frame."""
    cv2.setNumThreads(1)
    print("\n### Cost, in per cent of a prediction\n")
    print("| frame | scores | drift check | outer and inner by threshold | by dilation |\n|---|---|---|---|---|")
    for width, height in SIZES:
        image = np.asarray(cv2.resize(load_sample(sample)[0], (width, height)), np.uint8)
        prepared = predictor.prepare(image)
        outputs = predictor.run([prepared.pixels])
        found = predictor.finish(image, prepared, outputs)
        own, share = outputs.probabilities[0, ..., 0], float(found.mask.mean())
        nested = {
            family: [Bound(family=family, value=value, risk=0, stretch=1) for value in values]
            for family, values in (("threshold", (0.1, 0.9)), ("dilation", (0.1, 0.1)))
        }

        def both(family: str, found: Prediction = found, nested: dict[str, list[Bound]] = nested) -> None:
            for side, bound in zip(("outer", "inner"), nested[family], strict=True):
                nested_mask(bound, side, found.probability, found.mask)

        steps: dict[str, Callable[[], object]] = {
            "prediction": partial(predictor.predict, image),
            "scores": partial(doubt_of, own, predictor.raw_threshold, True),
            "drift check": partial(frame_statistics, prepared.pixels, own, share),
            "threshold": partial(both, "threshold"),
            "dilation": partial(both, "dilation"),
        }
        times: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(repeats):
            for name, step in steps.items():
                began = thread_time()
                step()
                times[name].append(thread_time() - began)
        whole, *parts = (float(np.median(each)) for each in times.values())
        shares = " | ".join(f"{100 * part / whole:.1f}" for part in parts)
        print(f"| {width}x{height} ({100 * share:.0f} % marked) | {shares} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--kvasir", type=Path, required=True, help="Kvasir-SEG, for its 80 validation images")
    parser.add_argument("--test", type=Path, required=True, help="frames with polyps of another hospital")
    parser.add_argument("--empty", type=Path, required=True, help="frames without a polyp")
    parser.add_argument("--agreement", action="store_true", help="try mirror and scale too; three times the work")
    parser.add_argument("--cache", type=Path, help="folder in which the model's answers are kept")
    parser.add_argument("--cost", action="store_true", help="print what doubt costs, and nothing else")
    options = parser.parse_args()
    path = resolve(options.model)
    predictor, digest = load(path, "onnxruntime", threads=1), model_file_digest(path)
    source = Source(predictor, digest, options.cache, options.agreement)
    print(machine(), versions(), f"{options.model}, digest {digest[:12]}", sep="\n")
    kvasir, _ = find_samples(options.kvasir)
    entries = make_split(kvasir, SplitConfig(kind="official")).entries
    validation = [sample for sample in kvasir if entries[sample.name].split == "validation"]
    cost(predictor, validation[0])
    if options.cost:
        return
    shown = source._replace(more=False).frames("validation, perturbed", perturbed(validation))
    without = source.frames("validation, emptied", emptied(validation, predictor.engine.size))
    plain = source.samples(options.kvasir, validation)
    show("Validation, as they are", plain)
    show("Validation, as they are and perturbed", shown)
    show(
        "Validation, marked: polyps cut away against found ones",
        [frame for frame in without if frame.is_marked] + [frame for frame in plain if not frame.failed],
    )
    orders("Validation, orders of review", shown, without)
    test = source.samples(options.test, find_samples(options.test)[0])
    empty = source.samples(options.empty, find_samples(options.empty, empty_masks=True)[0])
    show("Other hospital", test)
    show_curves("Other hospital", test)
    show("Other hospital, marked frames", [frame for frame in test if frame.is_marked])
    false = [frame for frame in empty if frame.is_marked]
    show(
        "Marked: frames without a polyp against found polyps", false + [f for f in test if f.is_marked and not f.failed]
    )
    unmarked = [frame for frame in test + empty if not frame.is_marked]
    show("Unmarked: missed polyps against frames without one", unmarked)
    show("Both together", test + empty)
    orders("Other hospital, orders of review", test, empty)


if __name__ == "__main__":
    main()
