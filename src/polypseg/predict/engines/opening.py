"""Opening a model: which engine runs it.

Decisions:
- A runtime is imported when an engine of its kind is opened, never before; none here needs a training framework but
  the one that runs a `.keras` file.
- Unless the caller names one, an `.onnx` file runs in OpenVINO where that is installed, else in ONNX Runtime; an IR
  runs in OpenVINO and a `.tflite` file in LiteRT, and in nothing else.
- An int8 `.onnx` file looks again in float at close calls (second_look.py), after its self-test, which is of the first
  look.
"""

from importlib.util import find_spec
from pathlib import Path

from polypseg.errors import ModelError, UsageError, unknown_name
from polypseg.predict.engines.checking import ask
from polypseg.predict.engines.engine import ENGINES, Engine
from polypseg.predict.engines.model_file import OpenedModel, read_model_file
from polypseg.predict.engines.second_look import SecondLook, model_in_float
from polypseg.predict.engines.self_test import check_once
from polypseg.preprocess import FieldRule
from polypseg.records.digests import model_file_digest
from polypseg.records.recalibration import NAME as RECALIBRATION_NAME
from polypseg.records.recalibration import load_recalibration
from polypseg.records.threshold import DEFAULT, load_threshold


def open_engine(model: Path | str, engine: str = "auto", threads: int | None = None, streams: int = 1) -> Engine:
    """An engine for a run folder (its best checkpoint, its stored threshold), a `.keras` file or an exported file.

    A group of runs (a cross-validation, several seeds) is one engine: the mean of its members' probabilities.

    Args:
        model: The path.
        engine: One of `ENGINES`.
        threads: Processor cores to use at most; None leaves it to the runtime.
        streams: Batches that an exported model runs at once, each on one core, for as many threads that ask; 1 runs
            one on all cores.

    Raises:
        ModelError: None of them, a damaged one, one that the engine cannot run, or one that gives no probabilities.
        MissingExtraError: Its runtime is not installed.
        UsageError: An unknown engine, or less than one thread.
    """
    path = Path(model)
    if engine not in ENGINES:
        raise UsageError(unknown_name("engine", engine, ENGINES))
    if threads is not None and threads < 1:
        raise UsageError(f"threads {threads}: expected at least 1")
    if not path.exists():
        raise ModelError(f"{path}: no such file or folder; expected {KNOWN}")
    if path.is_dir() or path.suffix.lower() == ".keras":
        opened = _recalibrated(_open_keras(path, engine, threads), path)
        if not path.is_dir():
            ask(opened, str(path))
        return opened
    exported = _open_exported(path, engine, threads, streams)
    ask(exported, str(path))
    check_once(exported, path)
    return with_second_look(exported, path, threads, streams)


def with_second_look(first: Engine, path: Path, threads: int | None = None, streams: int = 1) -> Engine:
    """An engine of an exported file that looks again at close calls, where the file says that it does.

    The second look is ONNX Runtime's, whatever takes the first: it opens fastest, and is the same for all.

    Args:
        first: Of the file.
        path: The file.
        threads: As of `open_engine`.
        streams: As of `open_engine`.
    """
    if not first.facts.second_look or path.suffix.lower() != ".onnx":
        return first

    def open_second() -> Engine:
        from polypseg.predict.engines.onnx_engine import OnnxEngine

        model = model_in_float(OpenedModel(path, *read_model_file(path)))
        return OnnxEngine(model, threads, streams, spins=False)

    return SecondLook(first, open_second)


KNOWN = "a run folder, an .onnx, a .keras, an .xml (OpenVINO) or a .tflite file (LiteRT)"
"""What can be opened."""

_ENGINES_OF = {".onnx": ("onnxruntime", "openvino"), ".xml": ("openvino",), ".tflite": ("litert",)}
"""By the ending of an exported file; `auto` takes one of them."""


def _open_exported(path: Path, engine: str, threads: int | None, streams: int) -> Engine:
    ending = path.suffix.lower()
    if ending not in _ENGINES_OF:
        raise ModelError(f"{path}: expected {KNOWN}, found {path.suffix or 'no ending'}")
    if engine not in ("auto", *_ENGINES_OF[ending]):
        fitting = " or ".join(_ENGINES_OF[ending])
        raise ModelError(f"{path}: the engine {engine} cannot run {ending} files; take {fitting}")
    if ending == ".tflite":
        from polypseg.predict.engines.litert_engine import LiteRtEngine

        return LiteRtEngine(path, threads)
    if ending == ".xml" or engine == "openvino" or (engine == "auto" and find_spec("openvino") is not None):
        from polypseg.predict.engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(path, threads, streams)
    from polypseg.predict.engines.onnx_engine import OnnxEngine

    return OnnxEngine(path, threads, streams)


def _recalibrated(engine: Engine, path: Path) -> Engine:
    """The engine of a run, whose facts tell of the recalibration that is kept with the run."""
    if (path / RECALIBRATION_NAME).is_file():
        found = load_recalibration(path, model_file_digest(path))
        engine.facts = engine.facts.model_copy(update={"recalibration": found})
    return engine


def _open_keras(path: Path, engine: str, threads: int | None) -> Engine:
    if engine not in ("auto", "keras"):
        raise ModelError(f"{path}: {engine} cannot run a Keras model; export it first: polypseg export {path}")
    stored, file = DEFAULT, path
    if (path / "members.json").is_file():
        return _open_group(path, engine, threads)
    if path.is_dir():
        file = path / "checkpoints" / "best.keras"
        if not file.is_file():
            raise ModelError(f"{path}: holds no checkpoints/best.keras; expected a run folder with a finished epoch")
        stored = load_threshold(path)
    from polypseg.predict.engines.keras_engine import KerasEngine

    return KerasEngine(file, stored.threshold, threads, stored.peak_threshold, _field_of(file))


def _field_of(file: Path) -> FieldRule:
    """What of a frame the model of a run's checkpoint was trained on; of a file by itself nothing is known: all."""
    config = file.parent.parent / "config.toml"
    if file.parent.name != "checkpoints" or not config.is_file():
        return "whole"
    from polypseg.config import load_run_config

    return load_run_config(config).data.field


def _open_group(path: Path, engine: str, threads: int | None) -> Engine:
    from polypseg.predict.engines.ensemble import EnsembleEngine
    from polypseg.records.run import Run

    stored = load_threshold(path)
    members = [_open_keras(member.folder, engine, threads) for member in Run(path).members()]
    return EnsembleEngine(members, stored.threshold, stored.peak_threshold)
