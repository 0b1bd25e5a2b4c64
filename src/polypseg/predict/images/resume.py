"""What of an earlier call is done, and what its results follow from.

Decisions:
- An image is done where the table has a row of it without a fault, all its files are there, and its file is what it was
  (inputs.py).
- Results of another model, engine, threshold or augmentation are never mixed: settings.json says what they follow from.
- The table goes first and comes last, so that a kill at any moment leaves rows only of what settings.json says.
"""

import hashlib
import json
from pathlib import Path

from polypseg.errors import DataError
from polypseg.predict.images.coco import LINES_NAME, kept_names, mend_lines
from polypseg.predict.images.inputs import INPUTS_NAME, is_same, kept_stamps
from polypseg.predict.images.outputs import OutputFolder
from polypseg.predict.images.sources import ImageSource
from polypseg.predict.images.table import read_rows, text_cell, write_rows
from polypseg.predict.predictor import Predictor
from polypseg.records.atomic import write_text
from polypseg.records.digests import model_file_digest
from polypseg.records.reading import FileKind, read_json

Settings = dict[str, str | float | int]
"""What results follow from, by name; a difference in any of them is another result."""

EARLIER: Settings = {"field": "whole", "calibration": ""}
"""What followed from nothing else, before there was a setting for it."""

SETTINGS_NAME = "settings.json"
KIND = FileKind("record of what the results follow from", DataError, "start with --overwrite")


def record_of(model: Path, predictor: Predictor) -> Settings:
    """What the results of a model follow from.

    Args:
        model: A model file, or a run folder: then its best checkpoint.
        predictor: Made from it.
    """
    return {
        "model": predictor.engine.facts.name or model.name,
        "model_sha256": model_file_digest(model),
        "engine": predictor.engine.name,
        "threshold": predictor.threshold,
        "seed_threshold": predictor.peak_threshold,
        "tta": predictor.options.tta,
        "field": predictor.field,
        "min_area_px": predictor.options.min_area_px,
        "calibration": _calibration_of(predictor),
    }


def _calibration_of(predictor: Predictor) -> str:
    """The digest of what a calibration says; empty without one."""
    calibration = predictor.options.calibration
    return hashlib.sha256(calibration.model_dump_json().encode()).hexdigest() if calibration else ""


def start_anew(output: OutputFolder, record: Settings) -> set[str]:
    """Nothing is done: an empty table, and the settings beside it."""
    for path in (output.table_path, output.folder / LINES_NAME, output.folder / INPUTS_NAME):
        path.unlink(missing_ok=True)
    write_text(output.folder / SETTINGS_NAME, json.dumps(record, indent=1) + "\n")
    write_rows(output.table_path)
    return set()


def done_names(output: OutputFolder, record: Settings, sources: list[ImageSource]) -> set[str]:
    """The names of the sources that are done; the table is left with the rows of what is done.

    Raises:
        DataError: The results there follow from something else.
    """
    if not output.table_path.exists():
        return start_anew(output, record)
    _check_settings(output.folder / SETTINGS_NAME, record)
    by_cell = {text_cell(source.name): source for source in sources}
    mend_lines(output.folder / LINES_NAME)
    mend_lines(output.folder / INPUTS_NAME)
    kept = kept_names(output.folder) if output.options.coco else None
    stamps = kept_stamps(output.folder)
    rows, done = [], set()
    for row in read_rows(output.table_path):
        source = by_cell.get(row.name)
        if source is None:
            rows.append(row)  # of an image that this call does not name: its results stay, and so does its row
        elif (
            not row.fault
            and all(path.is_file() for path in output.paths(source.name))
            and is_same(source, stamps.get(source.name))
            and (kept is None or source.name in kept)
        ):
            rows.append(row)
            done.add(source.name)
    write_rows(output.table_path, rows)
    return done


def _check_settings(path: Path, record: Settings) -> None:
    unknown = {"engine": record["engine"]}  # polypseg 0.1 did not write it
    before = EARLIER | unknown | read_json(path, Settings, KIND)
    other = [f"{key} {before.get(key)} (now {value})" for key, value in record.items() if before.get(key) != value]
    if other:
        raise DataError(
            f"{path.parent} holds results that follow from other settings: {', '.join(other)}; name another folder, "
            "or start again with --overwrite"
        )
