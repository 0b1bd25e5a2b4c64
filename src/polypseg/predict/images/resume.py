"""What of an earlier call is done, and what its results follow from.

Decisions:
- An image is done where the table has a row of it without a fault, all its files are there, and the image is no newer
  than its mask.
- Results of another model, threshold or augmentation are never mixed: settings.json says what they follow from.
- The table goes first and comes last, so that a kill at any moment leaves rows only of what settings.json says.
"""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from polypseg.errors import DataError
from polypseg.predict.images.coco import LINES_NAME, kept_names, mend_lines
from polypseg.predict.images.outputs import OutputFolder
from polypseg.predict.images.sources import Source
from polypseg.predict.images.table import COLUMNS, format_line, read_rows, text_cell
from polypseg.predict.predictor import Predictor
from polypseg.records.atomic import write_text
from polypseg.records.reading import FileKind, read_json

Record = dict[str, str | float | int]
"""What results follow from, by name; a difference in any of them is another result."""

EARLIER: Record = {"field": "whole"}
"""What followed from nothing else, before there was a setting for it."""

SETTINGS_NAME = "settings.json"
KIND = FileKind("record of what the results follow from", DataError, "start with --overwrite")


def record_of(model: Path, predictor: Predictor) -> Record:
    """What the results of a model follow from.

    Args:
        model: A model file, or a run folder: then its best checkpoint.
        predictor: Made from it.
    """
    file = model / "checkpoints" / "best.keras" if model.is_dir() else model
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {
        "model": predictor.engine.facts.name or model.name,
        "model_sha256": digest,
        "threshold": predictor.threshold,
        "seed_threshold": predictor.seed_threshold,
        "tta": predictor.options.tta,
        "field": predictor.field,
        "min_area_px": predictor.options.min_area_px,
    }


def start_anew(output: OutputFolder, record: Record) -> set[str]:
    """Nothing is done: an empty table, and the settings beside it."""
    for path in (output.table_path, output.folder / LINES_NAME):
        path.unlink(missing_ok=True)
    write_text(output.folder / SETTINGS_NAME, json.dumps(record, indent=1) + "\n")
    write_text(output.table_path, format_line(COLUMNS))
    return set()


def done_names(output: OutputFolder, record: Record, sources: list[Source]) -> set[str]:
    """The names of the sources that are done; the table is left with the rows of what is done.

    Raises:
        DataError: The results there follow from something else.
    """
    if not output.table_path.exists():
        return start_anew(output, record)
    _check_settings(output.folder / SETTINGS_NAME, record)
    by_cell = {text_cell(source.name): source for source in sources}
    mend_lines(output.folder)
    kept = kept_names(output.folder) if output.options.coco else None
    rows, done = [], set()
    for row in read_rows(output.table_path):
        source = by_cell.get(row["name"])
        if source is None:
            rows.append(row)  # of an image that this call does not name: its results stay, and so does its row
        elif not row["fault"] and _is_done(output, source) and (kept is None or source.name in kept):
            rows.append(row)
            done.add(source.name)
    lines = [format_line(COLUMNS), *(format_line([row[column] for column in COLUMNS]) for row in rows)]
    write_text(output.table_path, "".join(lines))
    return done


def _is_done(output: OutputFolder, source: Source) -> bool:
    if not all(path.is_file() for path in output.paths(source.name)):
        return False
    with suppress(OSError):  # standard input, or a file that is gone: reading it tells
        return Path(source.path).stat().st_mtime <= output.mask_path(source.name).stat().st_mtime
    return False


def _check_settings(path: Path, record: Record) -> None:
    before = EARLIER | read_json(path, Record, KIND)
    other = [f"{key} {before.get(key)} (now {value})" for key, value in record.items() if before.get(key) != value]
    if other:
        raise DataError(
            f"{path.parent} holds results that follow from other settings: {', '.join(other)}; name another folder, "
            "or start again with --overwrite"
        )
