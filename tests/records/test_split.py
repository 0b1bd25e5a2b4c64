import json

import pytest

from polypseg.errors import SplitError, UsageError
from polypseg.records.split import Split, SplitEntry, load_split

DIGEST = "0" * 64
SPLIT = Split(
    "by hand", 3, {"a": SplitEntry("train", DIGEST, None, "g"), "b": SplitEntry("test", DIGEST, "1" * 64, None)}
)


@pytest.fixture
def path(tmp_path):
    SPLIT.save(tmp_path / "splits.json")
    return tmp_path / "splits.json"


def change(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_manifest_comes_back_as_it_was(path):
    assert load_split(path) == SPLIT


def test_manifest_changed_by_hand_is_refused(path):
    record = json.loads(path.read_text())
    record["samples"]["a"]["split"] = "test"
    path.write_text(json.dumps(record))
    with pytest.raises(SplitError, match="changed after it was written"):
        load_split(path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1}', '{"format": "1"}'])
def test_what_is_no_manifest_is_refused(path, text):
    path.write_text(text)
    with pytest.raises(SplitError, match="not a split manifest, or a damaged one"):
        load_split(path)


def test_missing_manifest_is_named(tmp_path):
    with pytest.raises(SplitError, match=r"none\.json: cannot read the split manifest: No such file"):
        load_split(tmp_path / "none.json")


def test_manifest_of_a_newer_polypseg_is_told(path):
    change(path, format=2, samples={"a": {"file": "a"}})
    with pytest.raises(SplitError, match="manifest format 2, expected 1; was it written by a newer polypseg"):
        load_split(path)


def test_unknown_split_of_a_sample_is_told(path):
    change(path, samples={"a": {"split": "tset", "image_digest": DIGEST, "mask_digest": None, "group": None}})
    with pytest.raises(SplitError, match=r"samples\.a\.split: Input should be 'train', 'validation' or 'test'"):
        load_split(path)


def test_unknown_split_name_lists_the_choices():
    with pytest.raises(UsageError, match="did you mean 'test'"):
        SPLIT.names("tests")
