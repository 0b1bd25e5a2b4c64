"""Memory, rate and busy cores of `polypseg predict` over many images, each count in a process of its own.

    python benchmarks/predict_memory.py model.onnx --counts 200 2000
    python benchmarks/predict_memory.py model.onnx --counts 10000 --size 120 160

Memory is flat where the peak of the last count is that of the first, and where what is resident after each tenth of
the images (Linux tells it) does not grow. `busy` is the processor time over the time that
all cores had: what else runs on the machine at the same time lowers it.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from polypseg.data.synthetic import synthetic_image

DRAWN = 40
"""Different images; the others are links to them, so that a disk holds any number."""

RUN = """
import json, os, resource, sys, time
from pathlib import Path
from polypseg.predict.images.work import WorkOptions, predict_images, streams_for
from polypseg.predict.images.outputs import OutputFolder, OutputOptions
from polypseg.predict.predictor import load
from polypseg.predict.images.resume import record_of
from polypseg.predict.images.sources import find_sources
model, images, out, batch_size, engine = sys.argv[1:]
sources = find_sources([images])
streams = streams_for(len(sources)) if int(batch_size) == 1 else 1
predictor = load(model, engine, streams=streams)
resident = []
def track(items, description, total):
    for number, item in enumerate(items, start=1):
        if number % max(1, total // 10) == 0 and Path("/proc/self/statm").exists():
            resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20)
        yield item
began, processor = time.perf_counter(), time.process_time()
output = OutputFolder(Path(out), OutputOptions(overlays=True, coco=True))
record = record_of(Path(model), predictor)
summary = predict_images(sources, output, predictor, record, WorkOptions(int(batch_size), streams=streams), track)
wall = time.perf_counter() - began
print(json.dumps({
    "images": summary.num_predicted,
    "resident_mb": resident,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "images_a_second": summary.num_predicted / wall,
    "busy": (time.process_time() - processor) / wall / len(os.sched_getaffinity(0)),
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="an exported model")
    parser.add_argument("--counts", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--size", type=int, nargs=2, default=[530, 600], help="height and width")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--engine", default="auto")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'images':>8} {'peak MB':>8} {'images/s':>9} {'busy':>6}  resident MB after each tenth")
    with tempfile.TemporaryDirectory() as folder:
        for count in arguments.counts:
            images, out = Path(folder, "images"), Path(folder, "out")
            draw(images, count, tuple(arguments.size))
            command = [sys.executable, "-c", RUN, arguments.model, str(images), str(out)]
            command += [str(arguments.batch_size), arguments.engine]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(
                f"{found['images']:>8} {found['peak_mb']:>8.0f} {found['images_a_second']:>9.1f} {found['busy']:>6.0%}"
                f"  {' '.join(f'{value:.0f}' for value in found['resident_mb'])}",
                flush=True,
            )
            shutil.rmtree(out)


def draw(folder: Path, count: int, size: tuple[int, int]) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        path = folder / f"{number:06d}.jpg"
        if path.exists():
            continue
        if number < DRAWN:
            image, _ = synthetic_image(np.random.default_rng(number), size)
            Image.fromarray(image).save(path, quality=92)
        else:
            os.link(folder / f"{number % DRAWN:06d}.jpg", path)


if __name__ == "__main__":
    main()
