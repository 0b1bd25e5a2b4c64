"""What the second look of an int8 file does: images whose Dice is far from that in float, before and after it.

    python benchmarks/close_calls.py polyp-lite data/kvasir-seg --splits splits.json --split test
    python benchmarks/close_calls.py polyp-lite data/cvc-clinicdb --every 4

Each image is predicted by every installed engine, by its first look alone and with the second one, and by the same
file's graph in float. The images are those of a folder, or of one split of it.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from polypseg.cli.console import track
from polypseg.data.catalogue import find_samples
from polypseg.data.samples import Sample
from polypseg.export.proof import APART, installed_engines
from polypseg.metrics.overlap import dice
from polypseg.predict.engines.engine import Engine
from polypseg.predict.engines.opening import open_engine
from polypseg.predict.engines.packaged import resolve
from polypseg.predict.engines.restricted import engine_label
from polypseg.predict.engines.second_look import SecondLook
from polypseg.predict.predictor import Predictor
from polypseg.preprocess import read_image, read_mask
from polypseg.records.split import load_split

FLOAT, FIRST, BOTH = "float", "first look", "with the second look"


def main() -> None:
    arguments = _arguments()
    samples, _ = find_samples(arguments.data)
    if arguments.splits:
        samples = load_split(arguments.splits).select(samples, arguments.split)
    found = measure(resolve(arguments.model), [s for s in samples if s.mask_path][:: arguments.every])
    print("\n".join(lines(found)))


def measure(path: Path, samples: list[Sample]) -> dict[str, dict[str, list[float]]]:
    """By engine and way the Dice of each image with a polyp; and by engine, under `again`, 1 for each second look."""
    engines = {engine_label(name): open_engine(path, name) for name in installed_engines()}
    found: dict[str, dict[str, list[float]]] = {name: {FLOAT: [], FIRST: [], BOTH: [], "again": []} for name in engines}
    for sample in track(samples, "measuring Dice", len(samples)):
        reference = read_mask(sample.mask_path, sample.mask_rule) if sample.mask_path else None
        if reference is None or not reference.any():
            continue
        image = read_image(sample.image_path)
        for name, engine in engines.items():
            if not isinstance(engine, SecondLook):
                raise SystemExit(f"{path}: looks at no image again; export it as int8 .onnx")
            before = engine.num_again
            ways: dict[str, Engine] = {FLOAT: engine.second(), FIRST: engine.first, BOTH: engine}
            for way, each in ways.items():
                found[name][way].append(dice(Predictor(each).predict(image).mask, reference))
            found[name]["again"].append(engine.num_again - before)
    return found


def lines(found: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    """The table, in Markdown."""
    yield f"| engine | images | mean Dice in float | {FIRST} | {BOTH} | again | apart before | after | most |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, ways in found.items():
        means = " | ".join(f"{fmean(ways[way]):.4f}" for way in (FLOAT, FIRST, BOTH))
        far = {way: [abs(a - b) for a, b in zip(ways[way], ways[FLOAT], strict=True)] for way in (FIRST, BOTH)}
        apart = " | ".join(str(sum(value > APART for value in far[way])) for way in (FIRST, BOTH))
        again = f"{100 * fmean(ways['again']):.1f} %"
        yield f"| {name} | {len(ways[FLOAT])} | {means} | {again} | {apart} | {max(far[BOTH]):.3f} |"
    for way in (FIRST, BOTH):
        every = [ways[way] for ways in found.values()]
        between = [max(row) - min(row) for row in zip(*every, strict=True)]
        yield f"between the engines, {way}: {sum(value > APART for value in between)} more than {APART} apart"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="an included model, or an int8 .onnx file")
    parser.add_argument("data", type=Path, help="folder of images and masks")
    parser.add_argument("--splits", type=Path, help="split manifest or CSV")
    parser.add_argument("--split", default="test")
    parser.add_argument("--every", type=int, default=1, help="take every n-th image alone")
    return parser.parse_args()


if __name__ == "__main__":
    main()
