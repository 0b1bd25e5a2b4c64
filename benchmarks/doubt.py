"""Whether inner and outer masks hold what they promise (`polypseg calibrate`), and where they stop to.

    python benchmarks/doubt.py polyp-lite --home data/cvc-clinicdb --away data/kvasir-seg \
        --away-names data/kvasir-seg/splits/official-test-120.txt --cache CACHE

Home: frames with groups (`sequences.csv`). Its groups are split again and again, at random:
- on average: a level is held where the mean of the test risk over all splits is at most the level; conformal risk
  control promises no more. The band is 1.96 standard errors of that mean;
- with a confidence: groups are drawn with replacement, so that the risk over all groups is the true one; the share of
  draws in which it is at most the level must be at least the confidence. The band is 1.96 binomial deviations.
Then frames are not grouped and the loss is whether a share of the polyp is covered, as in a published table. Then the
promise is taken away from home: to perturbed frames, and to another hospital. Frames that the model was trained on are
refused in both places. With --cache the losses of each frame are kept there for the next call.
"""

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.data.catalogue import find_samples
from polypseg.data.perturbations import PERTURBATIONS, PLAIN, Perturbation
from polypseg.data.samples import Sample, load_sample
from polypseg.errors import DataError
from polypseg.explain.calibrating import RISKS, frame_curves, refuse_seen, seen_by, unit_numbers
from polypseg.explain.conformal import controlled_step, fewest_units, unit_losses
from polypseg.machine import machine, versions
from polypseg.predict.drift import STATISTICS, drift_of, frame_statistics
from polypseg.predict.engines.packaged import resolve
from polypseg.predict.nested import FAMILIES, steps_of
from polypseg.predict.predictor import Predictor, load
from polypseg.records.calibration import Bound, Calibration
from polypseg.records.digests import file_digests, model_file_digest
from polypseg.records.reading import read_names

LEVELS = (0.05, 0.1, 0.2, 0.3)
CONFIDENCE = 0.9
NUM_CALIBRATION, NUM_DRAWN = 20, 100
"""Groups that calibrate in a split; groups that are drawn with replacement."""
PUBLISHED = {("dilation", 0.9): 1.25, ("dilation", 0.99): 1.78, ("dilation", 0.999): 2.03}
PUBLISHED |= {("threshold", 0.9): 1.22, ("threshold", 0.99): 8.95, ("threshold", 0.999): 15.0}
"""Stretch by family and covered share, nominal 90 %, mean over 36 seeds, frames not grouped (PraNet, five data sets):
Mossina and Friedrich, "Conformal Prediction for Image Segmentation Using Morphological Prediction Sets", MICCAI 2025.
"""
SAME = "the frames below, as they are"
PAIRS = [(risk, family) for risk in RISKS for family in FAMILIES]


class Frames(NamedTuple):
    """What is kept of many frames; each array has a row a frame.

    Attributes:
        units: To which unit each frame belongs.
        losses: By "risk family", shape (N, K).
        areas: By "risk family", area of the nested mask over that of the mask, shape (N, K).
        statistics: Shape (N, number of statistics).
    """

    units: NDArray[np.intp]
    losses: dict[str, NDArray[np.float64]]
    areas: dict[str, NDArray[np.float64]]
    statistics: NDArray[np.float64]


def look_at(predictor: Predictor, samples: Sequence[Sample], changed: Perturbation) -> Iterator[dict[str, NDArray]]:
    """Losses, areas and statistics of each frame."""
    for sample in samples:
        image, reference = load_sample(sample)
        image, reference = changed.image(image), changed.mask(reference)
        prepared = predictor.prepare(image)
        outputs = predictor.run([prepared.pixels])
        found = predictor.finish(image, prepared, outputs)
        seen = frame_statistics(prepared.pixels, outputs.probabilities[0, ..., 0], float(found.mask.mean()))
        row = {"statistics": list(seen.values())}
        for risk, family in PAIRS:
            values = steps_of(family, RISKS[risk], predictor.threshold)
            curves = frame_curves(family, RISKS[risk], values, (found.probability, found.mask), reference)
            row[f"losses {risk} {family}"], row[f"areas {risk} {family}"] = curves
        yield {key: np.asarray(value, np.float32) for key, value in row.items()}


def frames_of(predictor: Predictor, samples: Sequence[Sample], name: str, cache: Path | None, digest: str) -> Frames:
    """The frames of a data set, changed in the way of that name; from the cache where they are."""
    key = hashlib.sha256(" ".join([digest, name, *(s.name for s in samples)]).encode()).hexdigest()[:16]
    path = cache / f"{key}.npz" if cache else None
    if path is None or not path.exists():
        rows = list(look_at(predictor, samples, PERTURBATIONS[name]))
        found = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **found)
    else:
        with np.load(path) as kept:
            found = {key: kept[key] for key in kept.files}
    parts = {
        kind: {f"{r} {f}": found[f"{kind} {r} {f}"].astype(np.float64) for r, f in PAIRS}
        for kind in ("losses", "areas")
    }
    return Frames(np.array(unit_numbers(samples)), parts["losses"], parts["areas"], found["statistics"].astype(float))


def by_unit(values: NDArray[np.float64], units: NDArray[np.intp]) -> NDArray[np.float64]:
    """Means by unit; frames without the value are left out."""
    kept = ~np.isnan(values[:, 0])
    return unit_losses(values[kept], np.unique(units[kept], return_inverse=True)[1].tolist())


def deviations(values: Sequence[float]) -> float:
    """1.96 standard errors of a mean."""
    return 1.96 * float(np.std(values)) / len(values) ** 0.5


def on_average(frames: Frames, num_splits: int, rng: np.random.Generator) -> None:
    """Print how often and how well a level is held on average, split after split."""
    print(f"\n### On average: {NUM_CALIBRATION} groups calibrate, the others test, {num_splits} splits\n")
    print(
        "| risk | family | level | mean test risk | band | held on average | splits held | stretch | only the whole |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    num_units = int(frames.units.max()) + 1
    splits = [rng.permutation(num_units) for _ in range(num_splits)]
    for risk, family in PAIRS:
        key = f"{risk} {family}"
        losses, areas = by_unit(frames.losses[key], frames.units), by_unit(frames.areas[key], frames.units)
        for level in LEVELS:
            risks, stretches, whole = [], [], 0
            for order in splits:
                calibration, test = order[:NUM_CALIBRATION], order[NUM_CALIBRATION:]
                step = controlled_step(losses[calibration], level)
                step = losses.shape[1] - 1 if step is None else step
                risks.append(losses[test, step].mean())
                whole += step == losses.shape[1] - 1
                stretches.append(areas[test, step].mean())
            mean, band = float(np.mean(risks)), deviations(risks)
            held = float(np.mean(np.array(risks) <= level))
            print(
                f"| {risk} | {family} | {level:g} | {mean:.4f} | ± {band:.4f} | "
                f"{'yes' if mean <= level + band else 'NO'} | {held:.1%} | {np.median(stretches):.2f} | "
                f"{whole / num_splits:.1%} |",
                flush=True,
            )


def with_confidence(frames: Frames, num_draws: int, rng: np.random.Generator) -> None:
    """Print in how many draws of groups the true risk is at most the level."""
    band = 1.96 * (CONFIDENCE * (1 - CONFIDENCE) / num_draws) ** 0.5
    print(
        f"\n### With a confidence of {CONFIDENCE:.0%}: {NUM_DRAWN} groups drawn with replacement, {num_draws} draws\n"
    )
    print(f"At least {CONFIDENCE - band:.1%} of the draws must hold the level (the band's lower end).\n")
    print("| risk | family | level | groups needed | draws that hold | inside | stretch | only the whole frame |")
    print("|---|---|---|---|---|---|---|---|")
    num_units = int(frames.units.max()) + 1
    draws = [rng.integers(num_units, size=NUM_DRAWN) for _ in range(num_draws)]
    for risk, family in PAIRS:
        key = f"{risk} {family}"
        losses, areas = by_unit(frames.losses[key], frames.units), by_unit(frames.areas[key], frames.units)
        truth, stretch = losses.mean(axis=0), areas.mean(axis=0)
        for level in LEVELS:
            steps = [controlled_step(losses[drawn], level, CONFIDENCE) for drawn in draws]
            taken = np.array([losses.shape[1] - 1 if step is None else step for step in steps])
            held = float((truth[taken] <= level).mean())
            print(
                f"| {risk} | {family} | {level:g} | {fewest_units(level, CONFIDENCE)} | {held:.1%} | "
                f"{'yes' if held >= CONFIDENCE - band else 'NO'} | {np.median(stretch[taken]):.2f} | "
                f"{(taken == losses.shape[1] - 1).mean():.1%} |",
                flush=True,
            )


def as_published(frames: Frames, rng: np.random.Generator, num_seeds: int = 36) -> None:
    """Print the stretch of outer masks that cover a share of the polyp in nine of ten frames, frames not grouped."""
    print(
        f"\n### As published: frames not grouped, half of them calibrate, covered in 90 % of them, {num_seeds} seeds\n"
    )
    print("| family | covers | frames covered | stretch, mean | stretch, median | published stretch |")
    print("|---|---|---|---|---|---|")
    count = len(frames.units)
    orders = [rng.permutation(count) for _ in range(num_seeds)]
    for family in FAMILIES:
        losses, areas = frames.losses[f"missed {family}"], frames.areas[f"missed {family}"]
        for share in (0.9, 0.99, 0.999):
            lost = (losses > 1 - share + 1e-6).astype(float)
            covered, means, medians = [], [], []
            for order in orders:
                calibration, test = order[: count // 2], order[count // 2 :]
                step = controlled_step(lost[calibration], 0.1) or 0
                covered.append(1 - lost[test, step].mean())
                means.append(np.nanmean(areas[test, step]))
                medians.append(np.nanmedian(areas[test, step]))
            print(
                f"| {family} | {share:.1%} | {np.mean(covered):.1%} | {np.mean(means):.2f} | {np.mean(medians):.2f} | "
                f"{PUBLISHED[family, share]:.2f} |"
            )


def some_of(frames: Frames, every: int) -> Frames:
    """Each so-manieth frame."""
    parts = ({key: values[::every] for key, values in part.items()} for part in (frames.losses, frames.areas))
    return Frames(frames.units[::every], *parts, frames.statistics[::every])


def away_from_home(place: str, home: Frames, others: dict[str, Frames], family: str) -> None:
    """Print the risk on other frames at the values that hold it where it was calibrated."""
    print(f"\n### Away from home, family {family}: calibrated on all groups of {place}, on average\n")
    print("| frames | risk | level | risk found | times the level |")
    print("|---|---|---|---|---|")
    for risk in RISKS:
        key = f"{risk} {family}"
        at_home = by_unit(home.losses[key], home.units)
        for level in LEVELS:
            step = controlled_step(at_home, level)
            if step is None or step == at_home.shape[1] - 1:
                print(f"| all | {risk} | {level:g} | only the whole frame (or no inner mask) holds it | |")
                continue
            for name, frames in {f"{place} itself": home, **others}.items():
                found = float(by_unit(frames.losses[key], frames.units)[:, step].mean())
                print(f"| {name} | {risk} | {level:g} | {found:.3f} | {found / level:.2f} |")


def a_calibration(frames: Frames, chosen: NDArray[np.bool_]) -> Calibration:
    """A calibration that holds the statistics of the chosen frames."""
    units = np.unique(frames.units[chosen], return_inverse=True)[1]
    columns = frames.statistics[chosen].T
    return Calibration(
        level=0.5,
        outer=Bound(family="threshold", value=0.5, risk=0, stretch=1),
        model_sha256="0" * 64,
        threshold=0.5,
        num_units=int(units.max()) + 1,
        frame_sha256=("",) * len(units),
        units=tuple(units.tolist()),
        statistics={name: tuple(column.tolist()) for name, column in zip(STATISTICS, columns, strict=True)},
    )


def warnings(home: Frames, others: dict[str, Frames], rng: np.random.Generator, num_splits: int = 50) -> None:
    """Print in how many splits the drift check warns: of home's own other groups, and of other frames."""
    print(f"\n### The drift check, {num_splits} splits: {NUM_CALIBRATION} groups of home calibrate\n")
    print("| new frames | warned of | most often for |")
    print("|---|---|---|")
    num_units = int(home.units.max()) + 1
    splits = [rng.permutation(num_units) for _ in range(num_splits)]
    for name, frames in {"other groups of home": home, **others}.items():
        strange: list[list[str]] = []
        for order in splits:
            calibration = a_calibration(home, np.isin(home.units, order[:NUM_CALIBRATION]))
            if name in PERTURBATIONS or name == SAME or frames is home:
                new = frames.statistics[np.isin(frames.units, order[NUM_CALIBRATION:])]
            else:
                new = frames.statistics[rng.choice(len(frames.units), 100, replace=False)]
            columns = dict(zip(STATISTICS, new.T.tolist(), strict=True))
            strange.append(drift_of(calibration, columns).strange)
        names = [each for found in strange for each in found]
        most = ", ".join(sorted(set(names), key=lambda each: -names.count(each))[:2])
        print(f"| {name} | {np.mean([bool(found) for found in strange]):.0%} | {most} |", flush=True)


def unseen(folder: Path, model: Path, predictor: Predictor, names: Path | None = None) -> list[Sample]:
    """The samples of a folder, or those of a list of names, if the model was not trained on any of them."""
    samples, _ = find_samples(folder)
    if names is not None:
        wanted = frozenset(read_names(names, DataError))
        samples = [sample for sample in samples if sample.name in wanted]
    refuse_seen(samples, list(file_digests([s.image_path for s in samples]).values()), seen_by(model, predictor))
    return samples


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--home", type=Path, required=True, help="frames with groups")
    parser.add_argument("--away", type=Path, help="frames of another hospital")
    parser.add_argument("--splits", type=int, default=1000)
    parser.add_argument("--every", type=int, default=4, help="perturb each so-manieth frame of home")
    parser.add_argument("--away-names", type=Path, help="a file with the names of its frames to take, one a line")
    parser.add_argument("--away-every", type=int, default=1, help="take each so-manieth frame of the other hospital")
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    path = resolve(options.model)
    predictor, digest = load(path, "onnxruntime", threads=1), model_file_digest(path)
    samples = unseen(options.home, path, predictor)
    print(machine(), versions(), f"{options.model}, digest {digest[:12]}", sep="\n")
    home = frames_of(predictor, samples, PLAIN, options.cache, digest)
    print(f"home: {len(samples)} frames in {int(home.units.max()) + 1} groups")
    rng = np.random.default_rng(0)
    on_average(home, options.splits, rng)
    with_confidence(home, options.splits, rng)
    as_published(home, rng)
    numbers = dict(zip((sample.name for sample in samples), home.units.tolist(), strict=True))
    some, others = samples[:: options.every], {SAME: some_of(home, options.every)}
    for name in PERTURBATIONS:
        if name != PLAIN:
            frames = frames_of(predictor, some, name, options.cache, digest)
            others[name] = frames._replace(units=np.array([numbers[sample.name] for sample in some]))
    if options.away:
        away = unseen(options.away, path, predictor, options.away_names)[:: options.away_every]
        others[options.away.name] = frames_of(predictor, away, PLAIN, options.cache, digest)
    for family in FAMILIES:
        away_from_home("home", home, others, family)
    if options.away:
        for family in FAMILIES:
            away_from_home(options.away.name, others[options.away.name], {"home": home}, family)
    warnings(home, others, rng)


if __name__ == "__main__":
    main()
