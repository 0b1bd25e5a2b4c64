"""Pascal VOC and nnU-Net."""

import json

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.errors import DataError
from polypseg.formats.label_maps import read_nnunet, read_voc, voc_colours, write_masks, write_nnunet, write_voc
from polypseg.formats.written import Written

LABELS = np.array([[0, 1, 1, 255, 2], [0, 0, 0, 255, 2], [1, 0, 0, 0, 0]], np.uint8)


def palette(path, labels):
    picture = PillowImage.frombytes("P", labels.shape[::-1], labels.tobytes())
    picture.putpalette([value for colour in voc_colours() for value in colour])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def colours_of(labels):
    return np.array(voc_colours(), np.uint8)[labels]


def test_the_palette_is_pascal_vocs():
    # From the VOC development kit: aeroplane, bicycle, bird, bottle, and void.
    assert [voc_colours()[place] for place in (1, 2, 3, 5, 255)] == [
        (128, 0, 0), (0, 128, 0), (128, 128, 0), (128, 0, 128), (224, 224, 192),
    ]  # fmt: skip


@pytest.mark.parametrize("is_coloured", [False, True])
def test_places_are_labels_and_void_is_background(tmp_path, is_coloured):
    path = tmp_path / "SegmentationClass" / "a.png"
    palette(path, LABELS)
    if is_coloured:
        PillowImage.fromarray(colours_of(LABELS)).save(path)
    (frame,) = read_voc(tmp_path).frames
    assert (frame.file, frame.size, frame.is_labelled) == ("JPEGImages/a", (3, 5), True)
    assert [(r.label, r.value, int(r.pixels((3, 5)).sum())) for r in frame.regions] == [
        ("1", 1, 2), ("1", 1, 1), ("2", 2, 2),
    ]  # fmt: skip


def test_a_labelmap_names_the_colours(tmp_path):
    labels = np.where(LABELS == 255, 0, LABELS)
    palette(tmp_path / "SegmentationClass" / "a.png", labels)
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\npolyp:0,128,0::\ntool:128,0,0::\n"
    )
    (frame,) = read_voc(tmp_path).frames
    assert sorted({(r.label, r.value) for r in frame.regions}) == [("polyp", 1), ("tool", 2)]
    assert [int(r.pixels((3, 5)).sum()) for r in frame.regions if r.label == "polyp"] == [2]


def test_labels_without_a_colour_have_that_of_their_place(tmp_path):
    """As datumaro writes them; the place 2 of VOC's palette is (0, 128, 0)."""
    palette(tmp_path / "SegmentationClass" / "a.png", np.where(LABELS == 255, 0, LABELS))
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:::\ntool:::\npolyp:::\n")
    (frame,) = read_voc(tmp_path).frames
    assert [(r.label, r.value, int(r.pixels((3, 5)).sum())) for r in frame.regions] == [
        ("tool", 1, 2), ("tool", 1, 1), ("polyp", 2, 2),
    ]  # fmt: skip


def test_objects_keep_polyps_apart_that_touch(tmp_path):
    classes, objects = np.zeros((3, 5), np.uint8), np.zeros((3, 5), np.uint8)
    classes[:2, :4] = 1
    objects[:2, :2], objects[:2, 2:4] = 1, 2
    objects[2] = 255
    palette(tmp_path / "SegmentationClass" / "a.png", classes)
    palette(tmp_path / "SegmentationObject" / "a.png", objects)
    (frame,) = read_voc(tmp_path).frames
    assert [r.pixels((3, 5))[0].astype(int).tolist() for r in frame.regions] == [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0]]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "SegmentationClass" / "a.png").write_bytes(b"\x89PNG"), "not an image"),
        (lambda folder: palette(folder / "SegmentationObject" / "a.png", LABELS[:2]), "its size is not that of"),
        (
            lambda folder: palette(folder / "SegmentationObject" / "a.png", np.ones_like(LABELS)),
            "object 1 has the labels 0, 1, 2; expected",
        ),
        (
            lambda folder: PillowImage.new("RGB", (5, 3), (1, 2, 3)).save(folder / "SegmentationClass" / "a.png"),
            "#010203",
        ),
    ],
)
def test_a_label_map_that_cannot_be_used_is_told(tmp_path, spoil, reason):
    palette(tmp_path / "SegmentationClass" / "a.png", LABELS)
    spoil(tmp_path)
    found = read_voc(tmp_path)
    assert found.frames == []
    assert reason in found.unusable[0].reason


def nnunet(tmp_path, pixels, ending=".png", **more):
    (tmp_path / "labelsTr").mkdir()
    described = {
        "labels": {"background": 0, "polyp": 1, "tool": 2, "ignore": 3},
        "file_ending": ending,
        "numTraining": 1,
    }
    (tmp_path / "dataset.json").write_text(json.dumps({**described, **more}))
    PillowImage.fromarray(pixels).save(tmp_path / "labelsTr" / "case.png")


def test_nnunet_names_its_labels(tmp_path):
    nnunet(tmp_path, np.where(LABELS == 255, 3, LABELS).astype(np.uint8))
    (frame,) = read_nnunet(tmp_path).frames
    assert (frame.file, frame.size) == ("imagesTr/case_0000", (3, 5))
    assert [(r.label, r.value) for r in frame.regions] == [("polyp", 1), ("polyp", 1), ("tool", 2)]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"ending": ".nii.gz"}, r"its images end in \.nii\.gz; expected \.png"),
        ({"labels": {"background": 0, "all": [1, 2]}}, "'all' joins several values"),
        ({"labels": 3}, "labels: Input should be"),
    ],
)
def test_nnunet_that_cannot_be_read_stops(tmp_path, more, reason):
    nnunet(tmp_path, np.zeros((3, 5), np.uint8), **more)
    with pytest.raises(DataError, match=reason):
        read_nnunet(tmp_path)


@pytest.fixture
def written(scene):
    return [Written(f"{f.name}.png", f.size, f.regions) for f in scene.frames]


def test_voc_is_written_with_its_objects(tmp_path, scene, written):
    assert write_voc(tmp_path, written) == []
    back = {frame.file.rpartition("/")[2]: frame for frame in read_voc(tmp_path).frames}
    assert {name: len(frame.regions) for name, frame in back.items()} == {"none": 0, "ring": 1, "two": 2}
    for name, masks in scene.masks.items():
        for mask, region in zip(masks, back[name].regions, strict=True):
            assert (region.label, region.value) == ("polyp", 1)
            np.testing.assert_array_equal(region.pixels(mask.shape), mask)
    with PillowImage.open(tmp_path / "SegmentationClass" / "ring.png") as picture:
        assert (picture.mode, picture.getpalette()[:6]) == ("P", [0, 0, 0, 128, 0, 0])
    assert (tmp_path / "ImageSets" / "Segmentation" / "train.txt").read_text() == "none\nring\ntwo\n"


def test_voc_tells_what_overlaps(tmp_path, scene):
    frame = Written("a.png", scene.frames[1].size, (scene.frames[1].regions[0],) * 2)
    assert write_voc(tmp_path, [frame]) == [
        "1 polyps overlap, which Pascal VOC cannot hold; the later one covers: a.png"
    ]


def test_nnunet_is_written_with_labels_0_and_1(tmp_path, scene, written):
    notes = write_nnunet(tmp_path, [frame._replace(file=f"{frame.stem}_0000.png") for frame in written])
    assert notes == ["1 frame has several polyps, which nnU-Net cannot keep apart"]
    with PillowImage.open(tmp_path / "labelsTr" / "two.png") as picture:
        labels = np.asarray(picture)
    np.testing.assert_array_equal(labels, (scene.masks["two"][0] | scene.masks["two"][1]).astype(np.uint8))
    described = json.loads((tmp_path / "dataset.json").read_text())
    assert described["labels"] == {"background": 0, "polyp": 1}
    assert (described["numTraining"], described["file_ending"]) == (3, ".png")
    assert [len(frame.regions) for frame in read_nnunet(tmp_path).frames] == [0, 2, 1]  # the ring has two parts


def test_masks_are_written_black_and_white(tmp_path, scene, written):
    assert len(write_masks(tmp_path, written)) == 1
    with PillowImage.open(tmp_path / "masks" / "ring.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.where(scene.masks["ring"][0], 255, 0))
