"""Where a calibration or a recalibration is kept: in a run, in an exported file, or in a copy of one."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polypseg.predict.predictor import Predictor
    from polypseg.records.calibration import Calibration


def calibration_choice(given: str | None) -> "tuple[Calibration | None, bool]":
    """The calibration of a file that was named, and whether one that is kept with the model is used.

    Args:
        given: A file; `none` for no calibration at all; None for the one that is kept with the model.

    Raises:
        ModelError: The file cannot be read, or is damaged.
    """
    from polypseg.records.calibration import load_calibration

    if given is None or given == "none":
        return None, given is None
    return load_calibration(Path(given)), False


def note_unused(model: Path, predictor: "Predictor") -> None:
    """Tell why a calibration that is kept with the model is not used."""
    from polypseg.cli.console import messages
    from polypseg.predict.kept_calibration import fitting_calibration

    reason = fitting_calibration(model, predictor)[1] if predictor.options.stored else ""
    if reason:
        messages.print(f"note: {reason}", markup=False)


def target_of(model: Path, out: Path | None = None, overwrite: bool = False) -> Path:
    """The run or file that is to be written.

    Args:
        model: As it was resolved.
        out: A copy to write instead; for an exported file.
        overwrite: Whether a copy that is there already is replaced.

    Raises:
        UsageError: A model of the package, a copy of a run, or one that is there already.
        ModelError: Nothing can be stored there.
    """
    from polypseg.errors import UsageError
    from polypseg.predict.engines.packaged import FOLDER
    from polypseg.records.stored import check_place

    check_place(model)
    if out is None:
        if model.parent.resolve() == FOLDER.resolve():
            raise UsageError(
                f"{model.stem} is part of this installation and is not changed; copy it first: polypseg models "
                f"{model.stem} --export-to FOLDER, and name the copy"
            )
        return model
    if model.is_dir() or out.suffix.lower() != ".onnx":
        raise UsageError(f"-o {out}: a copy is of an .onnx file and ends so; in a run it is stored without -o")
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists; replace it with --overwrite, or name another file")
    if not out.parent.is_dir():
        raise UsageError(f"{out}: its folder does not exist; make it, or name another")
    return out
