"""Prints the end of `make demo`: five figures, and where to look.

python scripts/demo_figures.py demo
"""

import json
import sys
from pathlib import Path

FIGURES = (("dice", "Dice"), ("iou", "IoU"), ("precision", "precision"), ("recall", "recall"))


def main(folder: Path) -> None:
    run = folder / "runs" / "demo"
    summary = json.loads((run / "evaluation" / "test" / "summary.json").read_text(encoding="utf-8"))
    print(f"\nDone. Over {summary['num_polyp_images']} synthetic test frames that the model has not seen:")
    for name, label in FIGURES:
        print(f"  mean {label:<10} {summary['metrics'][name]['mean']:.3f}")
    print(f"  lesions found   {100 * summary['metrics']['lesion_sensitivity']['mean']:.0f} %")
    print("Synthetic frames are easy: these figures say nothing about patients.\n")
    print(f"Look at  {run / 'figures' / 'validation_samples.png'}  (image, reference, prediction, attention)")
    print(f"and at   {run / 'figures' / 'training_curves.png'}")
    print(f"All metrics: {folder / 'evaluation.txt'}. Next: README.md, 'I have 60 images of my own'.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
