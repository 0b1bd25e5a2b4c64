"""Which split each sample is in already: by a manifest, or by the owners of Kvasir-SEG.

Decisions:
- A manifest of several sources names samples SOURCE_NAME; of it, the sources that are checked count.
- A sample whose image has other bytes than the manifest says is in no split.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from polypseg.data.official import is_kvasir_seg, official_test_names
from polypseg.data.samples import Fault, Sample
from polypseg.data.sources import source_name, source_names
from polypseg.records.digests import file_digests
from polypseg.records.split import Split, SplitEntry

_CHANGED = "has changed since the split was made"


def known_splits(
    samples: Sequence[tuple[Sample, str]], split: Split | None, folders: Mapping[str, Path]
) -> tuple[list[str | None], list[Fault]]:
    """The split of each sample, None where it has none, and what of the manifest is not in the data or has changed.

    Args:
        samples: Each with the name of its folder.
        split: The manifest; None for what is official of each folder.
        folders: By name.
    """
    if split is None:
        by_source: dict[str, list[str]] = {}
        for sample, source in samples:
            by_source.setdefault(source, []).append(sample.name)
        test = {source: official_test_names(names) for source, names in by_source.items() if is_kvasir_seg(names)}
        return [
            ("test" if s.name in test[source] else "train") if source in test else None for s, source in samples
        ], []
    names, entries = _in_manifest(samples, split, folders)
    known = [sample for (sample, _), name in zip(samples, names, strict=True) if name in entries]
    digests = file_digests([path for sample in known for path in (sample.image_path, sample.mask_path) if path])
    assigned: list[str | None] = []
    met: set[str] = set()
    changed: dict[str, Path] = {}
    strangers: list[Fault] = []
    for (sample, _), name in zip(samples, names, strict=True):
        entry = entries.get(name)
        matches = entry is not None and digests[sample.image_path] == entry.image_digest
        assigned.append(entry.split if entry is not None and matches else None)
        if entry is None:
            continue
        if not matches:
            changed[name] = sample.image_path
            continue
        met.add(name)
        if entry.mask_digest is not None and sample.mask_path and digests[sample.mask_path] != entry.mask_digest:
            strangers.append(Fault(str(sample.mask_path), _CHANGED))
    strangers += [
        Fault(str(changed[name]), _CHANGED)
        if name in changed
        else Fault(name, "is in the split manifest, but not in the data")
        for name in entries
        if name not in met
    ]
    return assigned, strangers


def _in_manifest(
    samples: Sequence[tuple[Sample, str]], split: Split, folders: Mapping[str, Path]
) -> tuple[list[str], Mapping[str, SplitEntry]]:
    """The name of each sample in a manifest, and the manifest's entries that may be of these folders."""
    if not any(entry.source for entry in split.entries.values()):
        return [sample.name for sample, _ in samples], split.entries
    names = dict(zip(folders, source_names(list(folders.values())), strict=True))
    entries = {name: entry for name, entry in split.entries.items() if entry.source in names.values()}
    return [source_name(names[source], sample) for sample, source in samples], entries
