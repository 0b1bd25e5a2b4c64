"""The words for a split: Kvasir's and PraNet's protocol are known, others are counted."""

import pytest

from polypseg.config import SourceConfig
from polypseg.data.official import official_test_names
from polypseg.data.protocols import protocol_of
from polypseg.data.terms_of_use import terms_of_sources, terms_of_split
from polypseg.records.split import Split, SplitEntry


def split_of(sides):
    """A manifest of `sides`: name to (split, source)."""
    entries = {name: SplitEntry(side, "0" * 64, None, None, source) for name, (side, source) in sides.items()}
    return Split("by hand", 0, entries)


@pytest.fixture(scope="module")
def kvasir(real_data):
    return sorted(path.stem for path in (real_data / "kvasir-seg" / "images").iterdir())


def test_own_split_and_several_sources_are_counted():
    own = split_of({"a": ("train", None), "b": ("train", None), "c": ("validation", None), "d": ("test", None)})
    assert protocol_of(own) == "own split: 2/1/1 (train/validation/test)"
    several = split_of({"x_a": ("train", "x"), "x_b": ("validation", "x"), "y_a": ("train", "y")})
    assert protocol_of(several) == "several sources: x 1/1/0, y 1/0/0 (train/validation/test)"


@pytest.mark.data
def test_kvasir_and_pranet_protocols_are_known(kvasir):
    test = official_test_names(kvasir)
    official = split_of({name: ("test" if name in test else "train", None) for name in kvasir})
    assert protocol_of(official) == "Kvasir: 880/0/120 (train/validation/test)"
    other = split_of({name: ("test" if place < 120 else "train", None) for place, name in enumerate(kvasir)})
    assert protocol_of(other) == "own split: 880/0/120 (train/validation/test)"
    both = {f"k_{name}": ("test" if place < 100 else "train", "k") for place, name in enumerate(kvasir)}
    both |= {f"c_{place}": ("test" if place < 62 else "train", "c") for place in range(612)}
    assert protocol_of(split_of(both)) == "PraNet: k 900/0/100, c 550/0/62 (train/validation/test)"
    both["c_0"] = "train", "c"
    assert protocol_of(split_of(both)).startswith("several sources: k 900/0/100, c 551/0/61")


def test_terms_of_several_sources_are_told_of_each():
    split = split_of({"c_1": ("train", "c"), "b_1": ("test", "b"), "o_1": ("test", "o")})
    sources = {"c": SourceConfig(path="/gone/cvc-clinicdb"), "b": SourceConfig(path="/gone/bkai-neopolyp")}
    terms = terms_of_split(split, sources, "/gone/cvc-clinicdb")
    assert terms.title == "CVC-ClinicDB, BKAI-IGH NeoPolyp, o"
    assert "CVC-ClinicDB: For research and education only; commercial use is forbidden." in terms.text
    assert "o: unknown to polypseg" in terms.text
    assert "WM-DOVA" in terms.citation
    assert "NeoUNet" in terms.citation
    assert not terms.is_public
    one = split_of({"1": ("train", None)})
    assert terms_of_split(one, {}, "/gone/cvc-clinicdb").title == "CVC-ClinicDB"


def test_parts_of_one_data_set_are_told_once():
    terms = terms_of_sources({"c1": ("/gone/polypgen-c1-c3", ["a"]), "neg": ("/gone/polypgen-negatives", ["b"])})
    assert (terms.title, terms.is_public) == ("PolypGen", True)
    assert terms.text == "CC BY 4.0: any use, with the citation."
