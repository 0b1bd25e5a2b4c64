"""What the owners of the data allow, and what they ask to be cited, as far as it is known which data they are.

Decisions:
- Data are recognised by their names (Kvasir-SEG's thousand), by their folder's layout, or by its name once the
  folder is gone. What is not recognised has unknown terms, and the reader is told to ask.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from polypseg.data.catalogue import PUBLIC_DATA_SETS, PublicDataSet
from polypseg.data.layouts import recognise
from polypseg.data.official import is_kvasir_seg
from polypseg.errors import DataError

UNKNOWN_TERMS = "unknown to polypseg; ask the owners before you pass on an image, or a picture made from one."

_ALIASES = {"kvasir": "kvasir-seg"}
"""Names of folders in PraNet's collection that are not the data set's own."""


class TermsOfUse(NamedTuple):
    """What is known of a data set: title, what its owners allow, citation, home page; empty where unknown."""

    title: str = ""
    text: str = UNKNOWN_TERMS
    citation: str = ""
    home: str = ""
    is_public: bool = False


def terms_of_use(folder: str, names: Sequence[str], split_source: str = "") -> TermsOfUse:
    """The terms of the data in a folder.

    Args:
        folder: Where they are, or were.
        names: Of their samples.
        split_source: Of the split manifest, in words.

    >>> terms_of_use("", ["synthetic_00001"]).title
    'synthetic frames'
    >>> terms_of_use("/gone/CVC-ClinicDB", ["1", "2"]).title
    'CVC-ClinicDB'
    """
    if names and all(name.startswith("synthetic_") for name in names):
        drawn = (
            "drawn by a program (polypseg data synth): no patient's images; figures on them prove nothing about any."
        )
        return TermsOfUse("synthetic frames", drawn)
    found = _entry(folder, names, split_source)
    return TermsOfUse(found.title, found.terms_of_use, found.citation, found.home, True) if found else TermsOfUse()


def _entry(folder: str, names: Sequence[str], split_source: str) -> PublicDataSet | None:
    by_name = {entry.name: entry for entry in PUBLIC_DATA_SETS}
    if is_kvasir_seg(names) or split_source.startswith("Kvasir-SEG"):
        return by_name["kvasir-seg"]
    if folder:
        with suppress(DataError, OSError):
            layout = recognise(Path(folder)).name
            if layout in by_name:
                return by_name[layout]
    parts = [_ALIASES.get(part.lower(), part.lower()) for part in Path(folder).parts[-2:]]
    return next((entry for entry in PUBLIC_DATA_SETS if any(entry.name in part for part in parts)), None)
