"""What `inspect` finds in folders that were made with known faults and leaks."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.arrays import Image
from polypseg.config import SplitConfig
from polypseg.data.catalogue import find_samples
from polypseg.data.checks import CheckFindings, inspect
from polypseg.data.leak_pictures import write_pictures
from polypseg.data.splits import make_split
from polypseg.data.synthetic import synthetic_image
from polypseg.errors import DataError, PairingError, UsageError
from polypseg.records.digests import file_digests
from polypseg.records.reading import as_json
from polypseg.records.split import Split, SplitEntry


def _frame(number: int, size: tuple[int, int] = (96, 128)) -> Image:
    return synthetic_image(np.random.default_rng(900 + number), size)[0]


def _add(folder: Path, name: str, image: Image, polyp_rows: int = 10, ending: str = ".png", **options: object) -> None:
    """An image and its mask: white in its first `polyp_rows` rows."""
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[:polyp_rows] = 255
    for kind, values, last in (("images", image, ending), ("masks", mask, ".png")):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(values).save(folder / kind / f"{name}{last}", **(options if kind == "images" else {}))


def _split(folder: Path, splits: dict[str, str]) -> Split:
    """A manifest of the folder's samples."""
    samples = {sample.name: sample for sample in find_samples(folder)[0]}
    digests = file_digests([path for s in samples.values() for path in (s.image_path, s.mask_path) if path])
    entries = {
        name: SplitEntry(split, digests[samples[name].image_path], digests[samples[name].mask_path], None)  # type: ignore
        for name, split in splits.items()
    }
    return Split("by hand", 0, entries)


def _pairs(findings: CheckFindings) -> list[tuple[str, str, str]]:
    return [(leak.where, leak.first.sample.name, leak.second.sample.name) for leak in findings.leaks]


def test_inspect_sizes_areas_and_empty_masks(tmp_path: Path) -> None:
    # Of 100 rows 0, 1, 4, 5, 30 and 45 are polyp: shares of exactly that many per cent.
    for number, rows in enumerate((0, 1, 4, 5, 30, 45)):
        _add(tmp_path, f"s{number}", _frame(number, (100, 80 if rows < 30 else 90)), rows)
    findings = inspect([tmp_path], bits=-1)
    assert findings.sizes() == {(100, 80): 4, (100, 90): 2}
    assert findings.empty == ["s0"]
    # A share on a bound counts upwards: 1 % is in "1 to 5 %", 5 % in "5 to 10 %".
    assert findings.areas() == [
        ("0 to 1 %", 0),
        ("1 to 5 %", 2),
        ("5 to 10 %", 1),
        ("10 to 20 %", 0),
        ("20 to 40 %", 1),
        ("40 to 100 %", 1),
    ]
    assert findings.faults == []
    assert not any(found.is_soft for found in findings.samples)


def test_inspect_faults_are_found_and_stop_nothing(tmp_path: Path) -> None:
    for number, name in enumerate(("good", "grey", "label", "unlike", "broken", "soft")):
        _add(tmp_path, name, _frame(number), 20)
    levels = np.tile(np.arange(128, dtype=np.uint8) * 2, (96, 1))
    PillowImage.fromarray(levels).save(tmp_path / "masks/grey.png")
    labels = np.zeros((96, 128), np.uint8)
    labels[:10], labels[20:40] = 1, 2
    PillowImage.fromarray(labels).save(tmp_path / "masks/label.png")
    PillowImage.fromarray(np.zeros((96, 127), np.uint8)).save(tmp_path / "masks/unlike.png")
    (tmp_path / "images/broken.png").write_bytes(b"no image")
    soft = np.zeros((96, 128), np.uint8)
    soft[:20] = 250  # as JPEG leaves it
    PillowImage.fromarray(soft).save(tmp_path / "masks/soft.png")
    PillowImage.fromarray(soft).save(tmp_path / "masks/alone.png")
    findings = inspect([tmp_path])
    reasons = {fault.name.rpartition("/")[2]: fault.reason for fault in findings.faults}
    assert reasons.keys() == {"grey", "label", "unlike", "broken", "alone.png"}
    assert "grey levels" in reasons["grey"]
    assert "holds 3 values, 0 (68.8 %), 2 (20.8 %), 1 (10.4 %)" in reasons["label"]
    assert reasons["unlike"] == "the image is 96x128 (height x width), its mask 96x127"
    assert "not an image" in reasons["broken"]
    assert "no image of that name" in reasons["alone.png"]
    by_name = {found.sample.name: found for found in findings.samples}
    assert by_name["soft"].is_soft
    assert by_name["soft"].polyp_share == 20 / 96
    assert by_name["grey"].polyp_share is None
    assert by_name["broken"].size is None


def test_inspect_without_a_split_near_duplicates_lie_within_the_data_set(tmp_path: Path) -> None:
    _add(tmp_path, "a", _frame(0))
    _add(tmp_path, "b", _frame(0), ending=".jpg", quality=40)
    _add(tmp_path, "c", _frame(1))
    findings = inspect([tmp_path])
    assert _pairs(findings) == [("within the data set", "a", "b")]
    assert not findings.leaks[0].crosses
    assert inspect([tmp_path], bits=-1).leaks == ()


def test_inspect_leaks_across_splits_come_first(tmp_path: Path) -> None:
    for name, number in {"a": 0, "b": 0, "c": 1, "d": 1, "e": 2, "f": 2, "g": 3}.items():
        options = {"quality": 60} if name in "df" else {}  # b is a itself, d and f are copies
        _add(tmp_path, name, _frame(number), ending=".jpg" if options else ".png", **options)
    split = _split(tmp_path, {"a": "train", "b": "train", "c": "train", "d": "test", "e": "validation", "f": "train"})
    findings = inspect([tmp_path], split)
    assert sorted(_pairs(findings)[:2]) == [("across splits", "c", "d"), ("across splits", "e", "f")]
    assert _pairs(findings)[2:] == [("within train", "a", "b")]
    assert [leak.crosses for leak in findings.leaks] == [True, True, False]
    assert findings.leaks[2].pair.similarity > findings.leaks[0].pair.similarity >= findings.leaks[1].pair.similarity
    assert [found.split for found in findings.samples] == [
        "train", "train", "train", "test", "validation", "train", None,
    ]  # fmt: skip
    assert findings.faults == []


def test_inspect_a_split_of_ours_has_no_leak(tmp_path: Path) -> None:
    for number in range(8):
        _add(tmp_path, f"a{number}", _frame(number))
        _add(tmp_path, f"b{number}", _frame(number), ending=".jpg", quality=50)
    samples, _ = find_samples(tmp_path)
    for seed in range(3):
        split = make_split(samples, SplitConfig(validation=0.25, test=0.25, seed=seed))
        findings = inspect([tmp_path], split)
        assert len(findings.leaks) == 8
        assert not any(leak.crosses for leak in findings.leaks)
    careless = make_split(samples, SplitConfig(validation=0.25, test=0.25, near_duplicate_bits=-1))
    assert any(leak.crosses for leak in inspect([tmp_path], careless).leaks)


def test_inspect_group_in_two_splits(tmp_path: Path) -> None:
    for number, name in enumerate("abcd"):
        _add(tmp_path, name, _frame(number))
    (tmp_path / "groups.csv").write_text("name,group\na,1\nb,1\nc,2\nd,2\n")
    split = _split(tmp_path, {"a": "train", "b": "test", "c": "train", "d": "train"})
    findings = inspect([tmp_path], split)
    assert findings.split_groups == {f"{tmp_path.name}/1": ("test", "train")}


def test_inspect_pair_of_one_group_is_called_that(tmp_path: Path) -> None:
    _add(tmp_path, "a", _frame(0))
    _add(tmp_path, "b", _frame(0), ending=".jpg")
    (tmp_path / "groups.csv").write_text("name,group\na,1\nb,1\n")
    assert _pairs(inspect([tmp_path])) == [("within one group", "a", "b")]
    # A split that parts the group leaks, group or not.
    split = _split(tmp_path, {"a": "train", "b": "test"})
    assert _pairs(inspect([tmp_path], split)) == [("across splits", "a", "b")]


def test_inspect_several_data_sets_are_compared(tmp_path: Path) -> None:
    _add(tmp_path / "one", "a", _frame(0))
    _add(tmp_path / "one", "b", _frame(1))
    _add(tmp_path / "two", "z", np.asarray(PillowImage.fromarray(_frame(1)).resize((200, 160))), ending=".jpg")
    findings = inspect([tmp_path / "one", tmp_path / "two"])
    assert _pairs(findings) == [("across data sets", "b", "z")]
    assert [found.source for found in findings.samples] == ["one", "one", "two"]
    with pytest.raises(UsageError, match="named twice"):
        inspect([tmp_path / "one", tmp_path / "two" / ".." / "one"])


def test_inspect_data_sets_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for parent in ("x", "y"):
        _add(tmp_path / parent / "data", "a", _frame(0))
    findings = inspect([tmp_path / "x" / "data", tmp_path / "y" / "data"])
    assert len({found.source for found in findings.samples}) == 2
    assert [leak.where for leak in findings.leaks] == ["across data sets"]
    assert findings.leaks[0].pair.is_identical


def test_inspect_manifest_that_does_not_fit_the_data(tmp_path: Path) -> None:
    _add(tmp_path, "a", _frame(0))
    _add(tmp_path, "b", _frame(1))
    split = _split(tmp_path, {"a": "train", "b": "test"})
    _add(tmp_path, "b", _frame(2))  # changed
    gone = Split("by hand", 0, {**split.entries, "c": split.entries["a"]})
    findings = inspect([tmp_path], gone)
    assert [(Path(fault.name).stem, fault.reason) for fault in findings.strangers] == [
        ("b", "has changed since the split was made"),
        ("c", "is in the split manifest, but not in the data"),
    ]
    assert findings.faults == list(findings.strangers)
    assert [found.split for found in findings.samples] == ["train", None]


def test_inspect_mask_that_changed_since_the_split_is_told(tmp_path: Path) -> None:
    _add(tmp_path, "a", _frame(0))
    split = _split(tmp_path, {"a": "test"})
    _add(tmp_path, "a", _frame(0), polyp_rows=9)
    findings = inspect([tmp_path], split)
    assert findings.faults == [(str(tmp_path / "masks/a.png"), "has changed since the split was made")]
    assert [found.split for found in findings.samples] == ["test"]  # the image is the split's still


def test_inspect_images_without_masks(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    PillowImage.fromarray(_frame(0)).save(tmp_path / "images/a.png")
    with pytest.raises(PairingError, match="--negatives"):
        inspect([tmp_path])
    assert inspect([tmp_path], empty_masks=True).empty == ["a"]


def test_findings_record_is_json_and_complete(tmp_path: Path) -> None:
    _add(tmp_path, "a", _frame(0), 10)
    _add(tmp_path, "b", _frame(0), 0)
    split = _split(tmp_path, {"a": "train", "b": "test"})
    record = json.loads(as_json(inspect([tmp_path], split).record()))
    assert record == {
        "num_samples": 2,
        "splits": {"train": 1, "test": 1},
        "sizes": {"96x128": 2},
        # 10 of 96 rows are 10.4 %
        "polyp_areas": {
            "0 to 1 %": 0,
            "1 to 5 %": 0,
            "5 to 10 %": 0,
            "10 to 20 %": 1,
            "20 to 40 %": 0,
            "40 to 100 %": 0,
        },
        "without_polyp": ["b"],
        "soft_masks": 0,
        "polyp_values": {"255": 1},
        "notes": [],
        "faults": [],
        "near_duplicates": [
            {
                "where": "across splits",
                "first": str(tmp_path / "images/a.png"),
                "first_split": "train",
                "second": str(tmp_path / "images/b.png"),
                "second_split": "test",
                "similarity": 1.0,
                "orientation": "upright",
                "is_identical": True,
            }
        ],
        "groups_in_several_splits": {},
    }


def test_write_pictures_shows_both_images_side_by_side(tmp_path: Path) -> None:
    _add(tmp_path / "set", "ä b", _frame(0))
    _add(tmp_path / "set", "c", _frame(0, (96, 128)), ending=".jpg", quality=80)
    findings = inspect([tmp_path / "set"])
    (picture,) = write_pictures(findings.leaks, tmp_path / "pictures" / "deep")
    assert picture.name == "0001_within_the_data_set_c_b.png" or picture.name.startswith("0001_within_the_data_set_")
    drawn = np.asarray(PillowImage.open(picture))
    # 320 pixels high each, 4:3, so 427 wide; the caption is 44 high, 8 white columns lie between them.
    assert drawn.shape == (44 + 320, 2 * 427 + 8, 3)
    left, right = drawn[44:, :427].astype(int), drawn[44:, 435:].astype(int)
    assert np.abs(left - right).mean() < 6
    assert (drawn[44:, 427:435] == 255).all()
    assert (drawn[:44] < 128).any()  # something is written


def test_write_pictures_into_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot make the folder of pictures"):
        write_pictures([], tmp_path / "file")


@pytest.mark.data
@pytest.mark.slow
def test_inspect_kvasir_seg_finds_the_frames_that_train_and_test_share(real_data: Path) -> None:
    findings = inspect([real_data / "kvasir-seg"])
    assert findings.faults == []
    assert len(findings.samples) == 1000
    assert findings.record().splits == {"train": 880, "test": 120}
    # Looked at one by one: 13 frames of the official test set are in its training set too, shown without the
    # panel or the margin; 9 pairs more lie within one of the two.
    assert sum(leak.crosses for leak in findings.leaks) == 13
    assert len(findings.leaks) == 22
