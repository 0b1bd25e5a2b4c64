"""What it costs a model that a frame's picture is small within the frame, and that it is squeezed to a square.

    python benchmarks/field_and_aspect.py data/kvasir-seg --splits runs/kvasir/splits.json
    python benchmarks/field_and_aspect.py data/my-frames --model model.onnx --limit 40 --tables canvas

**canvas**: each frame, shrunk to at most 512 px, is put into a black canvas, of whose sides it takes a share, at a
random place. Mean Dice of the canvas's mask where the model sees the whole canvas, and where it sees the lit field;
then the mean Dice of each mask with the mask of the frame alone.

**aspect**: each frame is squeezed to the model's square, or keeps its aspect and is padded with black, or with its own
mirrored border; of the whole frame and of the lit field. Mean Dice over all frames, and over those of each aspect.

Frames with a polyp alone, at the model's own thresholds. With `--splits`, those of its validation split. Of Kvasir-SEG
without a manifest the 880: a choice that is made here must not have seen the 120 official test images.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from polypseg.arrays import Image, Mask
from polypseg.data.catalogue import find_samples
from polypseg.data.official import is_kvasir_seg, official_test_names
from polypseg.data.samples import Sample, load_sample
from polypseg.machine import machine, versions
from polypseg.metrics.overlap import dice
from polypseg.predict.mirroring import run_augmented
from polypseg.predict.predictor import Predictor, load
from polypseg.preprocess import field_of, normalise, put_back, resize_image, resize_mask, to_mask
from polypseg.records.split import load_split

SCALES = (1.0, 0.8, 0.6, 0.5, 0.4, 0.3)
LARGEST_PX = 512
"""Longer side to which a frame is shrunk, so that the largest canvas stays below 1,710 px."""
RULES = ("whole", "auto")
FITS = {"squeezed": None, "padded black": cv2.BORDER_CONSTANT, "padded mirrored": cv2.BORDER_REFLECT_101}
ASPECTS = (1.1, 1.3)
"""Limits of longer side over shorter side between the columns of the second table."""


def chosen_samples(options: argparse.Namespace) -> list[Sample]:
    """The frames to measure on: spread evenly over those of the folder that may be used."""
    samples, _ = find_samples(options.data)
    if options.splits:
        samples = load_split(options.splits).select(samples, "validation")
    elif is_kvasir_seg([sample.name for sample in samples]):
        test = official_test_names([sample.name for sample in samples])
        samples = [sample for sample in samples if sample.name not in test]
    if not options.limit or options.limit >= len(samples):
        return samples
    return [samples[i] for i in np.linspace(0, len(samples) - 1, options.limit).round().astype(int)]


def on_canvas(image: Image, mask: Mask, scale: float, rng: np.random.Generator) -> tuple[Image, Mask, tuple[int, int]]:
    """Frame and mask in a black canvas of whose sides the frame takes `scale`; and the place of its corner."""
    height, width = mask.shape
    tall, wide = round(height / scale), round(width / scale)
    top, left = int(rng.integers(tall - height + 1)), int(rng.integers(wide - width + 1))
    canvas, reference = np.zeros((tall, wide, 3), np.uint8), np.zeros((tall, wide), bool)
    canvas[top : top + height, left : left + width] = image
    reference[top : top + height, left : left + width] = mask
    return canvas, reference, (top, left)


def canvas_table(predictor: Predictor, frames: Sequence[tuple[Image, Mask]]) -> None:
    """Print the first table."""
    by_rule = {rule: predictor.with_options(field=rule) for rule in RULES}
    alone = {rule: [model.predict(image).mask for image, _ in frames] for rule, model in by_rule.items()}
    print(
        f"\n| {len(frames)} frames: share of the canvas's sides | Dice, whole | Dice, lit field | as alone, whole | ",
        end="",
    )
    print("as alone, lit field |\n|---|---|---|---|---|")
    for scale in SCALES:
        rng = np.random.default_rng(0)
        right: dict[str, list[float]] = {rule: [] for rule in RULES}
        same: dict[str, list[float]] = {rule: [] for rule in RULES}
        for place, (image, mask) in enumerate(frames):
            canvas, reference, (top, left) = on_canvas(image, mask, scale, rng)
            for rule, model in by_rule.items():
                found = model.predict(canvas).mask
                right[rule].append(dice(found, reference))
                inside = found[top : top + mask.shape[0], left : left + mask.shape[1]]
                same[rule].append(dice(inside, alone[rule][place]))
        means = [np.mean(values[rule]) for values in (right, same) for rule in RULES]
        print(f"| {scale:g} | {' | '.join(f'{mean:.3f}' for mean in means)} |", flush=True)


def mask_of_fit(predictor: Predictor, image: Image, rule: str, border: int | None) -> Mask:
    """The mask of an image that is squeezed (no border), or keeps its aspect and is padded."""
    field, _ = field_of(image, rule)
    seen, size = field.crop(image), predictor.engine.size
    height, width = seen.shape[:2]
    if border is None:
        inner = (size, size)
    else:
        inner = tuple(max(1, round(size * side / max(height, width))) for side in (height, width))
    top, left = ((size - side) // 2 for side in inner)
    bottom, right = size - inner[0] - top, size - inner[1] - left
    square = resize_image(seen, inner)
    if border is not None:
        square = cv2.copyMakeBorder(square, top, bottom, left, right, border)
    outputs = run_augmented(predictor.engine, normalise(square)[None])
    own = outputs.probabilities[0, top : top + inner[0], left : left + inner[1], 0]
    return to_mask(put_back(own, field, image.shape), predictor.threshold, predictor.peak_threshold)


def aspect_table(predictor: Predictor, frames: Sequence[tuple[Image, Mask]]) -> None:
    """Print the second table."""
    aspects = np.array([max(mask.shape) / min(mask.shape) for _, mask in frames])
    column = np.searchsorted(ASPECTS, aspects, side="right")
    counts = [int((column == kind).sum()) for kind in range(3)]
    names = (f"below {ASPECTS[0]}", f"{ASPECTS[0]} to {ASPECTS[1]}", f"{ASPECTS[1]} and more")
    heads = [f"{name} ({count})" for name, count in zip(names, counts, strict=True)]
    print(f"\n| sees | fit | all {len(frames)} | aspect {' | aspect '.join(heads)} |\n|---|---|---|---|---|---|")
    for rule in RULES:
        for name, border in FITS.items():
            values = np.array([dice(mask_of_fit(predictor, image, rule, border), mask) for image, mask in frames])
            means = [values.mean()] + [values[column == kind].mean() if counts[kind] else np.nan for kind in range(3)]
            print(f"| {rule} | {name} | {' | '.join(f'{mean:.3f}' for mean in means)} |", flush=True)


def shrunk(image: Image, mask: Mask) -> tuple[Image, Mask]:
    """Frame and mask, at most `LARGEST_PX` long."""
    factor = min(1.0, LARGEST_PX / max(mask.shape))
    size = round(mask.shape[0] * factor), round(mask.shape[1] * factor)
    return resize_image(image, size), resize_mask(mask, size)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of images and masks")
    parser.add_argument("--model", help="a run, a model file or an included model; without: the included default")
    parser.add_argument("--splits", type=Path, help="splits.json, of which the validation images are taken")
    parser.add_argument("--limit", type=int, default=0, help="at most so many frames; 0: all")
    parser.add_argument("--threads", type=int, help="processor cores to use at most")
    parser.add_argument("--tables", nargs="+", choices=("canvas", "aspect"), default=["canvas", "aspect"])
    options = parser.parse_args()
    predictor = load(options.model, threads=options.threads)
    frames = [(image, mask) for image, mask in map(load_sample, chosen_samples(options)) if mask.any()]
    print(machine(), versions(), sep="\n")
    facts = predictor.engine.facts
    print(
        f"model {facts.name} {facts.version}, trained with field {facts.field!r}, threshold {predictor.threshold:.3f}"
    )
    if "canvas" in options.tables:
        canvas_table(predictor, [shrunk(image, mask) for image, mask in frames])
    if "aspect" in options.tables:
        aspect_table(predictor, frames)


if __name__ == "__main__":
    main()
