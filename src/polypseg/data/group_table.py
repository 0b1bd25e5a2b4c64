"""A table that tells the group (video sequence, patient) of each image: sequences.csv or groups.csv beside the images.

Decisions:
- A wrong group leaks test frames into training, so nothing of the table is guessed: a separator that is not certain,
  two columns that could be the group, an image with two groups are refused with what was found.
- Groups whose names differ in case, spaces, leading zeros or invisible characters alone are most likely one, and a
  patient would be on two sides of a split: they are refused. So is a word for "not known".
- What was read is on record (`GroupTable.source`): the file and its columns.
"""

import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from polypseg.errors import DataError, listed, plural
from polypseg.preprocess import IMAGE_SUFFIXES, unicode_name
from polypseg.records.reading import FileKind, read_text

GROUP_FILES = ("sequences.csv", "groups.csv", "sequences.tsv", "groups.tsv")
NAME_COLUMNS = ("frame", "name", "image", "file", "filename", "file name")
GROUP_COLUMNS = ("sequence", "group", "patient", "video")
CENTRE_COLUMNS = ("centre", "center", "hospital")

UNKNOWN_GROUPS = frozenset(
    {"", "nan", "na", "n/a", "#n/a", "#name?", "#ref!", "#value!", "none", "null", "unknown", "-", "?"}
)
"""What spreadsheets and programs write where they know no group, in lower case."""

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}

KIND = FileKind("table of groups", DataError, "expected a CSV file in UTF-8 with names and groups", max_mib=64)


class GroupTable(NamedTuple):
    """The groups of images.

    Attributes:
        groups: Image stem to group; empty where unknown.
        source: Where they are from, in words: the file and its columns.
        centres: Image stem to centre, where the table has such a column; empty where unknown.
    """

    groups: Mapping[str, str]
    source: str
    centres: Mapping[str, str] = MappingProxyType({})


NO_GROUPS = GroupTable(MappingProxyType({}), "")


def read_groups(folder: Path, stems: Iterable[str]) -> GroupTable:
    """The groups that a folder's table tells; none where there is no table.

    Args:
        folder: Where the table is.
        stems: Of the images that it must know.

    Raises:
        DataError: It cannot be read, or what it says is not certain.
    """
    paths = [folder / name for name in GROUP_FILES if (folder / name).is_file()]
    if not paths:
        return NO_GROUPS
    path = paths[0]
    if len(paths) > 1:
        raise DataError(f"{folder}: holds {' and '.join(p.name for p in paths)}; which tells the groups? Keep one")
    rows, separator = _rows(path)
    known = set(stems)
    name, group, header = _columns(path, rows, known)
    groups: dict[str, str] = {}
    wrong: list[str] = []
    for number, row in enumerate(rows[1:] if header else rows, start=2 if header else 1):
        stem = _stem(row[name])
        if not row[name]:
            wrong.append(f"row {number}: no name")
        elif row[group].lower() in UNKNOWN_GROUPS:
            wrong.append(f"row {number}: no group" + (f" ({row[group]})" if row[group] else ""))
        elif groups.setdefault(stem, row[group]) != row[group]:
            wrong.append(f"row {number}: {stem} is in {row[group]} and in {groups[stem]}")
    if wrong:
        raise DataError(
            f"{path}: {plural(len(wrong), 'row does', 'rows do')} not tell one group of one image:{listed(wrong)}"
        )
    _refuse_alike(path, groups.values())
    columns = f"columns {rows[0][name]} and {rows[0][group]}" if header else "first and second column, no header"
    centre = next((place for place, cell in enumerate(rows[0]) if header and cell.lower() in CENTRE_COLUMNS), None)
    centres = {_stem(row[name]): row[centre] for row in rows[1:] if row[centre]} if centre is not None else {}
    return GroupTable(groups, f"{path.name}, {columns}, separated by {SEPARATORS[separator]}", centres)


def sizes_in_words(groups: Iterable[str]) -> str:
    """How many groups of which size there are.

    >>> sizes_in_words(["a", "a", "b", "c", "c"])
    '3 groups: 2 of 2 images, 1 of 1'
    """
    sizes = Counter(Counter(groups).values())
    shown = [f"{number} of {size}" for size, number in sorted(sizes.items(), reverse=True)]
    if len(shown) > 6:
        shown = [f"of {min(sizes)} to {max(sizes)}"]
    shown[0] += " images"
    return f"{plural(sum(sizes.values()), 'group')}: {', '.join(shown)}"


def _rows(path: Path) -> tuple[list[list[str]], str]:
    """The rows of a table, all of one width of at least two, and the separator."""
    text = re.sub(r"\Asep=.\r?\n", "", read_text(path, KIND))  # what Excel writes for itself
    fitting: dict[str, list[list[str]]] = {}
    faults = []
    for separator in SEPARATORS:
        try:
            found = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
            rows = [[cell.strip() for cell in row] for row in found if any(cell.strip() for cell in row)]
        except csv.Error as error:  # of another separator than the file's, where its cells are in quotes
            faults.append(error)
            continue
        if rows and len(rows[0]) > 1 and len({len(row) for row in rows}) == 1:
            fitting[separator] = rows
    if faults and not fitting:
        raise DataError(f"{path}: cannot read the groups: {faults[0]}")
    if len(fitting) != 1:
        first = text.partition("\n")[0][:80]
        found_words = (
            " or ".join(SEPARATORS[separator] for separator in fitting) + " would do" if fitting else "none fits"
        )
        raise DataError(
            f"{path}: expected two columns, names ({', '.join(NAME_COLUMNS)}) and groups ({', '.join(GROUP_COLUMNS)}), "
            f"in every row, with commas, semicolons or tabs between them ({found_words}), found {first or 'nothing'}"
        )
    separator, rows = next(iter(fitting.items()))
    return rows, separator


def _refuse_alike(path: Path, groups: Iterable[str]) -> None:
    """Nothing, unless two names can hardly mean two groups.

    Raises:
        DataError: They are, in full.
    """
    known: dict[str, str] = {}
    alike = []
    for group in sorted(set(groups)):
        letters = unicodedata.normalize("NFKC", group).casefold()
        seen = "".join(letter for letter in letters if letter.isspace() or unicodedata.category(letter)[0] != "C")
        usual = re.sub(r"(?<![\d.])0+(?=\d)|(?<=\d)\.0+$", "", " ".join(seen.split()))  # 01 and 1.0 are 1
        if known.setdefault(usual, group) != group:
            alike.append(f"{known[usual]!r} and {group!r}")
    if alike:
        raise DataError(
            f"{path}: groups that differ in case, spaces, zeros or invisible characters alone; write one group in one "
            f"way:{listed(alike)}"
        )


def _columns(path: Path, rows: Sequence[Sequence[str]], known: set[str]) -> tuple[int, int, bool]:
    """The places of names and groups, and whether the first row is a header."""
    header = [cell.lower() for cell in rows[0]]
    names = [place for place, cell in enumerate(header) if cell in NAME_COLUMNS]
    groups = [place for place, cell in enumerate(header) if cell in GROUP_COLUMNS]
    if not names and not groups and len(header) == 2 and _stem(rows[0][0]) in known:
        return 0, 1, False
    if len(names) > 1:  # a number of the frame and the name of its file, for example: the one that names the images
        names = [place for place in names if known <= {_stem(row[place]) for row in rows[1:]}] or names
    if len(names) == 1 and len(groups) == 1:
        return names[0], groups[0], True
    doubtful = groups if len(groups) > 1 else names
    if len(doubtful) > 1:
        kind = "group" if doubtful is groups else "name"
        raise DataError(
            f"{path}: the columns {' and '.join(rows[0][place] for place in doubtful)} could each tell the {kind}; "
            "keep one of them (of groups the largest, a patient rather than a sequence)"
        )
    raise DataError(
        f"{path}: expected two columns, names ({', '.join(NAME_COLUMNS)}) and groups ({', '.join(GROUP_COLUMNS)}), "
        f"found {','.join(rows[0])}"
    )


def _stem(name: str) -> str:
    """The stem of an image's file name; a name without an ending, as `frame.001`, stays whole."""
    path = Path(unicode_name(name))
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name
