"""`export_model`: from a run or a Keras file to one file that says all of itself and was proved.

Decisions:
- A copy is made in a temporary folder, opened by the engines that users run, and proved. Only then is the target
  written, in one step. What is not proved leaves no file.
- int8 tries one variant after another, the fastest first, and keeps the first that is proved (quantize.py).
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from polypseg.arrays import Image
from polypseg.errors import ModelError, UsageError, unknown_name
from polypseg.export.facts import facts_of
from polypseg.export.graph import convert, free_size, gates, largest_stride, multiply_adds
from polypseg.export.half import store_in_half
from polypseg.export.proof import LARGEST_DIFFERENCE, Prover, evenly, installed_engines, sample_squares
from polypseg.export.quantize import METHODS, NUM_CALIBRATION, methods, processor_seconds, quantise, variants
from polypseg.export.source import Source, open_source
from polypseg.export.targets import (
    LiteRtModel,
    OpenVinoModel,
    check_installed,
    target_of,
    to_litert,
    to_openvino,
    write_litert,
    write_openvino,
)
from polypseg.predict.engines.engine import Engine
from polypseg.predict.engines.model_file import write_model_file
from polypseg.predict.engines.opening import open_engine
from polypseg.progress import Track, silent
from polypseg.records.lock import alone_at
from polypseg.records.model_facts import ModelFacts

PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class ExportOptions:
    """What is exported, and how.

    Attributes:
        precision: `fp32`, `fp16` (weights in half precision) or `int8`.
        attention: Whether the gates' coefficients are outputs.
        any_size: Whether the graph takes other heights and widths that fit its stride; polypseg's engines keep to its
            size.
        method: Of int8: `onnxruntime`, `nncf`, or `auto` for the faster one.
        name: Of the model; empty for the run's or the file's.
        model_version: Of the model.
        licence: Of the weights.
    """

    precision: str = "fp32"
    attention: bool = True
    any_size: bool = False
    method: str = "auto"
    name: str = ""
    model_version: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        """Refuse names that are not known.

        Raises:
            UsageError: One is.
        """
        for kind, given, choices in (
            ("precision", self.precision, PRECISIONS),
            ("quantisation method", self.method, METHODS),
        ):
            if given not in choices:
                raise UsageError(unknown_name(kind, given, choices))


class Exported(NamedTuple):
    """A finished export.

    Attributes:
        path: The file.
        facts: What it says of itself.
        num_bytes: Of all that was written.
        notes: What a user should know besides, a sentence each.
    """

    path: Path
    facts: ModelFacts
    num_bytes: int
    notes: tuple[str, ...]


def export_model(
    source: Path | str,
    out: Path | str,
    options: ExportOptions = ExportOptions(),
    data: Path | None = None,
    track: Track = silent,
) -> Exported:
    """Write a run's best checkpoint, or a `.keras` file, as one file for other programs, after it was proved.

    Args:
        source: The run folder or the file.
        out: The file to write; its ending says what: `.onnx`, `.xml` (OpenVINO IR) or `.tflite` (LiteRT).
        options: Precision, attention, names.
        data: Where the run's images are now; for a `.keras` file a folder of images and masks that nothing is
            tested on.
        track: Shows progress.

    Raises:
        BusyError: Another process writes the file.
        ModelError: The export is not its source, or the model cannot be converted; nothing was written.
        UsageError: An unknown ending, precision or method, or int8 without images.
        MissingExtraError: A converter is not installed.

    For example:

        exported = export_model("runs/kvasir", "kvasir.onnx", ExportOptions(precision="int8"))
        exported.facts.dice_change
    """
    out, target = Path(out), target_of(Path(out))
    check_installed(target)
    out.parent.mkdir(parents=True, exist_ok=True)
    with alone_at(out):
        return _export(open_source(source, data), out, target, options, track)


def _export(opened: Source, out: Path, target: str, options: ExportOptions, track: Track) -> Exported:
    """As `export_model`, to a file that nobody else writes."""
    if options.precision == "int8" and not (opened.calibration and opened.validation):
        raise UsageError(
            f"int8 needs images to calibrate with and to be proved on, and {opened.without or 'there are too few'}; "
            "name their folder with --data DIR, or export fp32 or fp16"
        )
    graph = convert(opened.engine.model, options.attention)
    facts = facts_of(opened, options.name, options.model_version, options.licence).model_copy(
        update={"precision": options.precision, "multiply_adds": multiply_adds(graph)}
    )
    if target == ".tflite":
        facts, notes = _export_litert(opened, out, facts, Prover(opened, False, track))
    else:
        if options.any_size:
            facts = facts.model_copy(update={"stride": largest_stride(graph, facts.size)})
            graph = free_size(graph)
            check_other_size(graph, opened.engine.model, facts)
        facts, notes = _export_graph(opened, out, (graph, facts), options, track)
    if opened.without:
        notes = [*notes, f"{opened.without}: proved on synthetic images only"]
    return Exported(out, facts, sum(path.stat().st_size for path in _written(out)), tuple(notes))


def _export_graph(
    source: Source, out: Path, made: tuple[Any, ModelFacts], options: ExportOptions, track: Track
) -> tuple[ModelFacts, list[str]]:
    """Write an ONNX file, or an OpenVINO IR of it."""
    graph, facts = made
    levels = tuple(gates(source.engine.model)) if options.attention else ()
    facts = facts.model_copy(update={"attention_levels": levels})
    notes: list[str] = []
    prover = Prover(source, bool(levels), track)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        if options.precision == "int8":
            graph, facts, notes = best_int8((graph, facts), path, prover, options.method)
        else:
            graph = store_in_half(graph) if options.precision == "fp16" else graph
            facts = proved(graph, facts, path, prover)
        write_model_file(path, graph.SerializeToString(), facts)
        if out.suffix.lower() == ".xml":
            model = to_openvino(path)
            ir = {"openvino": OpenVinoModel(model, facts)}
            facts = facts.model_copy(update=Prover(source, False, track).prove(ir, options.precision))
            write_openvino(model, facts, out)
        else:
            write_model_file(out, graph.SerializeToString(), facts)
    return facts, notes


def proved(graph: Any, facts: ModelFacts, path: Path, prover: Prover) -> ModelFacts:
    """The facts with what the proof gives, after a file of the graph was written to `path` and proved in all engines.

    Raises:
        ModelError: It is not its source.
    """
    write_model_file(path, graph.SerializeToString(), facts)
    engines: dict[str, Engine] = {name: open_engine(path, name) for name in installed_engines()}
    return facts.model_copy(update=prover.prove(engines, facts.precision))


def best_int8(
    made: tuple[Any, ModelFacts], path: Path, prover: Prover, method: str
) -> tuple[Any, ModelFacts, list[str]]:
    """The int8 graph that takes the least processor time of those that are proved, its facts, and what was measured.

    Raises:
        ModelError: None is proved.
    """
    source = prover.source
    squares = calibration_squares(source)
    candidates, notes, faults = [], [], []
    default = installed_engines()[0]
    for tool in methods(method):
        for words, in_float in variants(made[0]):
            graph = quantise(made[0], squares, tool, in_float)
            facts = made[1].model_copy(update={"quantised_by": f"{tool}, {len(squares)} images, {words}"})
            try:
                facts = proved(graph, facts, path, prover)
            except ModelError as error:
                faults.append(error)
                notes.append(f"{tool}, {words}: refused, {str(error).partition(';')[0]}")
                continue
            seconds = processor_seconds(open_engine(path, default, threads=1))
            candidates.append((seconds, graph, facts))
            notes.append(
                f"{tool}, {words}: {1000 * seconds:.1f} ms of processor time in {default}, Dice change "
                f"{facts.dice_change:+.4f}"
            )
            break
    if not candidates:
        raise faults[0]
    _, graph, facts = min(candidates, key=lambda candidate: candidate[0])
    return graph, facts, notes


def calibration_squares(source: Source) -> list[Image]:
    """The images that int8 is calibrated with, as the model sees them, (size, size, 3) uint8 each."""
    chosen = evenly(source.calibration, NUM_CALIBRATION)
    return [seen.square for seen in sample_squares(chosen, source.engine.facts)]


def check_other_size(graph: Any, model: Any, facts: ModelFacts) -> None:
    """Nothing, where a graph of any size gives what Keras gives at another size, higher than wide.

    Raises:
        ModelError: It does not, or Keras cannot be built for it.
    """
    import keras
    import onnxruntime

    height, width = facts.size + 2 * (facts.stride or 1), facts.size + (facts.stride or 1)
    image = np.random.default_rng(0).random((1, height, width, 3), np.float32)
    try:
        twin = keras.models.clone_model(model, input_tensors=keras.Input((height, width, 3), name="image"))
        twin.set_weights(model.get_weights())
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        given = session.run(["probability"], {"image": image})[0]
    except Exception as error:  # Keras and ONNX Runtime raise whatever comes
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"the model {model.name!r} cannot take other sizes than its own: {reason}") from error
    difference = float(np.abs(given - twin.predict_on_batch(image)).max())
    if not difference <= LARGEST_DIFFERENCE:
        raise ModelError(
            f"at {height}x{width} the export of any size differs from Keras by {difference:.2g}; export it without "
            "--any-size"
        )


def _export_litert(source: Source, out: Path, facts: ModelFacts, prover: Prover) -> tuple[ModelFacts, list[str]]:
    squares: list[Image] = []
    if facts.precision == "int8":
        squares = calibration_squares(source)
        facts = facts.model_copy(update={"quantised_by": f"LiteRT converter, {len(squares)} images"})
    content = to_litert(source.engine.model, facts.precision, squares)
    facts = facts.model_copy(update={"opset": None, "attention_levels": ()})
    facts = facts.model_copy(update=prover.prove({"litert": LiteRtModel(content, facts)}, facts.precision))
    write_litert(content, facts, out)
    return facts, [f"its facts stand in {out.with_suffix('.json').name}; it takes one image at a time"]


def _written(out: Path) -> list[Path]:
    beside = {".xml": [".bin"], ".tflite": [".json"]}.get(out.suffix.lower(), [])
    return [out, *(out.with_suffix(ending) for ending in beside)]
