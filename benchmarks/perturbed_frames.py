"""How a run's best model bears frames that look otherwise: validation frames perturbed (`data.perturbations`).

    python benchmarks/perturbed_frames.py runs/kvasir
    python benchmarks/perturbed_frames.py runs/kvasir --normalisation as-they-are     # or changed
    python benchmarks/perturbed_frames.py runs/kvasir --model exported.onnx           # of the run's network

Dice and recall at the model's own size and at 0.5, means over the validation frames that show a polyp; then those of
close-ups of the same polyps, and the share of the frames in which more than 0.1 % is marked although their polyp was
cut away or covered (`data.frame_synthesis`). With `--normalisation` the batch normalisation's statistics are measured
again first: on the training images as they are, or changed as the run's training changed them. Nothing here touches the
test split.
"""

import argparse
from pathlib import Path

import keras
import numpy as np

from polypseg.data.batches import make_readers
from polypseg.data.catalogue import find_samples
from polypseg.data.epochs import BatchPlan, training_plan
from polypseg.data.frame_synthesis import close_up, without_polyp
from polypseg.data.perturbations import PERTURBATIONS, Perturbation
from polypseg.machine import machine, versions
from polypseg.models.checkpoint import load_model
from polypseg.models.onnx_weights import copy_onnx_weights
from polypseg.models.registry import build_model
from polypseg.preprocess import normalise
from polypseg.records.run import Run, open_run
from polypseg.train.normalisation import calibration_batches, measure_normalisation

BATCH = 16
LEAST_AREA = 0.001
"""Share of the frame above which a false mark is an alarm."""
NUM_IMAGES = 512
"""Training images that batch normalisation is measured on."""


def training_plan_of(run: Run, kind: str) -> BatchPlan:
    """How the run's training changed its images, or with `as-they-are` the same without a change."""
    config = run.config()
    plan = training_plan(config.data, config.train.seed)
    return plan if kind == "changed" else BatchPlan(plan.batch_size, "none", True, plan.seed)


def masks_of(model: keras.Model, images: np.ndarray, perturbation: Perturbation) -> np.ndarray:
    """What the model marks in the perturbed images, (N, H, W) bool."""
    seen = normalise(np.stack([perturbation.image(image) for image in images]))
    return np.asarray(model.predict(seen, batch_size=BATCH, verbose=0)[..., 0] >= 0.5)


def dice_and_recall(found: np.ndarray, wanted: np.ndarray) -> tuple[float, float]:
    """Means over the images that show a polyp."""
    shown = wanted.any(axis=(1, 2))
    both, own, areas = ((m[shown].sum(axis=(1, 2))) for m in (found & wanted, found, wanted))
    return float((2 * both / (own + areas)).mean()), float((both / areas).mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, help="where the run's images are now")
    parser.add_argument("--model", type=Path, help="another .keras or .onnx file of the run's network than its best")
    parser.add_argument("--normalisation", choices=("stored", "as-they-are", "changed"), default="stored")
    options = parser.parse_args()
    run = open_run(options.run)
    samples, _ = find_samples(options.data or Path(run.environment()["data"]))
    readers = make_readers(samples, run.split(), run.config().data, run.config().split)
    if options.model and options.model.suffix == ".onnx":
        model = build_model(run.config().model, run.config().data.size)
        copy_onnx_weights(model, options.model)
    else:
        model = load_model(options.model or run.best_path)
    if options.normalisation != "stored":
        plan = training_plan_of(run, options.normalisation)
        measure_normalisation(model, calibration_batches(readers["train"], plan, NUM_IMAGES))
    images, masks = readers["validation"].read(np.arange(readers["validation"].count))
    rng = np.random.default_rng(0)
    emptied = [without_polyp(image, mask[..., 0], rng) for image, mask in zip(images, masks, strict=True)]
    empty = np.stack([image for image in emptied if image is not None])
    near = [close_up(image, mask[..., 0], rng) for image, mask in zip(images, masks, strict=True)]
    near_images, near_masks = (np.stack(parts) for parts in zip(*near, strict=True))
    print(machine(), versions(), sep="\n")
    print(f"\n| {len(images)} validation frames | Dice | recall | close-ups: Dice | {len(empty)} without: alarms |")
    print("|---|---|---|---|---|")
    scores = []
    for name, perturbation in PERTURBATIONS.items():
        wanted, near_wanted = (
            np.stack([perturbation.mask(mask) for mask in ms > 0]) for ms in (masks[..., 0], near_masks)
        )
        dice, recall = dice_and_recall(masks_of(model, images, perturbation), wanted)
        close, _ = dice_and_recall(masks_of(model, near_images, perturbation), near_wanted)
        alarms = (masks_of(model, empty, perturbation).mean(axis=(1, 2)) > LEAST_AREA).mean()
        scores.append((dice, recall, close, alarms))
        print(f"| {name} | {dice:.3f} | {recall:.3f} | {close:.3f} | {alarms:.1%} |", flush=True)
    dice, recall, close, alarms = np.mean(scores, axis=0)
    print(f"| mean | {dice:.4f} | {recall:.4f} | {close:.4f} | {alarms:.1%} |")


if __name__ == "__main__":
    main()
