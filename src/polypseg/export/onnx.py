"""`export_model`: from a run or a Keras file to one file that says all of itself and was proved.

Decisions:
- A copy is made in a temporary folder, opened by the engines that users run, and proved. Only then is the target
  written, in one step. What is not proved leaves no file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from polypseg import __version__
from polypseg.arrays import Image
from polypseg.errors import ModelError, UsageError, unknown_name
from polypseg.export.exported import open_exported
from polypseg.export.facts import facts_of
from polypseg.export.float16_weights import store_as_float16
from polypseg.export.graph import convert, free_size, largest_stride, multiply_adds
from polypseg.export.int8 import best_int8, calibration_squares, proved
from polypseg.export.proof import LARGEST_DIFFERENCE, Prover
from polypseg.export.quantize import METHODS
from polypseg.export.source import ExportSource, open_source
from polypseg.export.targets import (
    check_installed,
    target_of,
    to_litert,
    to_openvino,
    write_openvino,
)
from polypseg.predict.engines.keras_engine import gate_levels
from polypseg.predict.engines.litert_engine import LiteRtEngine
from polypseg.predict.engines.model_file import write_model_file
from polypseg.predict.engines.openvino_engine import OpenVinoEngine
from polypseg.progress import Track, silent
from polypseg.records.lock import alone_at
from polypseg.records.model_facts import ModelFacts
from polypseg.records.paired_models import BESIDE, second_file, write_litert

PRECISIONS = ("fp32", "fp16", "int8")


MADE_ANEW = ("saturating_sums", "counted_on", "self_test", "second_look")
"""What a file that is exported again does not take over."""
WITH_SECOND_LOOK = ("second_look", "figures", "dice_by_engine", "largest_difference", "dice_change", "proved_on")
"""What a file that gives its second look up does not take over."""


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
        second_look: Of int8 as `.onnx`: whether polypseg's engines predict close calls again in float
            (predict/engines/second_look.py).
    """

    precision: str = "fp32"
    attention: bool = True
    any_size: bool = False
    method: str = "auto"
    name: str = ""
    model_version: str = ""
    licence: str = ""
    second_look: bool = True

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
    """Write a run's best checkpoint, or a model's file, as one file for other programs, after it was proved.

    Args:
        source: The run folder, a `.keras` file, or an `.onnx` file that polypseg exported.
        out: The file to write; its ending says what: `.onnx`, `.xml` (OpenVINO IR) or `.tflite` (LiteRT).
        options: Precision, attention, names.
        data: Where the run's images are now; for a `.keras` file a folder of images and masks that nothing is
            tested on; for an `.onnx` file the folder that its model was trained on.
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
    if Path(source).suffix.lower() == ".onnx":
        check_installed(target, is_exported=True)
        return _export_again(Path(source), out, options, data, track)
    check_installed(target)
    out.parent.mkdir(parents=True, exist_ok=True)
    with alone_at(out):
        return _export(open_source(source, data), out, target, options, track)


def _export(opened: ExportSource, out: Path, target: str, options: ExportOptions, track: Track) -> Exported:
    """As `export_model`, to a file that nobody else writes."""
    if options.precision == "int8" and not (opened.calibration and opened.validation):
        raise UsageError(
            f"int8 needs images to calibrate with and to be proved on, and {opened.without or 'there are too few'}; "
            "name their folder with --data DIR, or export fp32 or fp16"
        )
    graph = convert(opened.model, options.attention)
    facts = facts_of(opened, options.name, options.model_version, options.licence).model_copy(
        update={"precision": options.precision, "multiply_adds": multiply_adds(graph)}
    )
    if target == ".tflite":
        facts, notes = _export_litert(opened, out, facts, Prover(opened, False, track))
    else:
        if options.any_size:
            facts = facts.model_copy(update={"stride": largest_stride(graph, facts.size)})
            graph = free_size(graph)
            check_other_size(graph, opened.model, facts)
        levels = tuple(gate_levels(opened.model)) if options.attention else ()
        facts = facts.model_copy(update={"attention_levels": levels})
        facts, notes = _export_graph(opened, out, (graph, facts), options, track)
    return _exported(out, facts, notes, opened)


def _export_again(path: Path, out: Path, options: ExportOptions, data: Path | None, track: Track) -> Exported:
    """Write an exported model in another precision, or as an OpenVINO IR.

    Raises:
        UsageError: What needs the Keras model is asked for, or int8 without images.
    """
    if target_of(out) == ".tflite" or options.any_size:
        raise UsageError(f"{path}: exported already; LiteRT and --any-size need the run folder or the .keras file")
    source, stored, plain, known = open_exported(path, data, options.attention)
    given = {"name": options.name, "version": options.model_version, "licence": options.licence}
    made_by = f"polypseg {__version__}, again, from {known.precision} by {known.exported_by}"
    facts = known.model_copy(
        update={
            **{key: value for key, value in given.items() if value},
            "precision": options.precision,
            "exported_by": made_by,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "quantised_by": known.quantised_by if options.precision == "int8" == known.precision else "",
            **{key: ModelFacts.model_fields[key].default for key in MADE_ANEW},
        }
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    if options.precision == "int8" == known.precision and known.saturating_sums == 0 and out.suffix.lower() == ".onnx":
        facts = known.model_copy(update={key: value for key, value in given.items() if value})
        notes = [f"{path.name} is right on every processor already: the same weights"]
        if known.second_look and not options.second_look:
            fields = ((key, ModelFacts.model_fields[key]) for key in WITH_SECOND_LOOK)
            unset = {key: field.get_default(call_default_factory=True) for key, field in fields}
            facts = facts.model_copy(update=unset)
            notes.append("its figures were measured with the second look and are left out: polypseg evaluate")
        write_model_file(out, stored.SerializeToString(), facts)
        return Exported(out, facts, out.stat().st_size, tuple(notes))
    if options.precision == "int8" and not (source.calibration and source.validation):
        raise UsageError(
            f"{path}: int8 needs images to calibrate with and to be proved on; name the folder that the model was "
            "trained on with --data DIR, or export fp32 or fp16"
        )
    integers = stored if known.precision == "int8" else None
    facts, notes = _export_graph(source, out, (plain, facts), options, track, integers)
    return _exported(out, facts, notes, source)


def _exported(out: Path, facts: ModelFacts, notes: Sequence[str], source: ExportSource) -> Exported:
    if source.without:
        notes = [*notes, f"{source.without}: proved on synthetic images only"]
    return Exported(out, facts, sum(path.stat().st_size for path in _written(out)), tuple(notes))


def _export_graph(
    source: ExportSource,
    out: Path,
    made: tuple[Any, ModelFacts],
    options: ExportOptions,
    track: Track,
    integers: Any = None,
) -> tuple[ModelFacts, list[str]]:
    """Write an ONNX file, or an OpenVINO IR of it; `integers` as `best_int8`."""
    graph, facts = made
    notes: list[str] = []
    prover = Prover(source, bool(facts.attention_levels), track)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        if options.precision == "int8":
            facts = facts.model_copy(update={"second_look": options.second_look and out.suffix.lower() == ".onnx"})
            graph, facts, notes = best_int8((graph, facts), path, prover, options.method, integers)
        else:
            graph = store_as_float16(graph) if options.precision == "fp16" else graph
            facts = proved(graph, facts, path, prover)
        write_model_file(path, graph.SerializeToString(), facts)
        if out.suffix.lower() == ".xml":
            model, trial = to_openvino(path), path.with_suffix(".xml")
            write_openvino(model, facts, trial)
            engines = {"openvino": OpenVinoEngine(trial)}
            facts = facts.model_copy(update=prover.prove(engines, options.precision)._asdict())
            write_openvino(model, facts, out)
        else:
            write_model_file(out, graph.SerializeToString(), facts)
    return facts, notes


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


def _export_litert(source: ExportSource, out: Path, facts: ModelFacts, prover: Prover) -> tuple[ModelFacts, list[str]]:
    squares: list[Image] = []
    if facts.precision == "int8":
        squares = calibration_squares(source)
        facts = facts.model_copy(update={"quantised_by": f"LiteRT converter, {len(squares)} images"})
    content = to_litert(source.model, facts.precision, squares)
    facts = facts.model_copy(update={"opset": None, "attention_levels": ()})
    with TemporaryDirectory() as folder:
        trial = Path(folder) / "model.tflite"
        write_litert(content, facts, trial)
        engines = {"litert": LiteRtEngine(trial)}
        facts = facts.model_copy(update=prover.prove(engines, facts.precision)._asdict())
    write_litert(content, facts, out)
    return facts, [f"its facts stand in {out.with_suffix('.json').name}; it takes one image at a time"]


def _written(out: Path) -> list[Path]:
    return [out, second_file(out)] if out.suffix.lower() in BESIDE else [out]
