"""What each rewriting of OpenVINO's graph gains, and what convolutions in float cost: all ways in turn, in one process.

    python benchmarks/graph_rewrites.py                      # the packaged polyp-lite
    python benchmarks/graph_rewrites.py model.onnx --threads 1 --engine onnxruntime
    ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/graph_rewrites.py

The way that users get is the first row. The others are the same file without one kind of rewriting, as it was exported,
and with the convolutions that keep float weights in 8 bits like the others (which is faster, and gives other masks).
In every round each way predicts so many images in a row, in an order drawn anew; what counts is the ratio to the first
row, round by round. The second look at close calls is left out. Run it on an idle machine.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

KINDS = ("upsampling", "rounding", "enlargement", "halves")


class Way(NamedTuple):
    """A row of the table: its title, in how many places it differs from the first one, and what predicts one image."""

    title: str
    num_places: int
    predict: Callable[[], Any]


class Turn(NamedTuple):
    """The medians of the images that were predicted in a row."""

    seconds: float
    cpu_seconds: float


def all_in_8_bits(model: onnx.ModelProto) -> int:
    """How many convolutions with float weights got 8-bit ones, by output channel; the model is changed.

    They are those whose values are of 8 bits; of a file in float that is none.
    """
    in_float = {tensor.name: tensor for tensor in model.graph.initializer}
    rounded = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    before, count = list(model.graph.node), 0
    del model.graph.node[:]
    for node in before:
        tensor = in_float.get(node.input[1]) if node.op_type == "Conv" and node.input[0] in rounded else None
        if tensor is not None:
            weights = numpy_helper.to_array(tensor).astype(np.float32)
            step = np.maximum(np.abs(weights).max(axis=(1, 2, 3)), 1e-12) / 127
            whole = np.rint(weights / step[:, None, None, None]).astype(np.int8)
            parts = {"whole": whole, "step": step, "zero": np.zeros(step.shape, np.int8)}
            for key, part in parts.items():
                model.graph.initializer.append(numpy_helper.from_array(part, f"{tensor.name}_{key}"))
            inputs, node.input[1] = [f"{tensor.name}_{key}" for key in parts], f"{tensor.name}_back"
            model.graph.node.append(helper.make_node("DequantizeLinear", inputs, [node.input[1]], axis=0))
            model.graph.initializer.remove(tensor)
            count += 1
        model.graph.node.append(node)
    return count


def openvino_ways(path: Path, threads: int | None, image: np.ndarray) -> list[Way]:
    """What OpenVINO makes of a file, rewritten in full first."""
    import openvino

    from polypseg.predict.engines.openvino_graph import speed_up

    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    core = openvino.Core()

    def opened(content: bytes, *leave_out: str) -> tuple[dict[str, int], Callable[[], Any]]:
        read = core.read_model(content)
        counts = speed_up(read, leave_out)
        request = core.compile_model(read, "CPU", settings).create_infer_request()
        return counts, lambda: request.infer([image], share_inputs=True)

    content, in_8_bits = path.read_bytes(), onnx.load(path)
    counts, predict = opened(content)
    ways = [Way("as it runs", 0, predict), Way("as exported", sum(counts.values()), opened(content, *KINDS)[1])]
    ways += [Way(f"without {kind}", counts[kind], opened(content, kind)[1]) for kind in KINDS if counts[kind]]
    if count := all_in_8_bits(in_8_bits):
        ways.append(Way("all convolutions in 8 bits", count, opened(in_8_bits.SerializeToString())[1]))
    return ways


def onnxruntime_ways(path: Path, threads: int | None, image: np.ndarray) -> list[Way]:
    """The file in ONNX Runtime, and with all convolutions in 8 bits."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0

    def opened(content: bytes) -> Callable[[], Any]:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {session.get_inputs()[0].name: image})

    in_8_bits = onnx.load(path)
    ways = [Way("as it runs", 0, opened(path.read_bytes()))]
    if count := all_in_8_bits(in_8_bits):
        ways.append(Way("all convolutions in 8 bits", count, opened(in_8_bits.SerializeToString())))
    return ways


WAYS = {"openvino": openvino_ways, "onnxruntime": onnxruntime_ways}


def turn_of(way: Way, in_a_row: int) -> Turn:
    """One image that is not counted, then so many in a row."""
    way.predict()
    turns = []
    for _ in range(in_a_row):
        began, cpu_began = time.perf_counter(), time.process_time()
        way.predict()
        turns.append(Turn(time.perf_counter() - began, time.process_time() - cpu_began))
    return Turn(*map(statistics.median, zip(*turns, strict=True)))


def measure(ways: list[Way], rounds: int, in_a_row: int) -> list[list[Turn]]:
    """The turns of each way."""
    order, taken = np.random.default_rng(0), [[] for _ in ways]  # type: list[list[Turn]]
    for _ in range(rounds):
        for number in order.permutation(len(ways)):
            taken[number].append(turn_of(ways[number], in_a_row))
    return taken


def table(ways: list[Way], taken: list[list[Turn]]) -> list[str]:
    """The figures as a Markdown table."""
    rows = [
        "| way | places | ms, median | times as long, median by round (quartiles) | processor time |",
        "|---" * 5 + "|",
    ]
    for way, turns in zip(ways, taken, strict=True):
        wall, cpu = (
            sorted(turn[figure] / first[figure] for turn, first in zip(turns, taken[0], strict=True))
            for figure in (0, 1)
        )
        low, middle, high = np.percentile(wall, (25, 50, 75))
        rows.append(
            f"| {way.title} | {way.num_places} | {1000 * statistics.median(turn.seconds for turn in turns):.2f} "
            f"| {middle:.3f} ({low:.3f}-{high:.3f}) | {np.median(cpu):.3f} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="polyp-lite", help="an .onnx file or the name of a packaged model")
    parser.add_argument("--engine", choices=WAYS, default="openvino")
    parser.add_argument("--rounds", type=int, default=100, help="turns of each way")
    parser.add_argument("--in-a-row", type=int, default=10, help="images a turn")
    parser.add_argument("--threads", type=int, help="of the engine, unless all cores")
    options = parser.parse_args()

    from polypseg.machine import machine, versions
    from polypseg.predict.engines.model_file import read_model_file
    from polypseg.predict.engines.packaged import resolve
    from polypseg.predict.engines.restricted import engine_label

    path = Path(resolve(options.model))
    size = read_model_file(path)[1].size
    image = np.random.default_rng(0).random((1, size, size, 3), np.float32)
    ways = WAYS[options.engine](path, options.threads, image)
    print(f"Machine: {machine()}\nVersions: {versions()}\nInstruction set: {engine_label(options.engine)}")
    print(f"{path.name}, {size} px, batch 1, {options.rounds} turns of {options.in_a_row} images\n")
    print("\n".join(table(ways, measure(ways, options.rounds, options.in_a_row))), flush=True)


if __name__ == "__main__":
    main()
