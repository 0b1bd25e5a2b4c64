"""Strata: the images by polyp area, centre, sequence, sub-set, or by any column of a user's table.

Decisions:
- A stratum holds images with a polyp only, as every mean does.
- What a user's table does not tell is a stratum of its own, `unknown`: no image drops out unseen.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import ScoreError, UsageError, listed, plural, unknown_name
from polypseg.records.reading import FileKind, read_rows
from polypseg.records.scores import Scores

UNKNOWN = "unknown"
KIND = FileKind("table", ScoreError, "expected a CSV file with a line of column names")
AREA_WAY = "polyp area"
AREA_LIMITS = (5.0, 20.0)
"""In % of the image: a polyp below the first is small, above the second large."""


def area_strata(scores: Scores, limits: tuple[float, float] = AREA_LIMITS) -> list[str]:
    """The stratum of each image by the share of it that is polyp; a share equal to a limit is medium.

    Args:
        scores: N rows.
        limits: In % of the image, the smaller first.

    Raises:
        UsageError: Limits that do not rise, or lie outside 0 … 100.
    """
    low, high = limits
    if not 0 < low < high < 100:
        raise UsageError(f"area limits {low:g},{high:g}: expected two rising values between 0 and 100, as 5,20")
    small, medium, large = f"small (< {low:g} %)", f"medium ({low:g} to {high:g} %)", f"large (> {high:g} %)"
    return [small if percent < low else large if percent > high else medium for percent in scores.polyp_percent]


def all_strata(
    scores: Scores, limits: tuple[float, float] = AREA_LIMITS, table: Path | None = None, columns: Sequence[str] = ()
) -> dict[str, list[str]]:
    """The stratum of each image in every way that is known, by the name of the way.

    Args:
        scores: N rows.
        limits: As in `area_strata`.
        table: A CSV file with one row per image.
        columns: Of the table.

    Raises:
        ScoreError: The table cannot be read, lacks a column, or knows none of the images.
        UsageError: A table without columns, or the reverse.
    """
    ways = {AREA_WAY: area_strata(scores, limits)}
    known: dict[str, Sequence[str]] = {
        "centre": scores.text.centre,
        "source": scores.sources,
        "group": scores.text.group,
        "split": scores.splits,
        "sub-set": [name.rpartition("/")[0] for name in scores.names],
    }
    for way, values in known.items():
        if len(set(values) - {""}) > 1:
            ways[way] = [value or UNKNOWN for value in values]
    if (table is None) != (not columns):
        raise UsageError("--strata-csv FILE and --by COLUMN belong together: give both, or neither")
    if table is not None:
        ways |= table_strata(scores.names, table, columns)
    return ways


def table_strata(names: Sequence[str], table: Path, columns: Sequence[str]) -> dict[str, list[str]]:
    """The value of each image in columns of a CSV file.

    The column `name` tells the image; without one, the first column does.

    Raises:
        ScoreError: The table cannot be read, lacks a column, tells an image twice, or knows none of them.
    """
    rows = read_rows(table, (), KIND)
    header = list(rows[0]) if rows else []
    for column in columns:
        if column not in header:
            raise ScoreError(f"{table}: {unknown_name('column', column, header)}")
    key = "name" if "name" in header else header[0]
    by_name = _by_name(rows, key, table)
    if not by_name.keys() & set(names):
        example = next(iter(by_name), "nothing")
        raise ScoreError(
            f"{table}: its column {key!r} names none of the {len(names)} images; it has {example!r}, as an example, "
            f"the scores {names[0]!r}"
        )
    return {column: [by_name.get(name, {}).get(column) or UNKNOWN for name in names] for column in columns}


def places_by_stratum(strata: Sequence[str], chosen: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """For each stratum that has any of the `chosen` images, (N,) bool: which they are; in natural order."""
    array = np.asarray(strata, object)
    present = sorted(set(array[chosen]), key=_natural)
    return {stratum: chosen & (array == stratum) for stratum in present}


def _by_name(rows: Sequence[Mapping[str, str]], key: str, table: Path) -> dict[str, Mapping[str, str]]:
    by_name: dict[str, Mapping[str, str]] = {}
    repeated = []
    for row in rows:
        name = (row[key] or "").strip()
        repeated += [name] if name in by_name else []
        by_name[name] = row
    if repeated:
        raise ScoreError(
            f"{table}: tells {plural(len(repeated), 'image')} twice; expected one row per image:{listed(repeated)}"
        )
    return by_name


def _natural(stratum: str) -> tuple[int, float, str]:
    """Small before medium before large, 2 before 10, unknown last."""
    sizes = ("small", "medium", "large")
    if stratum.startswith(sizes):
        return 0, sizes.index(stratum.split()[0]), stratum
    try:
        return 0, float(stratum), stratum
    except ValueError:
        return (2 if stratum == UNKNOWN else 1), 0.0, stratum
