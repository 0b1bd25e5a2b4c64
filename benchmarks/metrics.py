"""Seconds for all metrics over 100 images at Kvasir-SEG's own sizes, beside PySODMetrics and MONAI.

    python benchmarks/metrics.py --peer-python peers/bin/python

Images are drawn (blobs at sizes and in proportions of Kvasir-SEG: 332x487 to 1920x1072, three of four near
622x529), so it runs without data; `--data DIR` takes the masks of a folder (images/ + masks/) instead, with maps
made from them. Contestants take turns image by image on one thread each and are charged by CPU seconds, so that
whatever else the machine does hits both alike; the figure to trust is the ratio of their sums. Nothing but the
scoring is timed. Only the run on all cores is by the clock. MONAI lives in an environment of its own
(`pip install monai scipy`) and gets the same masks in a file.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

TOLERANCE_PX = 2.0

# (height, width): every 50th of Kvasir-SEG's 1000 sizes in the order of their area, the smallest and the largest
SIZES = [
    *((449, 469), (528, 528), (529, 560), (530, 570), (531, 570), (546, 568), (513, 617), (513, 625)),
    *((528, 616), (529, 619), (528, 622), (530, 620), (529, 622), (530, 622), (530, 622), (531, 622)),
    *((546, 621), (546, 626), (547, 626), (576, 720), (487, 332), (1072, 1920)),
]


class Pair(NamedTuple):
    """An 8-bit map and its reference."""

    levels: np.ndarray
    reference: np.ndarray


class Duel(NamedTuple):
    """Seconds of two contestants over the same images, and the largest difference of their scores."""

    ours: float
    peer: float
    difference: float


def drawn_pair(number: int) -> Pair:
    """A blob with a rough outline, and a soft map of a slightly other one."""
    import cv2

    rng = np.random.default_rng(number)
    height, width = SIZES[number % len(SIZES)]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    noise = cv2.resize(rng.normal(0, 1, (12, 12)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    row, column = rng.uniform(0.3, 0.7, 2) * (height, width)
    radii = rng.uniform(0.12, 0.3, 2) * min(height, width)
    distance = np.hypot((rows - row) / radii[0], (columns - column) / radii[1])
    reference = distance + 0.15 * noise < 1
    other = cv2.resize(rng.normal(0, 1, (20, 20)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    probability = 1 / (1 + np.exp((distance + 0.15 * noise + 0.1 * other - 1) * 12))
    return Pair((255 * probability + 0.5).astype(np.uint8), reference)


def real_pair(mask_path: Path) -> Pair:
    """A real mask, and a map made of it: shifted by 1 %, blurred."""
    import cv2

    from polypseg.preprocess import read_mask

    reference = read_mask(mask_path)
    shift = max(1, reference.shape[1] // 100)
    blurred = cv2.GaussianBlur(np.roll(reference, shift, axis=1).astype(np.float32), (0, 0), shift)
    return Pair((255 * blurred + 0.5).astype(np.uint8), reference)


def pairs(num_images: int, data: Path | None) -> Iterator[Pair]:
    if data is None:
        yield from (drawn_pair(number) for number in range(num_images))
    else:
        paths = sorted((data / "masks").iterdir())
        yield from (real_pair(path) for path in paths[:: max(1, len(paths) // num_images)][:num_images])


def timed(work: Callable[[], dict[str, float]]) -> tuple[float, dict[str, float]]:
    """CPU seconds of the work, and what it gave."""
    start = time.process_time()
    scores = work()
    return time.process_time() - start, scores


def our_saliency(pair: Pair) -> dict[str, float]:
    from polypseg.metrics.saliency import saliency_scores

    scores = saliency_scores(pair.levels, pair.reference, min_max=True)
    curves = {"dice": scores.dice, "iou": scores.iou, "e_measure": scores.e_measure}
    figures = {f"{name}_{level}": float(curve[level]) for name, curve in curves.items() for level in range(256)}
    return figures | {
        "adaptive_e": scores.adaptive_e_measure,
        "s": scores.s_measure,
        "weighted_f": scores.weighted_f,
        "mae": scores.mean_absolute_error,
    }


def peer_saliency(pair: Pair) -> dict[str, float]:
    import py_sod_metrics as peer

    handlers = {"dice": peer.DICEHandler(True, False), "iou": peer.IOUHandler(True, False)}
    meters = [peer.FmeasureV2(handlers), peer.Emeasure(), peer.Smeasure(), peer.WeightedFmeasure(), peer.MAE()]
    grey = pair.reference.view(np.uint8) * np.uint8(255)
    for meter in meters:
        meter.step(pair.levels, grey)
    counted, aligned, structure, weighted, error = (meter.get_results() for meter in meters)
    curves = {"dice": counted["dice"]["dynamic"], "iou": counted["iou"]["dynamic"], "e_measure": aligned["em"]["curve"]}
    figures = {f"{name}_{level}": float(curve[255 - level]) for name, curve in curves.items() for level in range(256)}
    return figures | {
        "adaptive_e": float(aligned["em"]["adp"]),
        "s": float(structure["sm"]),
        "weighted_f": float(weighted["wfm"]),
        "mae": float(error["mae"]),
    }


def saliency_duel(num_images: int, data: Path | None) -> Duel:
    ours = peer = difference = 0.0
    for pair in pairs(num_images, data):
        our_seconds, our_scores = timed(lambda pair=pair: our_saliency(pair))
        peer_seconds, peer_scores = timed(lambda pair=pair: peer_saliency(pair))
        ours, peer = ours + our_seconds, peer + peer_seconds
        difference = max(difference, *(abs(our_scores[name] - peer_scores[name]) for name in peer_scores))
    return Duel(ours, peer, difference)


def group_seconds(num_images: int, data: Path | None) -> dict[str, float]:
    """Seconds of `score_image` for each group of metrics alone, and for all together."""
    from polypseg.metrics.table import GROUPS, ScoreSettings, score_image

    settings = {group: ScoreSettings(groups=(group,)) for group in GROUPS} | {"all": ScoreSettings()}
    totals = dict.fromkeys(settings, 0.0)
    for pair in pairs(num_images, data):
        probability = pair.levels.astype(np.float32) / 255
        for name, setting in settings.items():
            seconds, _ = timed(lambda s=setting, p=probability, r=pair.reference: score_image(p, r, s).row)
            totals[name] += seconds
    return totals


def dice_by_definition(num_images: int, data: Path | None) -> dict[str, float]:
    """What the word Dice means in different papers, for one and the same maps."""
    from polypseg.metrics.overlap import Counts, pooled
    from polypseg.metrics.table import ScoreSettings, score_image

    rows, counts = [], []
    for pair in pairs(num_images, data):
        probability = pair.levels.astype(np.float32) / 255
        row = score_image(probability, pair.reference, ScoreSettings(groups=("overlap", "saliency"))).row
        stretched = score_image(probability, pair.reference, ScoreSettings(groups=("saliency",), min_max=True)).row
        rows.append(row | {"stretched": stretched["pranet_mean_dice"]})
        counts.append(Counts(*(int(row[name]) for name in Counts._fields)))
    mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    total = pooled(counts)
    return {
        "mean over images at 0.5": mean["dice"],
        "median": float(np.median([row["dice"] for row in rows])),
        "pooled": total.dice,
        "two-class mean": mean["two_class_dice"],
        "two-class pooled": (total.dice + total.background.dice) / 2,
        "256 thresholds": mean["pranet_mean_dice"],
        "256 thresholds after min-max": mean["stretched"],
        "soft": mean["soft_dice"],
    }


_held: list[Pair] = []


def _hold(num_images: int, data: Path | None) -> None:
    import cv2

    cv2.setNumThreads(1)
    _held.extend(pairs(num_images, data))


def _score_held(number: int) -> float:
    from polypseg.metrics.table import score_image

    pair = _held[number]
    return score_image(pair.levels.astype(np.float32) / 255, pair.reference).row["dice"]


def all_cores_seconds(num_images: int, data: Path | None, workers: int) -> float:
    """Wall seconds of all metrics, the images already lying in each process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _hold, (num_images, data)) as pool:
        list(pool.map(_score_held, range(num_images), chunksize=max(1, num_images // workers)))  # starts and warms up
        start = time.perf_counter()
        list(pool.map(_score_held, range(num_images)))
        return time.perf_counter() - start


def peak_mib(num_images: int) -> float:
    """Peak memory of a fresh process that scores so many images one after the other and sums their curves."""
    command = [sys.executable, __file__, "--only-memory", str(num_images)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def score_and_print_peak(num_images: int) -> None:
    from polypseg.metrics.table import score_image
    from polypseg.metrics.thresholds import ThresholdCurves

    curves = ThresholdCurves()
    for pair in pairs(num_images, None):
        curves.add(score_image(pair.levels.astype(np.float32) / 255, pair.reference).histogram)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak / (1024 if sys.platform != "darwin" else 1024**2))


def our_boundary(predicted: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    from polypseg.metrics.boundary import boundary_distances

    distances = boundary_distances(predicted, reference)
    return {
        "hd95": distances.hausdorff_95_px,
        "asd": distances.average_px,
        "nsd": distances.within(TOLERANCE_PX),
    }


def monai_boundary(predicted: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    first, second = (torch.from_numpy(mask)[None, None].float() for mask in (predicted, reference))
    hausdorff = compute_hausdorff_distance(first, second, include_background=True, percentile=95)
    average = compute_average_surface_distance(first, second, include_background=True, symmetric=True)
    within = compute_surface_dice(first, second, class_thresholds=[TOLERANCE_PX], include_background=True)
    return {"hd95": float(hausdorff), "asd": float(average), "nsd": float(within)}


def run_as_peer(folder: Path) -> None:
    """MONAI's part: scores mask after mask as the other process asks for them."""
    import monai
    import torch

    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    print(json.dumps({"version": f"MONAI {monai.__version__}, torch {torch.__version__}"}), flush=True)
    for line in sys.stdin:
        masks = np.load(folder / f"{line.strip()}.npz")
        predicted, reference = masks["predicted"], masks["reference"]
        seconds, scores = timed(lambda p=predicted, r=reference: monai_boundary(p, r))
        print(json.dumps({"seconds": seconds, "scores": scores}), flush=True)


def boundary_duel(num_images: int, data: Path | None, peer_python: str) -> tuple[Duel, str]:
    ours = peer = difference = 0.0
    with tempfile.TemporaryDirectory() as folder:
        command = [peer_python, __file__, "--as-peer", folder]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            if process.stdin is None or process.stdout is None:
                raise RuntimeError("the peer has no pipes")
            name = json.loads(process.stdout.readline())["version"]
            for number, pair in enumerate(pairs(num_images, data)):
                predicted = pair.levels >= 128
                np.savez(Path(folder) / f"{number}.npz", predicted=predicted, reference=pair.reference)
                print(number, file=process.stdin, flush=True)
                answer = json.loads(process.stdout.readline())
                seconds, scores = timed(lambda p=predicted, r=pair.reference: our_boundary(p, r))
                if number:  # the first call of either side loads libraries
                    ours, peer = ours + seconds, peer + answer["seconds"]
                difference = max(difference, *(abs(scores[name] - answer["scores"][name]) for name in scores))
                (Path(folder) / f"{number}.npz").unlink()
            process.stdin.close()
    return Duel(ours, peer, difference), name


def machine() -> str:
    model = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if "model name" in line), "")
    return f"{platform.system()} {platform.machine()}, {model or platform.processor()}, {os.cpu_count()} cores"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--data", type=Path, help="folder with masks/, as Kvasir-SEG")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes of the run on all cores")
    parser.add_argument("--peer-python", help="Python of an environment with monai and scipy")
    parser.add_argument("--as-peer", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only-memory", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parsed()
    if options.as_peer:
        run_as_peer(options.as_peer)
        return
    if options.only_memory:
        score_and_print_peak(options.only_memory)
        return
    import cv2

    cv2.setNumThreads(1)  # one process is one thread, here and in the workers
    our_saliency(drawn_pair(0)), peer_saliency(drawn_pair(0))  # loads what is loaded once
    print(machine())
    packages = ("numpy", "scipy", "opencv-python-headless", "pysodmetrics")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages))
    print(f"{options.images} images, {'drawn' if options.data is None else options.data.name}\n")
    duel = saliency_duel(options.images, options.data)
    _print_duel("PraNet protocol, one thread", "PySODMetrics", duel)
    if options.peer_python:
        duel, name = boundary_duel(options.images, options.data, options.peer_python)
        _print_duel("boundary metrics, one thread", name, duel)
    seconds = group_seconds(options.images, options.data)
    print("score_image, one thread, ms an image: " + _per_image(seconds, options.images))
    wall = all_cores_seconds(options.images, options.data, options.workers)
    print(
        f"all metrics: {seconds['all']:.2f} CPU s in one process; {wall:.2f} s by the clock in {options.workers}, ",
        end="",
    )
    print(f"load of the machine {os.getloadavg()[0]:.1f}")
    few, many = peak_mib(25), peak_mib(400)
    print(f"peak memory: {few:.0f} MiB after 25 images, {many:.0f} MiB after 400")
    print("Dice of these maps: ", end="")
    print(", ".join(f"{name} {score:.3f}" for name, score in dice_by_definition(options.images, options.data).items()))


def _per_image(seconds: dict[str, float], num_images: int) -> str:
    return ", ".join(f"{name} {1000 * total / num_images:.1f}" for name, total in seconds.items())


def _print_duel(title: str, peer: str, duel: Duel) -> None:
    print(
        f"{title}: polypseg {duel.ours:.2f} CPU s, {peer} {duel.peer:.2f} CPU s, ratio {duel.peer / duel.ours:.1f}, ",
        end="",
    )
    print(f"largest difference {duel.difference:.1e}")


if __name__ == "__main__":
    main()
