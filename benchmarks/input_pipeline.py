"""How fast the input pipeline is beside the training step, and how much memory streaming takes.

    python benchmarks/input_pipeline.py

1. Images per second that `get_tf_dataset` delivers, for each augmentation preset, cached and streamed from disk,
   and their ratio to what a training step of the 16-filter Attention U-Net consumes (256 px, batch 8).
   The pipelines and the step take turns, so that whatever else the machine does hits all alike.
2. Resident memory while streaming 1,000, 10,000 and 50,000 samples, each in a process of its own. The samples are
   a synthetic set named again and again: the pipeline reads each of them again.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

SIZE, BATCH_SIZE, FILTERS = 256, 8, 16


def make_samples(folder: Path, count: int) -> list[Any]:
    """`count` samples with unique names over the files of a synthetic set."""
    from polypseg.data.catalogue import find_samples

    found, _ = find_samples(folder)
    return [replace(found[index % len(found)], name=f"{index:06d}", group=None) for index in range(count)]


def batches_forever(dataset: Any) -> Iterator[Any]:
    while True:
        yield from dataset


def seconds_a_batch(batches: Iterator[Any], count: int) -> float:
    start = time.perf_counter()
    for _ in islice(batches, count):
        pass
    return (time.perf_counter() - start) / count


def measure_speed(folder: Path, rounds: int) -> None:
    import numpy as np

    from polypseg.data.batches import SampleReader, tf_batches
    from polypseg.data.epochs import BatchPlan
    from polypseg.models.attention_unet import attention_unet
    from polypseg.train.losses import BinaryCrossentropyDice

    samples = make_samples(folder, 160)
    model = attention_unet((SIZE, SIZE, 3), filters=FILTERS)
    model.compile("adam", BinaryCrossentropyDice())
    images = np.random.default_rng(0).random((BATCH_SIZE, SIZE, SIZE, 3), np.float32)
    masks = (images[..., :1] > 0.8).astype(np.float32)
    model.train_on_batch(images, masks)
    pipelines = {}
    for cache in ("memory", "none"):
        for preset in ("none", "flip", "standard"):
            reader = SampleReader(samples, SIZE, keep=cache == "memory")
            pipelines[cache, preset] = batches_forever(tf_batches(reader, BatchPlan(BATCH_SIZE, preset, True, 0)))
            seconds_a_batch(pipelines[cache, preset], 40)  # fills the cache and settles the pipeline
    steps: list[float] = []
    rates: dict[tuple[str, str], list[float]] = {key: [] for key in pipelines}
    for _ in range(rounds):
        start = time.perf_counter()
        model.train_on_batch(images, masks)
        steps.append(time.perf_counter() - start)
        for key, batches in pipelines.items():
            seconds_a_batch(batches, 6)  # what was prefetched while others ran
            rates[key].append(steps[-1] / seconds_a_batch(batches, 10))
    step = statistics.median(steps)
    print(f"\ntraining step: {step:.2f} s, {BATCH_SIZE / step:.1f} images/s (median of {rounds})\n")
    print("| cache | augmentation | pipeline: images/s | times the training step |\n|---|---|---|---|")
    for (cache, preset), ratios in rates.items():
        ratio, spread = statistics.median(ratios), f"{min(ratios):.1f}-{max(ratios):.1f}"
        print(f"| {cache} | {preset} | {ratio * BATCH_SIZE / step:.0f} | {ratio:.1f} ({spread}) |")


def measure_memory(folder: Path, count: int) -> None:
    """Stream `count` samples once and print the resident memory after the first 400 and at the end."""
    from polypseg.data.batches import BatchPlan, SampleReader, tf_batches

    reader = SampleReader(make_samples(folder, count), SIZE, keep=False)
    start, early = time.perf_counter(), 0
    for number, _ in enumerate(tf_batches(reader, BatchPlan(BATCH_SIZE, "none", True, 0)), start=1):
        if number == 50:
            early = resident_mib()
    rate = count / (time.perf_counter() - start)
    print(f"| {count:,} | {early} | {resident_mib()} | {rate:.0f} |", flush=True)


def resident_mib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 2**20


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--counts", type=int, nargs="*", default=[1000, 10_000, 50_000], help="samples to stream")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if options.memory:
        measure_memory(options.folder, options.memory)
        return
    from polypseg.data.synthetic import make_synthetic

    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_synthetic(folder, 40, seed=0, side_range=(400, 640))
        measure_speed(folder, options.rounds)
        print(
            "\n| samples streamed | resident after 400, MiB | at the end | images/s |\n|---|---|---|---|",
            flush=True,
        )
        for count in options.counts:
            command = [sys.executable, __file__, "--memory", str(count), "--folder", str(folder)]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
