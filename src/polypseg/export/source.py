"""What is exported, and the images that its copy is calibrated with and proved on.

Decisions:
- A run calibrates on its training split and proves on its validation split. The test split is never opened.
- A `.keras` file knows no split. With a folder of data every second image (by name) calibrates and the others prove:
  name a folder that nothing is tested on.
- Images that no longer are what the run saw are refused, as in an evaluation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polypseg.data.catalogue import find_samples
from polypseg.data.samples import Sample
from polypseg.data.splits import verify_split
from polypseg.errors import DataError, ModelError, UsageError
from polypseg.predict.engines.engine import Engine
from polypseg.predict.engines.keras_engine import KerasEngine
from polypseg.predict.engines.opening import open_engine
from polypseg.records.run import Run, open_run
from polypseg.records.split import Split
from polypseg.train.samples import run_samples


@dataclass(frozen=True)
class ExportSource:
    """A model to export.

    Attributes:
        engine: The Keras model, ready to run; or the graph of an exported file, in fp32.
        path: Its `.keras` file; or the exported one.
        run: The run that it is of; None for a file by itself.
        manifest: The run's splits.
        data: The folder of its images; None where there is none, or it is not at hand.
        calibration: Images to calibrate with; empty without data.
        validation: Images with a mask to prove on; empty without data.
        without: Why there are no images; empty where there are.
    """

    engine: Engine
    path: Path
    run: Run | None = None
    manifest: Split | None = None
    data: Path | None = None
    calibration: Sequence[Sample] = ()
    validation: Sequence[Sample] = ()
    without: str = ""

    @property
    def model(self) -> Any:
        """The Keras model.

        Raises:
            UsageError: It is not at hand.
        """
        if not isinstance(self.engine, KerasEngine):
            raise UsageError(f"{self.path}: exported already, and this needs the run folder or the .keras file")
        return self.engine.model


def open_source(path: Path | str, data: Path | None = None) -> ExportSource:
    """The model of a run folder (its best checkpoint) or of a `.keras` file.

    Args:
        path: The run folder or the file.
        data: Where the images are; None for where the run had them.

    Raises:
        RunError: Not a run.
        ModelError: Not a Keras model, or not one that polypseg can feed.
        SplitError: The images are not those of the run's manifest.
        PairingError: The folder that was named holds no images with masks.
    """
    path = Path(path)
    if path.suffix.lower() == ".onnx":
        raise UsageError(f"{path}: exported already; open_exported takes it, this the run folder or the .keras file")
    if not path.is_dir():
        source = ExportSource(_keras_engine(path), path)
        return _with_own_halves(source, data) if data else replace(source, without="no folder of data was named")
    run = open_run(path)
    engine = _keras_engine(path)
    manifest = run.split()
    source = ExportSource(engine, run.best_path, run, manifest)
    folder = data or Path(run.environment().data)
    try:
        samples, _ = run_samples(run, data)
    except DataError:
        if data is not None:
            raise
        return replace(source, without=f"the run's data are not at {folder} any more")
    training, validation = (manifest.select(samples, split) for split in ("train", "validation"))
    names = {sample.name for sample in (*training, *validation)}
    seen = Split(manifest.source, manifest.seed, {n: e for n, e in manifest.entries.items() if n in names})
    verify_split(seen, samples)
    return replace(source, data=folder, calibration=training, validation=_with_masks(validation))


def _with_own_halves(source: ExportSource, data: Path) -> ExportSource:
    samples, _ = find_samples(data)
    masked = _with_masks(samples)
    return replace(source, data=data, calibration=masked[::2], validation=masked[1::2])


def _with_masks(samples: Sequence[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.mask_path]


def _keras_engine(path: Path) -> KerasEngine:
    engine = open_engine(path, "keras")
    if not isinstance(engine, KerasEngine):
        raise ModelError(f"{path}: one model is exported at a time; expected a run folder or a .keras file")
    return engine
