"""What the owners of the data allow, and what they ask to be cited, as far as it is known which data they are.

Decisions:
- Data are recognised by their names (Kvasir-SEG's thousand), by their folder's layout, or by its name once the
  folder is gone. What is not recognised has unknown terms, and the reader is told to ask.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from polypseg.config import SourceConfig
from polypseg.data.catalogue import PUBLIC_DATA_SETS, PublicDataSet
from polypseg.data.layouts import recognise
from polypseg.data.official import is_kvasir_seg
from polypseg.errors import DataError
from polypseg.records.split import Split

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


def terms_of_sources(sources: Mapping[str, tuple[str, Sequence[str]]]) -> TermsOfUse:
    """The terms of several sources as one; what differs is told of each.

    Args:
        sources: By name, the folder of each and the names of its samples within it.

    >>> found = terms_of_sources({"north": ("/gone/CVC-ClinicDB", ["1"]), "south": ("/gone/frames", ["a"])})
    >>> found.title, found.text[:12], found.is_public
    ('CVC-ClinicDB, south', 'CVC-ClinicDB', False)
    """
    found: dict[str, TermsOfUse] = {}
    for name, (folder, names) in sources.items():
        terms = terms_of_use(folder or name, names)
        found.setdefault(terms.title or name, terms)
    if len(found) == 1:
        return next(iter(found.values()))
    told = " ".join(f"{title}: {terms.text}" for title, terms in found.items())
    cited = "; ".join(terms.citation for terms in found.values() if terms.citation)
    homes = ", ".join(terms.home for terms in found.values() if terms.home)
    return TermsOfUse(", ".join(found), told, cited, homes, all(terms.is_public for terms in found.values()))


def terms_of_split(split: Split, sources: Mapping[str, SourceConfig], folder: str) -> TermsOfUse:
    """The terms of a run's data, be they of one folder or of several sources.

    Args:
        split: The run's manifest.
        sources: Of the run's settings.
        folder: Of the data; of several sources it is not looked at.
    """
    names: dict[str, list[str]] = {}
    for name, entry in split.entries.items():
        if entry.source is not None:
            names.setdefault(entry.source, []).append(name.removeprefix(f"{entry.source}_"))
    if not names:
        return terms_of_use(folder, list(split.entries), split.source)
    return terms_of_sources({name: (_path(sources, name), own) for name, own in names.items()})


def _path(sources: Mapping[str, SourceConfig], name: str) -> str:
    return (sources[name].path or "") if name in sources else ""


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
