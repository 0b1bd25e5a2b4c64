"""How a run's best model bears frames that look otherwise: validation frames perturbed (`data.perturbations`).

    python benchmarks/perturbed_frames.py runs/kvasir
    python benchmarks/perturbed_frames.py runs/kvasir --normalisation as-they-are     # or changed

Dice and recall at the model's own size and at 0.5, means over the validation frames that show a polyp. With
`--normalisation` the batch normalisation's statistics are measured anew first: on the training images as they are, or
changed as the run's training changed them. Nothing here touches the test split.
"""

import argparse
from pathlib import Path

import numpy as np

from polypseg.data.batches import BatchPlan, make_readers, training_plan
from polypseg.data.catalogue import find_samples
from polypseg.data.perturbations import PERTURBATIONS
from polypseg.machine import machine, versions
from polypseg.models.checkpoint import load_model
from polypseg.preprocess import normalise
from polypseg.train.normalisation import calibration_batches, measure_normalisation
from polypseg.train.run import Run, open_run

BATCH = 16
NUM_IMAGES = 512
"""Training images that batch normalisation is measured on."""


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
    for name, perturbation in PERTURBATIONS.items():
        seen = normalise(np.stack([perturbation.image(image) for image in images]))
        found = model.predict(seen, batch_size=BATCH, verbose=0)[..., 0] >= 0.5
        wanted = np.stack([perturbation.mask(mask[..., 0] > 0) for mask in masks])
        shown = wanted.any(axis=(1, 2))
        both, own, areas = ((m[shown].sum(axis=(1, 2))) for m in (found & wanted, found, wanted))
        scores.append(((2 * both / (own + areas)).mean(), (both / areas).mean()))
        print(f"| {name} | {scores[-1][0]:.3f} | {scores[-1][1]:.3f} |", flush=True)
    dice, recall = np.mean(scores, axis=0)
    print(f"| mean | {dice:.4f} | {recall:.4f} |")


if __name__ == "__main__":
    main()
