"""How a run's best model bears frames that look otherwise: validation frames blurred, darkened, shrunk and so on.

    python benchmarks/changed_frames.py runs/kvasir
    python benchmarks/changed_frames.py runs/kvasir --normalisation as-they-are     # or changed

Dice and recall at the model's own size and at 0.5, means over the validation frames that show a polyp. With
`--normalisation` the batch normalisation's statistics are measured anew first: on the training images as they are, or
changed as the run's training changed them. Nothing here touches the test split.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.data.batches import BatchPlan, make_readers, training_plan
from polypseg.data.catalogue import find_samples
from polypseg.machine import machine, versions
from polypseg.models.checkpoint import load_model
from polypseg.preprocess import normalise
from polypseg.train.normalisation import calibration_batches, measure_normalisation
from polypseg.train.run import Run, open_run

Bytes = NDArray[np.uint8]
Change = Callable[[Bytes, Bytes], tuple[Bytes, Bytes]]

BATCH = 16
NUM_IMAGES = 512
"""Training images that batch normalisation is measured on."""


def coloured(hue: int = 0, saturation: float = 1.0, value: float = 1.0) -> Change:
    """Hue moved by so many of OpenCV's 180 steps, saturation and brightness scaled."""

    def change(image: Bytes, mask: Bytes) -> tuple[Bytes, Bytes]:
        parts = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.float32)
        parts[..., 0] = (parts[..., 0] + hue) % 180
        parts[..., 1:] *= (saturation, value)
        return cv2.cvtColor(np.clip(parts, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB), mask

    return change


def blurred(sigma_px: float) -> Change:
    """Out of focus."""
    return lambda image, mask: (cv2.GaussianBlur(image, (0, 0), sigma_px), mask)


def scaled(factor: float) -> Change:
    """Nearer or further away; what comes in from outside the frame is black."""

    def change(image: Bytes, mask: Bytes) -> tuple[Bytes, Bytes]:
        side = image.shape[0]
        matrix = np.array([[factor, 0, side * (1 - factor) / 2], [0, factor, side * (1 - factor) / 2]], np.float32)
        nearest = cv2.warpAffine(mask, matrix, (side, side), flags=cv2.INTER_NEAREST)
        return cv2.warpAffine(image, matrix, (side, side)), nearest

    return change


CHANGES: dict[str, Change] = {
    "as it is": lambda image, mask: (image, mask),
    "hue +12 degrees": coloured(hue=6),
    "hue -12 degrees": coloured(hue=-6),
    "saturation x 0.6": coloured(saturation=0.6),
    "brightness x 0.6": coloured(value=0.6),
    "blur, sigma 2 px": blurred(2),
    "shrunk x 0.65": scaled(0.65),
    "enlarged x 1.5": scaled(1.5),
}


def training_plan_of(run: Run, kind: str) -> BatchPlan:
    """How the run's training changed its images, or with `as-they-are` the same without a change."""
    config = run.config()
    plan = training_plan(config.data, config.train.seed)
    return plan if kind == "changed" else BatchPlan(plan.batch_size, "none", True, plan.seed)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, help="where the run's images are now")
    parser.add_argument("--model", type=Path, help="another .keras file of the same size than the run's best")
    parser.add_argument("--normalisation", choices=("stored", "as-they-are", "changed"), default="stored")
    options = parser.parse_args()
    run = open_run(options.run)
    samples, _ = find_samples(options.data or Path(run.environment()["data"]))
    readers = make_readers(samples, run.split(), run.config().data, run.config().split)
    model = load_model(options.model or run.best_path)
    if options.normalisation != "stored":
        plan = training_plan_of(run, options.normalisation)
        measure_normalisation(model, calibration_batches(readers["train"], plan, NUM_IMAGES))
    images, masks = readers["validation"].read(np.arange(readers["validation"].count))
    print(machine(), versions(), sep="\n")
    print(f"\n| {len(images)} validation frames | Dice | recall |\n|---|---|---|")
    scores = []
    for name, change in CHANGES.items():
        changed = [change(image, mask[..., 0]) for image, mask in zip(images, masks, strict=True)]
        seen = normalise(np.stack([image for image, _ in changed]))
        found = model.predict(seen, batch_size=BATCH, verbose=0)[..., 0] >= 0.5
        wanted = np.stack([mask for _, mask in changed]) > 0
        shown = wanted.any(axis=(1, 2))
        both, own, areas = ((m[shown].sum(axis=(1, 2))) for m in (found & wanted, found, wanted))
        scores.append(((2 * both / (own + areas)).mean(), (both / areas).mean()))
        print(f"| {name} | {scores[-1][0]:.3f} | {scores[-1][1]:.3f} |", flush=True)
    dice, recall = np.mean(scores, axis=0)
    print(f"| mean | {dice:.4f} | {recall:.4f} |")


if __name__ == "__main__":
    main()
