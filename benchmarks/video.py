"""How many frames a second a video is predicted at, end to end: decoded, inferred, drawn, encoded, written.

    python benchmarks/video.py MODEL

MODEL is an .onnx file, a run folder or a packaged model's name. The video is made here: a camera that moves and zooms
over one synthetic frame. In each round the bare engine runs on prepared frames, then the whole way is taken, so that
whatever else the machine does hits both alike; the ratio says what decoding, drawing and encoding cost. CPU time is of
all threads: on an idle machine of 2 cores 2000 over it is the most that can be reached. Memory is of a
process of its own, after 200 frames and at the end.
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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

SIZES = ((288, 384), (720, 1280))
GOAL = 25.0


def make_video(path: Path, size: tuple[int, int], num_frames: int) -> Path:
    """A video of a camera that moves and zooms over one synthetic frame, H.264, 25 frames a second."""
    import av
    import cv2
    import numpy as np

    from polypseg.data.synthetic import synthetic_image

    whole, _ = synthetic_image(np.random.default_rng(3), (3 * size[0] // 2, 3 * size[1] // 2))
    noise = np.random.default_rng(0).normal(0, 3, (8, *size, 3)).astype(np.float32)  # a sensor's
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "20"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for index in range(num_frames):
            share, place = 0.65 + 0.25 * np.sin(index / 40), 0.5 + 0.4 * np.cos(index / 30)
            height, width = (round(share * side) for side in whole.shape[:2])
            top, left = int(place * (whole.shape[0] - height)), int(place * (whole.shape[1] - width))
            image = cv2.resize(whole[top : top + height, left : left + width], size[::-1], interpolation=cv2.INTER_AREA)
            grainy = np.clip(image + noise[index % 8], 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grainy, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def bare_rate(predictor: Any, num_frames: int) -> float:
    """Frames a second of the engine alone, a prepared frame at a time."""
    import numpy as np

    size = predictor.engine.size
    batch = [np.random.default_rng(0).random((size, size, 3), np.float32)]
    began = time.perf_counter()
    for _ in range(num_frames):
        predictor.run(batch)
    return num_frames / (time.perf_counter() - began)


def measure(predictor: Any, size: tuple[int, int], rounds: int, num_frames: int, withhold: int) -> None:
    from polypseg.predict.video.work import VideoOptions, predict_video

    options = VideoOptions(withhold_frames=withhold)
    with tempfile.TemporaryDirectory() as folder:
        source = make_video(Path(folder) / "source.mp4", size, num_frames)
        bare_rate(predictor, 10)
        rates, ratios, costs = [], [], []
        for _ in range(rounds):
            bare = bare_rate(predictor, num_frames // 2)
            began = time.process_time()
            summary = predict_video(source, Path(folder) / "out.mp4", predictor, options)
            costs.append(1000 * (time.process_time() - began) / summary.num_frames)
            rates.append(summary.frames_per_second)
            ratios.append(summary.frames_per_second / bare)
    rate, ratio, cost = (statistics.median(values) for values in (rates, ratios, costs))
    verdict = "reached" if rate >= GOAL else "missed"
    spread = f"{min(rates):.1f}-{max(rates):.1f}"
    print(
        f"| {size[1]}x{size[0]} | {rate:.1f} ({spread}) | {rate / ratio:.1f} | {ratio:.2f} | {cost:.1f} "
        f"| {summary.num_with_polyp}/{summary.num_frames} | {GOAL:.0f}: {verdict} |",
        flush=True,
    )


def measure_memory(model: str, engine: str, source: Path) -> None:
    """Predict once and print the resident memory after 200 frames and at the end."""
    from polypseg.predict.predictor import load
    from polypseg.predict.video.work import VideoOptions, predict_video

    seen: list[int] = []

    def track(items: Iterable[Any], description: str, total: int) -> Iterator[Any]:
        for number, item in enumerate(items):
            if number == 200:
                seen.append(resident_mib())
            yield item

    options = VideoOptions(withhold_frames=6)
    predict_video(source, source.with_name("out.mp4"), load(model, engine), options, track)
    print(f"{seen[0]} MiB after 200 frames, {resident_mib()} MiB at the end")


def resident_mib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 2**20


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="an .onnx file, a run folder, or a packaged model's name")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=250, help="of each video")
    parser.add_argument("--withhold", type=int, default=6)
    parser.add_argument("--memory-frames", type=int, default=3000, help="0 leaves the memory out")
    parser.add_argument("--memory", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.memory:
        measure_memory(options.model, options.engine, options.memory)
        return
    import av
    import numpy as np

    from polypseg.predict.predictor import load

    predictor = load(options.model, options.engine)
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, PyAV {av.__version__}, {predictor.engine.name}")
    print(f"{options.model}, {predictor.engine.size} px; {options.frames} frames, withhold {options.withhold}\n")
    print("| video | frames/s, overlay written | bare engine | ratio | CPU ms a frame | frames with a polyp | goal |")
    print("|---|---|---|---|---|---|---|")
    for size in SIZES:
        measure(predictor, size, options.rounds, options.frames, options.withhold)
    if options.memory_frames:
        with tempfile.TemporaryDirectory() as folder:
            source = make_video(Path(folder) / "source.mp4", SIZES[0], options.memory_frames)
            print(f"\n{options.memory_frames} frames: ", end="", flush=True)
            itself = [sys.executable, __file__, options.model, "--engine", options.engine, "--memory", str(source)]
            subprocess.run(itself, check=True)


if __name__ == "__main__":
    main()
