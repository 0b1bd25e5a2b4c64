"""How fast models predict beside their peers, measured in turn: batch 1, a square image in memory to its probability.

    python benchmarks/inference.py --peer-python peers/bin/python --models models

Every contestant lives in a process of its own and waits while another one works. A round is one prediction of each,
A B C A B C, so that whatever else the machine does hits all alike. The figure to trust is the ratio round by round.
The models are made in the folder `--models` where they are not there yet, with random weights: they cost what trained
ones cost. int8 is calibrated on synthetic frames (polypseg's own quantiser). NAME-fp32.onnx and NAME-int8.onnx of
trained models may be put there instead.

The floor is a model's multiply-adds over the rate at which NumPy multiplies float32 matrices on all cores. It is of
fp32: int8 may go below it, and so may a convolution by Winograd's method.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from workers import Worker, answers_apart, ratio, work_in_turns

Prediction = tuple[Callable[[], Any], float | None]
"""What predicts one image, and the multiply-adds of that where they are known."""

REFERENCE = "monai"
PAUSE_SECONDS = 0.02
"""Between two contestants: threads of a runtime spin for a while after their work."""


class Contestant(NamedTuple):
    """One row of the table: its title, what builds it, whether it runs in the peers' environment."""

    title: str
    build: Callable[[Path, np.ndarray], Prediction]
    is_peer: bool = False


def ours(name: str, engine: str) -> Callable[[Path, np.ndarray], Prediction]:
    """An exported model in one of polypseg's engines."""

    def build(models: Path, image: np.ndarray) -> Prediction:
        from polypseg.predict.engines.opening import open_engine

        opened = open_engine(models / f"{name}.onnx", engine)
        return lambda: opened.run(image), opened.facts.multiply_adds

    return build


def keras_preset(models: Path, image: np.ndarray) -> Prediction:
    from polypseg.predict.engines.opening import open_engine

    opened = open_engine(models / "attention-unet-32.keras", "keras")
    return lambda: opened.run(image), keras_multiply_adds(opened.model)  # type: ignore[attr-defined]


def keras_unet_collection(models: Path, image: np.ndarray) -> Prediction:
    from keras_unet_collection import models as collection

    widths = [32 * 2**level for level in range(5)]
    model = collection.att_unet_2d(image.shape[1:], widths, 1, batch_norm=True, output_activation="Sigmoid")
    return lambda: model.predict(image, verbose=0), keras_multiply_adds(model)


def keras_multiply_adds(model: Any) -> float:
    """Of one image, in the convolutions."""
    total = 0
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None and len(kernel.shape) == 4:
            place = layer.input.shape if "Transpose" in type(layer).__name__ else layer.output.shape
            total += int(np.prod(place[1:3])) * int(np.prod(kernel.shape))
    return total


def monai(channels_last: bool) -> Callable[[Path, np.ndarray], Prediction]:
    def build(models: Path, image: np.ndarray) -> Prediction:
        from monai.networks.nets import AttentionUnet

        widths = [32 * 2**level for level in range(5)]
        network = AttentionUnet(spatial_dims=2, in_channels=3, out_channels=1, channels=widths, strides=[2, 2, 2, 2])
        return _torch(network, image, channels_last)

    return build


def smp(channels_last: bool) -> Callable[[Path, np.ndarray], Prediction]:
    def build(models: Path, image: np.ndarray) -> Prediction:
        from torch import library

        # Wheels of torchvision for a GPU bring no operators for PyTorch on a CPU, and fail where they describe these
        # two, which the network does not use.
        operators = library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import segmentation_models_pytorch

        return _torch(segmentation_models_pytorch.Unet("mobilenet_v2", encoder_weights=None), image, channels_last)

    return build


def _torch(network: Any, image: np.ndarray, channels_last: bool) -> Prediction:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.eval().to(memory_format=layout)
    batch = torch.from_numpy(image.transpose(0, 3, 1, 2).copy()).contiguous(memory_format=layout)

    def predict() -> Any:
        with torch.inference_mode():
            return torch.sigmoid(network(batch)).numpy()

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(batch)
    return predict, counter.get_total_flops() / 2


CONTESTANTS = {
    f"{name}-{precision}-{engine}": Contestant(
        f"polypseg {name}, {precision}, {title}", ours(f"{name}-{precision}", engine)
    )
    for name in ("attention-unet-32", "polyp-lite")
    for precision in ("fp32", "int8")
    for engine, title in (("openvino", "OpenVINO"), ("onnxruntime", "ONNX Runtime"))
} | {
    "keras": Contestant("polypseg attention-unet-32, Keras predict_on_batch", keras_preset),
    "monai": Contestant("MONAI AttentionUnet, same widths, eager", monai(False), True),
    "monai-cl": Contestant("MONAI AttentionUnet, channels_last", monai(True), True),
    "smp": Contestant("smp Unet(mobilenet_v2), eager", smp(False), True),
    "smp-cl": Contestant("smp Unet(mobilenet_v2), channels_last", smp(True), True),
    "kuc": Contestant("keras-unet-collection att_unet_2d, Keras predict", keras_unet_collection, True),
}


def make_models(folder: Path, size: int, num_calibration: int = 16) -> None:
    """Write the models that are not there yet, with random weights."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("attention-unet-32", "polyp-lite"):
        fp32, int8 = (folder / f"{name}-{precision}.onnx" for precision in ("fp32", "int8"))
        if fp32.exists() and int8.exists():
            continue
        from polypseg.export.graph import OPSET, convert, multiply_adds
        from polypseg.export.proof import synthetic_squares
        from polypseg.export.quantize import quantise, variants
        from polypseg.models.checkpoint import save_model
        from polypseg.models.registry import build_model, preset
        from polypseg.predict.engines.model_file import write_model_file
        from polypseg.records.model_facts import ModelFacts

        model = build_model(preset(name).model_copy(update={"encoder_weights": None}), size)
        save_model(model, folder / f"{name}.keras")
        graph = convert(model, attention=False)
        facts = ModelFacts(size=size, name=name, multiply_adds=multiply_adds(graph), opset=OPSET)
        write_model_file(fp32, graph.SerializeToString(), facts)
        squares = list(synthetic_squares(size, num_calibration))
        quantised = quantise(graph, squares, "onnxruntime", next(iter(variants(graph)))[1])
        write_model_file(int8, quantised.SerializeToString(), facts.model_copy(update={"precision": "int8"}))
        print(f"  made {name}", file=sys.stderr, flush=True)


def serve(name: str, models: Path, size: int, warm_up: int, in_a_row: int) -> None:
    """Build one contestant, then predict so many images a turn."""
    answers = answers_apart()
    image = np.random.default_rng(0).random((1, size, size, 3), np.float32)
    predict, multiply_adds = CONTESTANTS[name].build(models, image)
    for _ in range(warm_up):
        predict()

    def turn() -> dict[str, float]:
        predict()
        return {}

    work_in_turns(answers, {"multiply_adds": multiply_adds}, turn, in_a_row)


def start(name: str, options: argparse.Namespace) -> Worker:
    """The contestant in a process of its own."""
    python = options.peer_python if CONTESTANTS[name].is_peer else sys.executable
    command = [python, str(Path(__file__).resolve()), "--serve", name, "--models", str(options.models)]
    command += ["--size", str(options.size), "--warm-up", str(options.warm_up)]
    command += ["--in-a-row", str(options.in_a_row)]
    return Worker(name, command, options.verbose)


def becomes_ready(worker: Worker) -> bool:
    """Whether it was built and warmed up; it is waited for. A peer may be missing, our own code may not."""
    try:
        worker.wait_until_ready()
    except SystemExit:
        if not CONTESTANTS[worker.name].is_peer:
            raise
        return False
    return True


def matrix_rate(size: int = 2048, runs: int = 8) -> float:
    """Multiply-adds a second of NumPy's float32 matrix product on all cores: the best of some runs."""
    left, right = np.random.default_rng(0).random((2, size, size), np.float32)
    taken = []
    for _ in range(runs):
        began = time.perf_counter()
        left @ right
        taken.append(time.perf_counter() - began)
    return size**3 / min(taken)


def table(workers: Sequence[Worker], rate: float) -> Iterator[str]:
    """The figures as a Markdown table."""
    reference = next((worker for worker in workers if worker.name == REFERENCE), workers[0])
    title = CONTESTANTS[reference.name].title
    yield f"| code | GMAC | ms, median (least) | CPU ms | floor ms | least / floor | times {title} |"
    yield "|---|---|---|---|---|---|---|"
    for worker in workers:
        multiply_adds = worker.facts["multiply_adds"]
        median, cpu_median, least = (
            1000 * figure for figure in (worker.median(), worker.median("cpu_seconds"), worker.least())
        )
        floor = 1000 * multiply_adds / rate
        yield (
            f"| {CONTESTANTS[worker.name].title} | {multiply_adds / 1e9:.2f} | {median:.1f} ({least:.1f}) "
            f"| {cpu_median:.0f} | {floor:.1f} | {least / floor:.2f} | {ratio(reference, worker):.2f} |"
        )


def int8_gains(workers: Sequence[Worker]) -> Iterator[str]:
    """How many times as fast int8 is as fp32 here, by model and engine."""
    known = {worker.name: worker for worker in workers}
    for name, worker in known.items():
        plain = known.get(name.replace("-int8-", "-fp32-"))
        if plain is not None and plain is not worker:
            yield f"\n{CONTESTANTS[name].title}: {ratio(plain, worker):.2f} times as fast as in fp32"


def end_to_end(model: Path, runs: int, frames: Sequence[Path]) -> str:
    """From a JPEG file to the mask at its own size, in the default engine: drawn files of 600x530, or the user's."""
    from polypseg.predict.benchmark import BenchmarkOptions, benchmark

    report = benchmark(model, BenchmarkOptions(runs=runs, cold_starts=1), frames)
    (measured,) = report.measured
    p50, p95, p99 = measured.end_to_end
    again = "" if measured.share_again is None else f"; {100 * measured.share_again:.1f} % looked at again"
    return (
        f"{model.stem} in {measured.engine} ({measured.instruction_set}), {report.images}, to the mask, {runs} runs: "
        f"p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f} ms; decode, resize and resize back are "
        f"{100 * measured.timings.share_around:.0f} % of it{again}"
    )


def core_use(model: Path, num_images: int) -> str:
    """How busy `polypseg predict` keeps the cores over many JPEGs of 600x530, its start included."""
    from polypseg.machine import usable_cores
    from polypseg.predict.benchmark import draw_jpegs

    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        images.mkdir()
        drawn = draw_jpegs(Path(folder))
        for number in range(num_images):
            shutil.copyfile(drawn[number % len(drawn)], images / f"{number:05d}.jpg")
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [
            sys.executable,
            "-m",
            "polypseg",
            "predict",
            "--model",
            str(model),
            str(images),
            "-o",
            f"{folder}/out",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    cores = usable_cores()
    return (
        f"{num_images:,} JPEGs in {wall:.1f} s ({num_images / wall:.1f} a second), {busy:.1f} s of processor time: "
        f"{100 * busy / (wall * cores):.0f} % of {cores} cores"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="Python of the peers' environment; without it only our code is measured")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the exported models")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, help="which, unless all")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each")
    parser.add_argument("--in-a-row", type=int, default=10, help="images a turn; 1: each after a pause, caches cold")
    parser.add_argument("--warm-up", type=int, default=3, help="predictions before them")
    parser.add_argument("--size", type=int, default=256, help="side of the square image in pixels")
    parser.add_argument("--runs", type=int, default=200, help="of the way from JPEG to mask; 0 leaves it out")
    parser.add_argument("--frames", type=Path, nargs="+", default=[], help="JPEGs for that, instead of drawn ones")
    parser.add_argument("--images", type=int, default=1000, help="for the use of the cores; 0 leaves it out")
    parser.add_argument("--make-models", action="store_true", help="make the models and stop")
    parser.add_argument("--verbose", action="store_true", help="show what the contestants print")
    parser.add_argument("--serve", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.models, options.size, options.warm_up, options.in_a_row)
        return
    make_models(options.models, options.size)
    if not options.make_models:
        compare(parser, options)


def compare(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Measure, and print what was found."""
    from polypseg.machine import machine, versions
    from polypseg.predict.engines.restricted import engine_label

    names = options.contestants or [key for key, c in CONTESTANTS.items() if options.peer_python or not c.is_peer]
    if find_spec("openvino") is None:
        print("OpenVINO is not installed: its contestants are left out")
        names = [name for name in names if not name.endswith("-openvino")]
    if not options.peer_python and any(CONTESTANTS[name].is_peer for name in names):
        parser.error("the peers need --peer-python; benchmarks/requirements-peers.txt lists what it must hold")
    started = [start(name, options) for name in names]
    workers = [worker for worker in started if becomes_ready(worker)]
    for worker in started:
        if worker not in workers:
            print(f"Not runnable here, see why with --verbose: {CONTESTANTS[worker.name].title}")
    print(f"Machine: {machine()}\nVersions: {versions()}")
    print(f"Instruction sets: {engine_label('onnxruntime')}, {engine_label('openvino')}")
    print(f"Peers: {'; '.join(sorted({w.facts['versions'] for w in workers if CONTESTANTS[w.name].is_peer}))}")
    rate = matrix_rate()
    for _ in range(options.rounds):
        for worker in workers:
            worker.take_turn()
            time.sleep(PAUSE_SECONDS)
    rate = max(rate, matrix_rate())
    for worker in workers:
        worker.close()
    turns = f"{options.rounds} turns of {options.in_a_row} images"
    print(f"{options.size} px, batch 1, {turns}; matrix rate {rate / 1e9:.0f} GMAC a second, float32\n")
    print("\n".join([*table(workers, rate), *int8_gains(workers)]), flush=True)
    lite = options.models / "polyp-lite-int8.onnx"
    if options.runs:
        print(f"\n{end_to_end(lite, options.runs, options.frames)}", flush=True)
    if options.images:
        print(f"\n{core_use(lite, options.images)}", flush=True)
    print(f"\nAt the end: {machine()}")


if __name__ == "__main__":
    main()
