"""Annotation files as data sets: what is a polyp, what is refused, and the masks that are drawn."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.config import SourceConfig
from polypseg.data.annotated import DRAWN, mask_folder
from polypseg.data.catalogue import find_samples
from polypseg.data.checks import inspect
from polypseg.data.samples import load_sample
from polypseg.data.sources import find_source_samples
from polypseg.errors import DataError, PairingError
from polypseg.preprocess import MaskRule

SQUARE = [[2, 1, 6, 1, 6, 4, 2, 4]]  # 4 x 3 pixels


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYPSEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    for place, name in enumerate("abc"):
        pixels = np.random.default_rng(place).integers(0, 255, (8, 10, 3), dtype=np.uint8)
        PillowImage.fromarray(pixels).save(data / "images" / f"{name}.png")
    return data


def annotate(folder, annotations, labels=("polyp",), names="abc", size=(8, 10), labelled=True):
    """A COCO file: (image's place, label's place, segmentation) each."""
    record = {
        "images": [
            {"id": i, "file_name": f"{name}.png", "height": size[0], "width": size[1], "labelled": labelled}
            for i, name in enumerate(names)
        ],
        "categories": [{"id": i, "name": label} for i, label in enumerate(labels)],
        "annotations": [
            {"id": i, "image_id": image, "category_id": label, "segmentation": shape}
            for i, (image, label, shape) in enumerate(annotations)
        ],
    }
    (folder / "instances.json").write_text(json.dumps(record))


def test_annotations_are_samples_with_masks(folder):
    annotate(folder, [(0, 0, SQUARE), (0, 0, [[8, 6, 10, 6, 10, 8, 8, 8]]), (2, 0, SQUARE)])
    samples, faults = find_samples(folder)
    assert faults == []
    assert [sample.name for sample in samples] == ["a", "b", "c"]
    masks = [load_sample(sample)[1] for sample in samples]
    expected = np.zeros((8, 10), bool)
    expected[1:4, 2:6] = True
    np.testing.assert_array_equal(masks[2], expected)
    assert [int(mask.sum()) for mask in masks] == [12 + 4, 0, 12]


def test_drawn_masks_are_the_same_bytes_and_written_once(folder):
    annotate(folder, [(0, 0, SQUARE)])
    paths = [sample.mask_path for sample in find_samples(folder)[0]]
    # 8 rows of 10 pixels in 2 bytes each; 1 is black: 11000011 11... in rows 1 to 3
    assert paths[0].read_bytes() == b"P4\n10 8\n" + b"\xff\xc0" + b"\xc3\xc0" * 3 + b"\xff\xc0" * 4
    before = [path.stat().st_mtime_ns for path in paths]
    samples = find_samples(folder)[0]
    assert [sample.mask_path.stat().st_mtime_ns for sample in samples] == before
    assert {sample.mask_rule for sample in samples} == {DRAWN}


def test_another_choice_of_labels_has_masks_of_its_own(folder):
    assert mask_folder(folder, MaskRule()) != mask_folder(folder, MaskRule(labels=("adenoma",)))


@pytest.mark.parametrize(
    ("rule", "areas"),
    [(MaskRule(labels=("adenoma",)), [12, 0, 0]), (MaskRule(labels=("*",)), [12, 12, 0]), (MaskRule((1,)), [0, 12, 0])],
)
def test_labels_are_chosen_by_name_or_number(folder, rule, areas):
    annotate(folder, [(0, 0, SQUARE), (1, 1, SQUARE)], labels=("adenoma", "tool"))
    samples, faults = find_samples(folder, rule=rule)
    assert faults == []
    assert [int(load_sample(sample)[1].sum()) for sample in samples] == areas


@pytest.mark.parametrize(
    ("labels", "rule", "reason"),
    [
        (
            ("polyp", "tool"),
            MaskRule(),
            r'COCO \(instances.json\) has regions of polyp \(1\), tool \(1\); .*--polyp-labels "polyp,tool"',
        ),
        (("polyp", ""), MaskRule(), r"\(none\) \(1\)"),
        (
            ("polyp", "tool"),
            MaskRule(labels=("adenoma",)),
            "no region is labelled adenoma; the labels are: polyp, tool",
        ),
    ],
)
def test_a_label_that_nobody_explained_stops(folder, labels, rule, reason):
    annotate(folder, [(0, 0, SQUARE), (1, 1, SQUARE)], labels=labels)
    with pytest.raises(DataError, match=reason):
        find_samples(folder, rule=rule)


def test_each_frame_that_cannot_be_used_is_told_and_the_others_are_kept(folder):
    annotate(folder, [(0, 0, [[0, 0, 30, 0, 30, 3]]), (1, 0, [[1, 1, 1.2, 1, 1.2, 1.2]])], names="abd")
    samples, faults = find_samples(folder)
    assert samples == []
    told = {Path(fault.name).name: fault.reason for fault in faults}
    assert told.keys() == {"a.png", "b.png", "c.png", "d.png"}
    assert told["a.png"] == "polyp: a corner at (30, 0) lies outside of the frame, which is 8x10 (height x width)"
    assert told["b.png"] == "polyp: a region covers no pixel"
    assert told["c.png"] == "no annotation of it in COCO (instances.json)"
    assert told["d.png"].startswith("there is no image of that name")


def test_sizes_that_do_not_match_are_told(folder):
    annotate(folder, [(0, 0, SQUARE)], size=(10, 8))
    _, faults = find_samples(folder)
    assert faults[0].reason == (
        "annotated at 10x8 (height x width), the image is 8x10 (one of them is turned: look at its EXIF orientation)"
    )


def test_frames_that_nobody_may_have_looked_at_are_no_negatives(folder):
    annotate(folder, [(0, 0, SQUARE)], labelled=False)
    samples, faults = find_samples(folder)
    assert [sample.name for sample in samples] == ["a"]
    assert {fault.reason.split(";")[0] for fault in faults} == {
        "has no region, and the file does not say whether somebody looked at it"
    }
    samples, faults = find_samples(folder, empty_masks=True)
    assert ([sample.name for sample in samples], faults) == (["a", "b", "c"], [])


def test_an_image_that_is_annotated_twice_is_told(folder):
    annotate(folder, [(0, 0, SQUARE)], names="aabc")
    samples, faults = find_samples(folder)
    assert [sample.name for sample in samples] == ["b", "c"]
    assert [fault.reason for fault in faults] == [
        "is annotated twice in COCO (instances.json); keep one of the annotations"
    ]


def test_masks_come_before_annotations(folder):
    annotate(folder, [(0, 0, SQUARE)])
    (folder / "masks").mkdir()
    for name in "abc":
        PillowImage.new("L", (10, 8)).save(folder / "masks" / f"{name}.png")
    assert {sample.mask_path.parent.name for sample in find_samples(folder)[0]} == {"masks"}


def test_a_json_of_no_known_format_is_no_reason_to_call_frames_empty(folder):
    (folder / "labels.json").write_text('{"a.png": {"bbox": [1, 2]}}')
    with pytest.raises(
        PairingError, match=r"labels\.json is of no known annotation format \(COCO.*as masks/"
    ) as caught:
        find_samples(folder)
    assert "empty-masks" not in str(caught.value)
    (folder / "labels.json").unlink()
    with pytest.raises(PairingError, match="--empty-masks"):
        find_samples(folder)


def test_frames_declared_to_show_no_polyp_must_have_no_annotations(folder):
    annotate(folder, [(0, 0, SQUARE)])
    with pytest.raises(PairingError, match=r"holds annotations \(COCO \(instances.json\)\)"):
        find_source_samples({"a": SourceConfig(path=str(folder), negatives=True)})


def test_groups_beside_annotations_are_read(folder):
    annotate(folder, [(0, 0, SQUARE)])
    (folder / "groups.csv").write_text("frame,group\na,p1\nb,p1\nc,p2\n")
    assert [sample.group for sample in find_samples(folder)[0]] == ["p1", "p1", "p2"]


def test_data_check_takes_annotations(folder):
    annotate(folder, [(0, 0, SQUARE), (2, 0, SQUARE)])
    findings = inspect([folder], bits=-1)
    assert findings.faults == []
    assert [found.polyp_share for found in findings.samples] == [0.15, 0.0, 0.15]  # 12 of 80 pixels


def test_a_cache_that_cannot_be_written_is_one_line(folder, monkeypatch):
    annotate(folder, [(0, 0, SQUARE)])
    monkeypatch.setenv("POLYPSEG_CACHE", str(folder / "instances.json"))
    with pytest.raises(DataError, match=r"cannot write a mask there .*POLYPSEG_CACHE"):
        find_samples(folder)
