"""The protocol of a split in a few words: which images train, which test, and whether others publish figures on it."""

from collections import Counter

from polypseg.data.official import NUM_TEST_IMAGES, is_kvasir_seg, official_test_names
from polypseg.records.split import SPLIT_NAMES, Split

PRANET_TEST = {1000: 100, 612: 62}
"""Images of Kvasir-SEG and of CVC-ClinicDB, and how many of each PraNet's protocol tests on."""


def protocol_of(split: Split) -> str:
    """The protocol's name, then the number of images that train, validate and test, of each source.

    Kvasir: the official 880/120. PraNet: 100 of Kvasir-SEG's 1,000 and 62 of CVC-ClinicDB's 612 test. Several sources:
    any other split of more than one source. Own split: all else.

    Reference:
        Fan et al., "PraNet: Parallel Reverse Attention Network for Polyp Segmentation", MICCAI 2020, sec. 3.
    """
    names: dict[str, list[str]] = {}
    sides: dict[str, Counter[str]] = {}
    for name, entry in split.entries.items():
        source = entry.source or ""
        names.setdefault(source, []).append(name.removeprefix(f"{source}_") if source else name)
        sides.setdefault(source, Counter())[entry.split] += 1
    counts = {source: "/".join(str(found[side]) for side in SPLIT_NAMES) for source, found in sides.items()}
    told = ", ".join(f"{source} {numbers}".strip() for source, numbers in counts.items())
    return f"{_name(split, names, sides)}: {told} ({'/'.join(SPLIT_NAMES)})"


def _name(split: Split, names: dict[str, list[str]], sides: dict[str, Counter[str]]) -> str:
    tested = {len(own): sides[source]["test"] for source, own in names.items()}
    has_kvasir = any(is_kvasir_seg(own) for own in names.values())
    if has_kvasir and len(names) == 2 and tested == PRANET_TEST:
        return "PraNet"
    if has_kvasir and len(names) == 1 and _tests_official(split):
        return "Kvasir"
    return "several sources" if len(names) > 1 else "own split"


def _tests_official(split: Split) -> bool:
    tested = split.names("test")
    return len(tested) == NUM_TEST_IMAGES == len(official_test_names(tested))
