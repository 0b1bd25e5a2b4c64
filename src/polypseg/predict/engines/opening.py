"""Opening a model: which engine runs it.

Decisions:
- A runtime is imported when an engine of its kind is opened, never before; none here needs a training framework but
  the one that runs a `.keras` file.
- Unless the caller names one, an exported model runs in OpenVINO where that is installed, else in ONNX Runtime.
"""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from polypseg.errors import ModelError, UsageError, unknown_name
from polypseg.predict.engines.engine import ENGINES, Engine
from polypseg.predict.engines.model_facts import DEFAULT_THRESHOLD
from polypseg.preprocess import FieldRule


def open_engine(model: Path | str, engine: str = "auto", threads: int | None = None, streams: int = 1) -> Engine:
    """An engine for a run folder (its best checkpoint, its stored threshold), a `.keras` or an `.onnx` file.

    A group of runs (a cross-validation, several seeds) is one engine: the mean of its members' probabilities.

    Args:
        model: The path.
        engine: One of `ENGINES`.
        threads: Processor cores to use at most; None leaves it to the runtime.
        streams: Batches that an exported model runs at once, each on one core, for as many threads that ask; 1 runs
            one on all cores.

    Raises:
        ModelError: None of them, a damaged one, or one that the engine cannot run.
        MissingExtraError: Its runtime is not installed.
        UsageError: An unknown engine, or less than one thread.
    """
    path = Path(model)
    if engine not in ENGINES:
        raise UsageError(unknown_name("engine", engine, ENGINES))
    if threads is not None and threads < 1:
        raise UsageError(f"threads {threads}: expected at least 1")
    if not path.exists():
        raise ModelError(f"{path}: no such file or folder; expected a run folder, an .onnx or a .keras file")
    if path.is_dir() or path.suffix.lower() == ".keras":
        return _open_keras(path, engine, threads)
    if path.suffix.lower() != ".onnx":
        ending = path.suffix or "no ending"
        raise ModelError(f"{path}: expected a run folder, an .onnx or a .keras file, found {ending}")
    if engine == "keras":
        raise ModelError(f"{path}: Keras cannot run an ONNX file; take engine onnxruntime or openvino")
    if engine == "openvino" or (engine == "auto" and find_spec("openvino") is not None):
        from polypseg.predict.engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(path, threads, streams)
    from polypseg.predict.engines.onnx_engine import OnnxEngine

    return OnnxEngine(path, threads, streams)


def _open_keras(path: Path, engine: str, threads: int | None) -> Engine:
    if engine not in ("auto", "keras"):
        raise ModelError(f"{path}: {engine} cannot run a Keras model; export it first: polypseg export {path}")
    stored, file = StoredThreshold(), path
    if (path / "members.json").is_file():
        return _open_group(path, engine, threads)
    if path.is_dir():
        file = path / "checkpoints" / "best.keras"
        if not file.is_file():
            raise ModelError(f"{path}: holds no checkpoints/best.keras; expected a run folder with a finished epoch")
        stored = stored_thresholds(path)
    from polypseg.predict.engines.keras_engine import KerasEngine

    return KerasEngine(file, stored.threshold, threads, stored.seed_threshold, _field_of(file))


def _field_of(file: Path) -> FieldRule:
    """What of a frame the model of a run's checkpoint was trained on; of a file by itself nothing is known: all."""
    config = file.parent.parent / "config.toml"
    if file.parent.name != "checkpoints" or not config.is_file():
        return "whole"
    from polypseg.config import load_run_config

    return load_run_config(config).data.field


def _open_group(path: Path, engine: str, threads: int | None) -> Engine:
    from polypseg.predict.engines.ensemble import EnsembleEngine
    from polypseg.train.run import Run

    stored = stored_thresholds(path)
    members = [_open_keras(member.folder, engine, threads) for member in Run(path).members()]
    return EnsembleEngine(members, stored.threshold, stored.seed_threshold)


class StoredThreshold(NamedTuple):
    """What was chosen on a run's validation split; fields as of `ModelFacts`."""

    threshold: float = DEFAULT_THRESHOLD
    seed_threshold: float = 0.0


def stored_threshold(run_folder: Path) -> float:
    """The threshold of `stored_thresholds`."""
    return stored_thresholds(run_folder).threshold


def threshold_words(run_folder: Path) -> str:
    """On which images a run's thresholds were chosen, as its `threshold.json` tells it; `default` without one."""
    path = run_folder / "threshold.json"
    if not path.is_file():
        return "default"
    record = json.loads(path.read_text(encoding="utf-8"))
    chosen_on = record.get("chosen_on", "validation")
    where = "out of fold" if chosen_on == "out-of-fold" else f"on the {chosen_on} split"
    return f"chosen {where}{', in perturbations too' if len(record.get('perturbations', ())) > 1 else ''}"


def stored_thresholds(run_folder: Path) -> StoredThreshold:
    """The thresholds that were chosen on a run's validation split (`threshold.json`), else 0.5 and none.

    Raises:
        ModelError: The file is damaged.
    """
    path = run_folder / "threshold.json"
    if not path.exists():
        return StoredThreshold()
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        stored = StoredThreshold(float(record["threshold"]), float(record.get("seed_threshold", 0.0)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: cannot read the stored threshold ({error!r})") from error
    for name, value in stored._asdict().items():
        if not 0 <= value <= 1:
            raise ModelError(f"{path}: {name} {value}; expected a value in [0, 1]")
    return stored
