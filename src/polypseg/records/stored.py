"""What is kept with a model: a calibration, a recalibration; in a run's folder as files, in an exported file inside it.

Decisions:
- Nothing stored changes the model: its digest (`records.digests.model_file_digest`) stays what it was, and so do all
  calibrations and records that name it.
- A stored value of another checkpoint is refused for a run; in an exported file the file's own digest binds it.
- The files of the package stay as they are: their digests stand in its index.
"""

from pathlib import Path

from polypseg.errors import ModelError
from polypseg.records import recalibration as recalibrations
from polypseg.records.atomic import write_bytes, write_text
from polypseg.records.calibration import KIND, Calibration
from polypseg.records.model_facts import CALIBRATION_KEY, PREFIX, RECALIBRATION_KEY
from polypseg.records.onnx_metadata import read_metadata
from polypseg.records.reading import parse_json, read_json
from polypseg.records.recalibration import Recalibration
from polypseg.records.sealing import is_intact, is_sealed, with_stored

CALIBRATION_NAME = "calibration.json"


def stored_calibration(model: Path) -> Calibration | None:
    """The calibration that is kept with a model; None without one.

    Raises:
        ModelError: It is damaged.
    """
    if model.is_dir():
        path = model / CALIBRATION_NAME
        return read_json(path, Calibration, KIND) if path.is_file() else None
    if model.suffix.lower() != ".onnx":
        return None
    text = read_metadata(model).get(PREFIX + CALIBRATION_KEY)
    return None if text is None else parse_json(text, Calibration, model, KIND)


def check_place(model: Path) -> None:
    """Nothing, if something can be stored with a model.

    Raises:
        ModelError: It is neither a run nor an exported file, or it cannot be written.
    """
    if model.is_dir():
        return
    if model.suffix.lower() != ".onnx":
        raise ModelError(f"{model}: nothing can be stored in it; expected a run folder or an exported .onnx file")
    content = _content(model)
    if not is_sealed(content) or not is_intact(content):
        raise ModelError(f"{model}: damaged, or not exported by polypseg; copy it again, or export it again")


def stored_recalibration(model: Path) -> Recalibration | None:
    """The recalibration that is kept with a model; None without one.

    Raises:
        ModelError: It is damaged.
    """
    if model.is_dir():
        path = model / recalibrations.NAME
        return read_json(path, Recalibration, recalibrations.KIND) if path.is_file() else None
    if model.suffix.lower() != ".onnx":
        return None
    text = read_metadata(model).get(PREFIX + RECALIBRATION_KEY)
    return None if text is None else parse_json(text, Recalibration, model, recalibrations.KIND)


def store_calibration(model: Path, calibration: Calibration | None) -> Path:
    """The file in which a calibration is kept now; None removes one.

    Raises:
        ModelError: As `check_place`.
    """
    check_place(model)
    text = None if calibration is None else calibration.model_dump_json()
    if not model.is_dir():
        return _store_in_file(model, model, PREFIX + CALIBRATION_KEY, text)
    path = model / CALIBRATION_NAME
    _write_or_remove(path, text)
    return path


def store_recalibration(model: Path, record: Recalibration | None, out: Path | None = None) -> Path:
    """The file in which a recalibration is kept now.

    Args:
        model: A run folder, or an exported file.
        record: What to keep; None removes what is there.
        out: A copy of the exported file to write instead of the file itself.

    Raises:
        ModelError: As `check_place`.
    """
    check_place(model)
    text = None if record is None else record.model_dump_json()
    if not model.is_dir():
        return _store_in_file(model, out or model, PREFIX + RECALIBRATION_KEY, text)
    path = model / recalibrations.NAME
    _write_or_remove(path, text)
    return path


def _store_in_file(model: Path, target: Path, key: str, text: str | None) -> Path:
    write_bytes(target, with_stored(_content(model), {key: text}))
    return target


def _write_or_remove(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink(missing_ok=True)
    else:
        write_text(path, text + "\n")


def _content(model: Path) -> bytes:
    try:
        return model.read_bytes()
    except OSError as error:
        raise ModelError(f"{model}: cannot read the model: {error.strerror}") from error
