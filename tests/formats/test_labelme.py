"""LabelMe's JSON, as LabelMe writes it."""

import base64
import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.formats.annotations import POLYP, AnnotatedRegion
from polypseg.formats.labelme import read, write
from polypseg.formats.writing import write_data_set
from polypseg.formats.written import Written


def file_of(tmp_path, *shapes, name="a.json", **more):
    record = {
        "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": "..\\images\\a.jpg", "imageData": None,
        "imageHeight": 6, "imageWidth": 8, **more,
    }  # fmt: skip
    path = tmp_path / name
    path.write_text(json.dumps(record))
    return path


def shape(kind="polygon", points=((0, 0), (4, 0), (4, 4.5)), **more):
    return {"label": "polyp", "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def encoded(pixels):
    content = io.BytesIO()
    PillowImage.fromarray(pixels).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def test_polygons_are_read_and_groups_joined(tmp_path):
    path = file_of(tmp_path, shape(group_id=1), shape(), shape(points=((5, 5), (6, 5), (6, 6)), group_id=1))
    (frame,) = read([path]).frames
    assert (frame.file, frame.size, frame.is_labelled) == ("../images/a.jpg", (6, 8), True)
    assert [region.polygons for region in frame.regions] == [
        ((0, 0, 4, 0, 4, 4.5), (5, 5, 6, 5, 6, 6)), ((0, 0, 4, 0, 4, 4.5),),
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", [bool, np.uint8])
def test_masks_are_pixels_within_their_box(tmp_path, dtype):
    pixels = np.array([[1, 0, 1], [0, 1, 0]], bool)
    path = file_of(tmp_path, shape("mask", ((2, 1), (4, 2)), mask=encoded(pixels.astype(dtype))))
    expected = np.zeros((6, 8), bool)
    expected[1:3, 2:5] = pixels
    np.testing.assert_array_equal(read([path]).frames[0].regions[0].pixels((6, 8)), expected)


def test_a_circle_has_its_radius(tmp_path):
    region = read([file_of(tmp_path, shape("circle", ((40, 40), (70, 40))))]).frames[0].regions[0]
    assert region.pixels((80, 80)).sum() == pytest.approx(np.pi * 900, rel=0.01)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (shape("rectangle"), "a rectangle is no outline"),
        (shape("mask", ((2, 1), (4, 2))), "without its pixels"),
        (shape("mask", ((2, 1), (4, 2)), mask="no base64"), "mask is damaged"),
        (shape("mask", ((2, 1), (4, 2)), mask=encoded(np.ones((2, 2), bool))), "2x2 pixels does not fit its box"),
        (shape("mask", ((6, 5), (8, 6)), mask=encoded(np.ones((2, 3), bool))), "2x3 pixels does not fit its box"),
    ],
)
def test_what_cannot_be_a_mask_is_told(tmp_path, given, reason):
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(read([file_of(tmp_path, given)]).frames[0].regions[0].fault)


def test_a_damaged_file_leaves_the_others(tmp_path):
    bad = tmp_path / "b.json"
    bad.write_text('{"shapes": 3, "imagePath": "b.jpg"}')
    found = read([file_of(tmp_path), bad])
    assert [frame.regions for frame in found.frames] == [()]
    assert [unusable.name for unusable in found.unusable] == [str(bad)]
    assert "shapes: Input should be a valid array" in found.unusable[0].reason


def test_what_is_written_is_read_back(tmp_path, scene):
    parts = AnnotatedRegion(POLYP, ((1, 1, 5, 1, 5.125, 5), (7, 7, 9, 7, 9, 9)))
    frames = [Written(f"{f.name}.png", f.size, f.regions) for f in scene.frames]
    frames.append(Written("parts.png", (12, 10), (parts,)))
    (tmp_path / "images").mkdir()
    write(tmp_path, frames)
    back = read([tmp_path / "images" / f"{frame.stem}.json" for frame in frames]).frames
    assert [(frame.file, frame.size, frame.is_labelled) for frame in back] == [(f.file, f.size, True) for f in frames]
    assert back[3].regions == (parts,)
    for frame, found in zip(frames, back, strict=True):
        for region, read_region in zip(frame.regions, found.regions, strict=True):
            np.testing.assert_array_equal(read_region.pixels(frame.size), region.pixels(frame.size))


def test_what_is_written_is_read_by_labelme_itself(tmp_path, scene):
    their_file = pytest.importorskip("labelme._label_file", reason="pip install labelme")
    shape_to_mask = pytest.importorskip("labelme.utils").shape_to_mask
    write_data_set(tmp_path / "out", "labelme", scene.frames)
    kinds = set()
    for frame in scene.frames:
        found = their_file.read_label_file(str(tmp_path / "out" / "images" / f"{frame.name}.json"))
        assert len(found.shapes) == len(scene.masks[frame.name])
        for shape, mask in zip(found.shapes, scene.masks[frame.name], strict=True):
            kinds.add(shape["shape_type"])
            (left, top), (right, bottom) = np.asarray(shape["points"])[[0, -1]].astype(int)
            if shape["shape_type"] == "mask":
                theirs = np.zeros(frame.size, bool)
                theirs[top : bottom + 1, left : right + 1] = shape["mask"]
                np.testing.assert_array_equal(theirs, mask)
                continue
            # It fills with Pillow, which takes the pixels that a border touches: those below and right of ours too.
            theirs = shape_to_mask(frame.size, shape["points"], shape["shape_type"])
            assert not (mask & ~theirs).any()
            assert not (theirs & ~cv2.dilate(mask.view(np.uint8), np.ones((3, 3))).astype(bool)).any()
    assert kinds == {"mask", "polygon"}
