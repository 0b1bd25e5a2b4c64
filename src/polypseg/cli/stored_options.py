"""Where a calibration or a recalibration is kept: in a run, in an exported file, or in a copy of one."""

from pathlib import Path


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
