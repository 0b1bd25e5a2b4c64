"""`polypseg benchmark`: how fast a model is on this machine, end to end and stage by stage."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from polypseg.predict.benchmark import EngineFigures, Report


def benchmark(
    model: Annotated[
        str | None,
        typer.Argument(help="An included model, an .onnx or .keras file or a run folder; default: polyp-lite."),
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Image to measure on, instead of synthetic ones; can be repeated."),
    ] = None,
    size: Annotated[str, typer.Option(metavar="HxW", help="Size of the synthetic images in pixels.")] = "530x600",
    runs: Annotated[int, typer.Option(min=1, help="Number of measured runs; use 100 or more for a p99.")] = 100,
    warm_up: Annotated[int, typer.Option(min=0, help="Runs before the measured ones.")] = 10,
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="Engine: auto, onnxruntime, openvino, keras, litert or all.")
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of processor cores.", show_default="its own")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per batch.")] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures to this JSON file.")
    ] = None,
) -> None:
    """Measure the speed of a model on this machine, from image file to mask.

    Prints the time of each stage (read, decode, resize, infer, resize back, threshold), images per second, peak memory,
    the cold start of polypseg predict, and whether 25 frames per second (40 ms) and a delay of 120 ms are reached.
    Names the processor's instruction set, and says what int8 gains in speed and costs in Dice with it. Stop other work
    on the machine first: it makes all figures worse. The load is printed.

    [bold]Examples[/bold]

    polypseg benchmark

    polypseg benchmark model.onnx --engine all --json speed.json

    polypseg benchmark runs/kvasir --image frame.jpg --runs 200
    """
    from rich.markup import escape

    from polypseg.cli.console import console, import_keras_for, messages
    from polypseg.predict.benchmark import BenchmarkOptions
    from polypseg.predict.benchmark import benchmark as measure
    from polypseg.predict.engines.packaged import resolve
    from polypseg.records.atomic import write_text
    from polypseg.records.reading import as_json

    options = BenchmarkOptions(engine, threads, batch_size, runs, warm_up)
    shape, path = parse_size(size), resolve(model)
    import_keras_for(path)
    report = measure(path, options, image or (), shape, lambda said: messages.print(f"[dim]{escape(said)}[/dim]"))
    console.print(escape("\n".join([*lines_of(report), *int8_lines(path, report)])))
    if json_file is not None:
        write_text(json_file, as_json(report.record()) + "\n")
        console.print(escape(f"wrote {json_file}"))


def parse_size(text: str) -> tuple[int, int]:
    """Height and width of a text as 530x600.

    Raises:
        UsageError: Another text, or a side that no synthetic image can have.
    """
    from polypseg.data.scene import SMALLEST_SIDE
    from polypseg.errors import UsageError

    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()) or min(int(height), int(width)) < SMALLEST_SIDE:
        raise UsageError(f"size {text!r}: expected HEIGHTxWIDTH of at least {SMALLEST_SIDE} pixels, as 530x600")
    return int(height), int(width)


def lines_of(report: "Report") -> Iterator[str]:
    """What is printed of a report, line by line."""
    yield f"Machine: {report.machine}"
    yield f"Versions: {report.versions}"
    options = report.options
    threads = "its own number of threads" if options.threads is None else f"{options.threads} threads"
    yield f"Images: {report.images}; batch {options.batch_size}, {threads}"
    yield f"{options.runs} runs after {options.warm_up} of warm-up, which are not counted"
    for measured in report.measured:
        yield ""
        yield from _engine_lines(measured)
    if len(report.measured) > 1:
        yield ""
        yield from _ratio_lines(report.measured)


def _engine_lines(measured: "EngineFigures") -> Iterator[str]:
    from polypseg.predict.timing import percentiles

    facts, timings = measured.facts, measured.timings
    waited = ", waited for at each run" if measured.device == "GPU" else ""
    device = measured.device + (f" with {measured.instruction_set}" if measured.instruction_set else "")
    yield f"{facts.name}, {facts.precision}, {facts.size} px, in {measured.engine} on the {device}{waited}"
    yield ""
    yield "| stage | p50 ms | p95 ms | p99 ms | share |"
    yield "|---|---|---|---|---|"
    for stage, seconds in timings.seconds.items():
        p50, p95, p99 = percentiles(seconds)
        yield f"| {stage} | {p50:.2f} | {p95:.2f} | {p99:.2f} | {100 * timings.share(stage):.1f} % |"
    p50, p95, p99 = measured.end_to_end
    yield f"| end to end | {p50:.2f} | {p95:.2f} | {p99:.2f} | 100 % |"
    yield ""
    yield f"images a second: {timings.images_per_second:.1f}"
    if measured.share_again is not None:
        yield f"close calls, predicted again in float: {100 * measured.share_again:.0f} % of the images"
    yield f"decode, resize and resize back: {100 * timings.share_around:.1f} % of the time"
    peak = "not told by this system" if measured.peak_mib is None else f"{measured.peak_mib:.0f} MiB"
    yield f"peak memory of polypseg predict: {peak}"
    yield f"cold start (polypseg predict, one image, a fresh process): {measured.cold_start_seconds:.2f} s"
    of = "" if timings.batch_size == 1 else f" of a batch of {timings.batch_size}"
    for name, limit, answer in measured.verdicts:
        yield f"{name} ({limit:.0f} ms): {answer} (p50 {p50:.1f} ms, p95 {p95:.1f} ms{of})"


def _ratio_lines(measured: list["EngineFigures"]) -> Iterator[str]:
    fastest = max(measured, key=lambda each: each.timings.images_per_second)
    for each in measured:
        if each is not fastest:
            ratio = fastest.timings.images_per_second / each.timings.images_per_second
            yield f"{fastest.engine} gives {ratio:.2f} times the images a second of {each.engine}"


def int8_lines(path: Path, report: "Report") -> Iterator[str]:
    """What int8 gains and costs here, and whether an engine is missing; nothing for a Keras model."""
    from importlib.util import find_spec

    from polypseg.machine import has_int8_dot_products

    if path.suffix.lower() != ".onnx":
        return
    yield ""
    if find_spec("openvino") is None:
        yield 'OpenVINO is not installed; it runs most models faster: pip install "polypseg[openvino]"'
    for measured in report.measured:
        facts = measured.facts
        if facts.precision != "int8":
            continue
        name = f"{measured.engine} on {measured.instruction_set}" if measured.instruction_set else measured.engine
        gain = int8_gain(path, measured.engine, report.options.threads)
        speed = f"{gain:.2f} times as fast as fp32"
        stated = facts.dice_by_engine.get("validation")
        found = stated.engines.get(name) if stated else None
        cost = "its Dice was not measured"
        if stated is not None and found is not None and stated.source is not None:
            cost = f"Dice {found.dice - stated.source:+.4f} as proved"
        yield f"int8 in {name}: {speed}; {cost}"
        if facts.saturating_sums != 0 and not has_int8_dot_products(measured.instruction_set):
            yield (
                "This processor adds two 8-bit products in 16 bits, and the file does not say that its products fit: "
                "its masks may differ here. Export it again with --precision int8, or take fp16"
            )


def int8_gain(path: Path, engine: str, threads: int | None, rounds: int = 15) -> float:
    """How many times as fast an int8 file is as the same in fp32, in turn, median by round."""
    from statistics import median
    from tempfile import TemporaryDirectory
    from time import perf_counter

    import numpy as np

    from polypseg.export.exported import write_in_float
    from polypseg.predict.engines.opening import open_engine

    with TemporaryDirectory() as folder:
        plain = write_in_float(path, Path(folder) / "fp32.onnx")
        engines = [open_engine(path, engine, threads), open_engine(plain, engine, threads)]
    batch = np.random.default_rng(0).random((1, engines[0].size, engines[0].size, 3), np.float32)
    ratios = []
    for _ in range(rounds):
        taken = []
        for each in engines:
            each.run(batch)  # the other one's threads may still spin
            began = perf_counter()
            each.run(batch)
            taken.append(perf_counter() - began)
        ratios.append(taken[1] / taken[0])
    return median(ratios)
