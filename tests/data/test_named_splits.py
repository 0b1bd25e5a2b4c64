"""A user's own split: lists of names, tables, and what is wrong with them."""

from pathlib import Path

import pytest

from polypseg.config import SplitConfig
from polypseg.data.named_splits import SplitFiles, split_by_names
from polypseg.data.samples import Sample
from polypseg.data.synthetic import make_synthetic
from polypseg.errors import SplitError

CONFIG = SplitConfig(near_duplicate_bits=-1)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    made = make_synthetic(tmp_path_factory.mktemp("set"), 10, seed=3, side_range=(40, 48))
    return [Sample(f"f{index}", sample.image_path, sample.mask_path) for index, sample in enumerate(made)]


def listing(folder, name, names):
    path = folder / name
    path.write_text("\n".join(names) + "\n", encoding="utf-8")
    return path


def sides(split):
    return {side: split.names(side) for side in ("train", "validation", "test")}


def test_three_lists_leave_the_others_out(samples, tmp_path):
    files = SplitFiles(
        None,
        listing(tmp_path, "train.txt", ["f0", "f1", "f2"]),
        listing(tmp_path, "validation.txt", ["f3"]),
        listing(tmp_path, "test.txt", ["f9", "f8"]),
    )
    split, parted = split_by_names(samples, files, CONFIG)
    assert sides(split) == {"train": ["f0", "f1", "f2"], "validation": ["f3"], "test": ["f8", "f9"]}
    assert parted == []
    assert split.source == "names: train by train.txt, validation by validation.txt, test by test.txt"


def test_test_list_alone_draws_the_validation_from_the_rest(samples, tmp_path):
    split, _ = split_by_names(samples, SplitFiles(test=listing(tmp_path, "t.txt", ["f0", "f1"])), CONFIG)
    # 0.1 of the 8 others, rounded: 1
    assert [len(names) for names in sides(split).values()] == [7, 1, 2]
    assert split.names("test") == ["f0", "f1"]


@pytest.mark.parametrize("header", ["name,split", "Frame,Split", "\ufefffile,split"])
def test_table_of_names_and_splits(samples, tmp_path, header):
    path = tmp_path / "split.csv"
    path.write_text(header + "\nf0,train\nf1,Train\nf2,validation\nf3,test\n", encoding="utf-8")
    split, _ = split_by_names(samples, SplitFiles(path), CONFIG)
    assert sides(split) == {"train": ["f0", "f1"], "validation": ["f2"], "test": ["f3"]}


def test_groups_that_the_lists_part_are_told(samples, tmp_path):
    grouped = [Sample(s.name, s.image_path, s.mask_path, "one" if s.name in ("f0", "f9") else None) for s in samples]
    files = SplitFiles(test=listing(tmp_path, "t.txt", ["f9"]), validation=listing(tmp_path, "v.txt", ["f5"]))
    _, parted = split_by_names(grouped, files, CONFIG)
    assert parted == ["f0, f9 in test and train"]


def test_bare_names_of_several_sources(samples, tmp_path):
    both = [Sample(f"{source}_{s.name}", s.image_path, s.mask_path, source=source) for source in "ab" for s in samples]
    files = SplitFiles(test=listing(tmp_path, "t.txt", ["a_f0"]), validation=listing(tmp_path, "v.txt", ["b_f1"]))
    assert split_by_names(both, files, CONFIG)[0].names("test") == ["a_f0"]
    with pytest.raises(SplitError, match="1 name is in several sources; expected SOURCE_NAME"):
        split_by_names(both, SplitFiles(test=listing(tmp_path, "u.txt", ["f0"])), CONFIG)
    only = [*both, Sample("a_x", samples[0].image_path, None, source="a")]
    assert split_by_names(only, SplitFiles(test=listing(tmp_path, "w.txt", ["x"])), CONFIG)[0].names("test") == ["a_x"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["f0", "f77"], "1 listed name is not in the data.*\n.*f77"),
        (["f0", "f0"], "1 name is listed more than once"),
        ([""], "holds no name"),
    ],
)
def test_bad_lists_are_refused(samples, tmp_path, names, message):
    with pytest.raises(SplitError, match=message):
        split_by_names(samples, SplitFiles(test=listing(tmp_path, "t.txt", names)), CONFIG)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,side\nf0,train\n", "expected the columns name and split, found name, side"),
        ("name,split\nf0,trian\n", "unknown split 'trian'"),
        ("", "expected the columns name and split, found nothing"),
        ("name,split\nf0,0,train\n", "row 2 has more or fewer cells than the first one"),
        ("name,split\nf0,train\nf1\n", "row 3 has more or fewer cells"),
        ('name,split\n"f0,train\n', "unexpected end of data"),
    ],
)
def test_bad_tables_are_refused(samples, tmp_path, text, message):
    path = tmp_path / "split.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SplitError, match=message):
        split_by_names(samples, SplitFiles(path), CONFIG)


def test_lists_and_a_table_exclude_one_another(tmp_path):
    with pytest.raises(SplitError, match="exclude one another"):
        SplitFiles(Path("splits.json"), test=tmp_path / "t.txt").names()


def test_lists_that_leave_nothing_to_train_on_are_refused(samples, tmp_path):
    everything = listing(tmp_path, "t.txt", [sample.name for sample in samples])
    with pytest.raises(SplitError, match="leave nothing for train"):
        split_by_names(samples, SplitFiles(test=everything), CONFIG)
