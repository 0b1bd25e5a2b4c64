"""What test-time augmentations bring: Dice against false alarms.

    python benchmarks/mirror_images.py polyp-lite runs/polyp-lite

Works on the validation images of a run, unchanged and perturbed, and on the same without their polyp (cut away or
covered), where every mark is false. Test images have no part in it. A row for each augmentation and each peak
threshold. A frame counts as marked if more than 0.1 % of it is. `in doubt` is the share of the unchanged frames with a
polyp that `doubt` runs again.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import cv2
import numpy as np

from polypseg.arrays import Image, Mask, Probability
from polypseg.cli.console import track
from polypseg.data.frame_synthesis import without_polyp
from polypseg.data.perturbations import PERTURBATIONS, PLAIN
from polypseg.data.samples import Sample
from polypseg.export.proof import MOST_COMPARED, evenly
from polypseg.metrics.overlap import dice
from polypseg.predict.engines.engine import Engine
from polypseg.predict.engines.opening import open_engine
from polypseg.predict.engines.packaged import resolve
from polypseg.predict.mirroring import TTAS, is_in_doubt, run_augmented
from polypseg.preprocess import model_view, normalise, read_image, read_mask, restore, to_mask
from polypseg.records.run import open_run
from polypseg.train.samples import run_samples

MARKED = 0.001
"""Share of a frame."""


class Frame(NamedTuple):
    """What the model sees of a frame, and its mask at the size of the lit field; None where no polyp is left."""

    kind: str
    square: Image
    reference: Mask | None


def main() -> None:
    arguments = _arguments()
    engine = open_engine(resolve(arguments.model), arguments.engine)
    num_frames, rows = measure(engine, frames(engine, arguments.run), TTAS, arguments.peaks)
    print(f"{engine.name}, threshold {engine.threshold:.4g}, {num_frames}")
    print("\n".join(lines(rows)))


def frames(engine: Engine, run: Path) -> Iterator[Frame]:
    """The frames of a run's validation split, in all ways."""
    opened = open_run(run)
    samples = opened.split().select(run_samples(opened)[0], "validation")
    shown = [sample for sample in samples if _reference(sample).any()]
    perturbed = {sample.name for sample in evenly(shown, MOST_COMPARED)}
    for number, sample in enumerate(track(samples, "measuring", len(samples))):
        square, field, _ = model_view(read_image(sample.image_path), engine.size, engine.facts.field)
        reference = _reference(sample)
        if not reference.any():
            yield Frame("negatives", square, None)
            continue
        for name, change in PERTURBATIONS.items():
            changed = change.mask(field.crop(reference))
            if (name != PLAIN and sample.name not in perturbed) or not changed.any():
                continue
            seen = np.ascontiguousarray(change.image(square))
            yield Frame("polyps" if name == PLAIN else "perturbed", seen, changed)
            small = cv2.resize(changed.astype(np.uint8), square.shape[1::-1], interpolation=cv2.INTER_NEAREST)
            removed = without_polyp(seen, small, np.random.default_rng(number))
            if removed is not None:
                yield Frame("removed" if name == PLAIN else "removed, perturbed", removed, None)


def measure(
    engine: Engine, shown: Iterator[Frame], ttas: Sequence[str], peaks: Sequence[float]
) -> tuple[dict[str, int], dict[tuple[str, float], dict[str, float]]]:
    """How many frames of each kind there are, and by augmentation and peak threshold the mean of each kind.

    The mean is that of the Dice where there is a polyp, else the share of marked frames; under `in doubt` stands the
    share of the unchanged frames with a polyp that are.
    """
    found: dict[tuple[str, float], dict[str, list[float]]] = {each: defaultdict(list) for each in product(ttas, peaks)}
    counts: dict[str, int] = defaultdict(int)
    for frame in shown:
        counts[frame.kind] += 1
        batch = normalise(frame.square[None])
        is_doubtful = float(is_in_doubt(engine, engine.run(batch))[0])
        for tta in ttas:
            probability = run_augmented(engine, batch, tta).probabilities[0, ..., 0]
            for peak in peaks:
                found[tta, peak][frame.kind].append(_score(engine, frame, probability, peak))
                if frame.kind == "polyps":
                    found[tta, peak]["in doubt"].append(is_doubtful)
    return dict(counts), {key: {kind: fmean(each) for kind, each in kinds.items()} for key, kinds in found.items()}


def lines(rows: dict[tuple[str, float], dict[str, float]]) -> Iterator[str]:
    """The table, in Markdown."""
    kinds = list(dict.fromkeys(kind for row in rows.values() for kind in row))
    yield f"| augmentation | peak threshold | {' | '.join(kinds)} |"
    yield "|---" * (2 + len(kinds)) + "|"
    for (tta, peak), row in rows.items():
        cells = [f"{row[k]:.4f}" if k in ("polyps", "perturbed") else f"{100 * row[k]:.1f} %" for k in kinds]
        yield f"| {tta} | {peak} | {' | '.join(cells)} |"


def _score(engine: Engine, frame: Frame, probability: Probability, peak: float) -> float:
    if frame.reference is None:
        return float(to_mask(probability, engine.threshold, peak).mean() > MARKED)
    whole = restore(probability, (frame.reference.shape[0], frame.reference.shape[1]))
    return dice(to_mask(whole, engine.threshold, peak), frame.reference)


def _reference(sample: Sample) -> Mask:
    return read_mask(sample.mask_path, sample.mask_rule) if sample.mask_path else np.zeros((1, 1), bool)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="an included model or an exported file")
    parser.add_argument("run", type=Path, help="the run whose validation images are taken")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--peaks", type=float, nargs="+", default=[0.9, 0.95, 0.98])
    return parser.parse_args()


if __name__ == "__main__":
    main()
