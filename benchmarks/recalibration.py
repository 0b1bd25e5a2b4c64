"""How reliable probabilities are around the outlines of polyps, before and after recalibration, here and elsewhere.

    python benchmarks/recalibration.py polyp-lite --kvasir data/kvasir-seg --test data/cvc-clinicdb --cache /tmp/doubt

Fitted on the validation images of Kvasir-SEG's official split (80 of the 880), where each group is judged by a fit
without it; then judged on frames of --test, which nothing was fitted on. With --cache the counts of each frame are kept
there. At the end the time of turning a map, beside that of a prediction.
"""

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np

from polypseg.config.tables import SplitConfig
from polypseg.data.catalogue import find_samples
from polypseg.data.samples import Sample, load_sample
from polypseg.data.splits import make_split
from polypseg.explain.recalibrating import METHODS, FrameCounts, Looked, cross_fitted, fit, judged, look_at
from polypseg.machine import machine, versions
from polypseg.predict.engines.packaged import resolve
from polypseg.predict.predictor import Predictor, load
from polypseg.records.digests import model_file_digest


def looked_at(predictor: Predictor, samples: Sequence[Sample], cache: Path | None, digest: str) -> Looked:
    """The counts of some frames, from the cache where they are."""
    key = hashlib.sha256(" ".join([digest, *(sample.name for sample in samples)]).encode()).hexdigest()[:16]
    path = cache / f"bands-{key}.npz" if cache else None
    if path is None or not path.exists():
        looked = look_at(predictor, samples)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            parts = [np.stack([getattr(each, part) for each in looked.counts]) for part in ("band", "whole")]
            np.savez_compressed(path, band=parts[0], whole=parts[1], units=np.array(looked.units))
        return looked
    with np.load(path) as kept:
        counts = [FrameCounts(band, whole) for band, whole in zip(kept["band"], kept["whole"], strict=True)]
        return Looked([], counts, kept["units"].tolist())


def cost(predictor: Predictor, sample: Sample, looked: Looked, repeats: int = 15) -> None:
    """Print the time of turning a map of the image's size beside that of a prediction."""
    image, _ = load_sample(sample)
    record, found = fit("temperature", looked), predictor.predict(image)
    times: dict[str, list[float]] = {"prediction": [], "turning": []}
    for _ in range(repeats):
        began = perf_counter()
        predictor.predict(image)
        middle = perf_counter()
        record.apply(found.probability)
        times["prediction"].append(middle - began)
        times["turning"].append(perf_counter() - middle)
    whole, turning = (float(np.median(each)) for each in times.values())
    height, width = found.mask.shape
    print(
        f"\n{height}x{width}: turning {1000 * turning:.2f} ms, prediction {1000 * whole:.1f} ms: "
        f"{turning / whole:.1%}, medians of {repeats}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--kvasir", type=Path, required=True, help="Kvasir-SEG, for its 80 validation images")
    parser.add_argument("--test", type=Path, action="append", default=[], help="frames of another hospital")
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    path = resolve(options.model)
    predictor, digest = load(path, "onnxruntime", threads=1), model_file_digest(path)
    print(machine(), versions(), f"{options.model}, digest {digest[:12]}", sep="\n")
    kvasir, _ = find_samples(options.kvasir)
    entries = make_split(kvasir, SplitConfig(kind="official")).entries
    validation = [sample for sample in kvasir if entries[sample.name].split == "validation"]
    own = looked_at(predictor, validation, options.cache, digest)
    others = {
        folder.name: looked_at(predictor, find_samples(folder)[0], options.cache, digest) for folder in options.test
    }
    print("\n| method | frames | error in the band | Brier in the band | error in the whole frame |")
    print("|---|---|---|---|---|")
    for method in METHODS:
        record = fit(method, own)
        rows = [judged(own, cross_fitted(method, own), "validation, cross-fitted")]
        rows += [judged(looked, [record] * len(looked.counts), name) for name, looked in others.items()]
        for row in rows:
            print(
                f"| {record.words} | {row.data}, {row.num_frames} | {row.error_before:.4f} -> {row.error_after:.4f} | "
                f"{row.brier_before:.4f} -> {row.brier_after:.4f} | {row.whole_before:.4f} -> {row.whole_after:.4f} |"
            )
    cost(predictor, validation[0], own)


if __name__ == "__main__":
    main()
