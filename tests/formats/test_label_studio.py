"""Label Studio's export, and its run lengths against those of its own converter."""

import json

import numpy as np
import pytest

from polypseg.errors import DataError
from polypseg.formats.annotations import POLYP, AnnotatedRegion
from polypseg.formats.label_studio import read, write
from polypseg.formats.label_studio_runs import decode, encode
from polypseg.formats.written import Written

SQUARE = np.zeros((4, 6), bool)
SQUARE[1:3, 2:5] = True

THEIRS = [0, 0, 0, 96, 57, 27, 254, 31, 0, 183, 255, 108, 2, 223, 254, 27, 0, 0]
"""What label_studio_converter 0.0.59 makes of SQUARE (brush.mask2rle)."""


def result(kind, value, **more):
    return {"id": "x", "type": kind, "value": value, "original_width": 6, "original_height": 4, **more}


POLYGON = result("polygonlabels", {"points": [[50, 25], [100, 25], [100, 75]], "polygonlabels": ["polyp"]})


def frames_of(tmp_path, *tasks):
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    return read([path]).frames


def task(*annotations, image="/data/upload/3/0a1b2c3d-frame 1.jpg"):
    return {"id": 1, "data": {"image": image}, "annotations": list(annotations)}


def test_polygons_are_shares_of_width_and_height(tmp_path):
    (frame,) = frames_of(tmp_path, task({"result": [POLYGON]}))
    assert (frame.file, frame.size, frame.is_labelled) == ("data/upload/3/0a1b2c3d-frame 1.jpg", (4, 6), True)
    # 50 % of 6 is 3, 100 % is 6; 25 % of 4 is 1, 75 % is 3
    assert frame.regions == (AnnotatedRegion("polyp", ((3, 1, 6, 1, 6, 3),)),)


def test_a_brush_of_their_own_converter_is_read(tmp_path):
    brush = result("brushlabels", {"format": "rle", "rle": THEIRS, "brushlabels": ["polyp"]})
    (frame,) = frames_of(tmp_path, task({"result": [brush]}))
    np.testing.assert_array_equal(frame.regions[0].pixels((4, 6)), SQUARE)


@pytest.mark.parametrize("seed", range(5))
def test_runs_are_those_of_their_own_converter(seed):
    brush = pytest.importorskip("label_studio_sdk.converter.brush", reason="pip install label-studio-sdk")
    rng = np.random.default_rng(seed)
    mask = np.kron(rng.random((5, 7)) > 0.5, np.ones((1 + 40 * seed, 9), bool))
    theirs = brush.mask2rle(mask.astype(np.uint8) * 255)
    np.testing.assert_array_equal(decode(theirs, mask.size).reshape(mask.shape) > 0, mask)
    np.testing.assert_array_equal(brush.decode_rle(encode(mask)).reshape(*mask.shape, 4)[..., 3] > 0, mask)


def test_values_that_follow_one_by_one_are_read():
    # 32 bits: 4 values; 5: 8 bits each; 4 x 4: lengths of 3, 4, 8, 16 bits; then 0 (no repetition), 00 (3 bits),
    # 011 (4 values): 1, 2, 3, 200
    bits = f"{4:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}" + "000011" + "".join(f"{v:08b}" for v in (1, 2, 3, 200))
    bits += "0" * (-len(bits) % 8)
    assert decode([int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)], 1).tolist() == [200]


@pytest.mark.parametrize(
    ("stream", "reason"),
    [([], "ends too early"), ([1] * 6, "is of .* pixels"), ([300], "no bytes"), (THEIRS[:12], "ends too early")],
)
def test_a_damaged_brush_is_told_with_its_region(tmp_path, stream, reason):
    brush = result("brushlabels", {"rle": stream, "brushlabels": ["polyp"]})
    (frame,) = frames_of(tmp_path, task({"result": [brush]}))
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(frame.regions[0].fault)


def test_what_was_not_labelled_is_not_free_of_polyps(tmp_path):
    cancelled, empty = {"result": [POLYGON], "was_cancelled": True}, {"result": []}
    found = frames_of(
        tmp_path, task(), task(cancelled), task(empty), {**task(), "predictions": [{"result": [POLYGON]}]}
    )
    assert [(frame.is_labelled, len(frame.regions)) for frame in found] == [
        (False, 0), (False, 0), (True, 0), (False, 0),
    ]  # fmt: skip


def test_of_several_annotations_the_ground_truth_counts(tmp_path):
    one, other = {"result": [POLYGON]}, {"result": []}
    first, second = frames_of(tmp_path, task(one, other), task(one, {**other, "ground_truth": True}))
    assert first.fault == "2 annotations of one image, and not one of them is marked as ground truth; keep one"
    assert (second.fault, second.regions) == ("", ())


def test_labels_may_lie_in_a_result_of_their_own(tmp_path):
    shape = result("polygon", {"points": [[0, 0], [50, 0], [50, 50]]})
    label = result("labels", {"labels": ["adenoma"]})
    (frame,) = frames_of(tmp_path, task({"result": [shape, label]}))
    assert [region.label for region in frame.regions] == ["adenoma"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (result("rectanglelabels", {"x": 1, "width": 5, "rectanglelabels": ["polyp"]}), "a rectangle is no outline"),
        ({**POLYGON, "original_width": None}, "size is not told"),
        ({**POLYGON, "image_rotation": 90}, "was turned"),
        (result("polygonlabels", {"points": [[1]], "polygonlabels": ["polyp"]}), "polygon is damaged"),
    ],
)
def test_a_region_without_an_outline_is_told(tmp_path, given, reason):
    (frame,) = frames_of(tmp_path, task({"result": [given]}))
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(frame.regions[0].fault)


def test_a_damaged_export_stops(tmp_path):
    with pytest.raises(DataError, match=r"not a Label Studio export .*0\.annotations\.0\.result"):
        frames_of(tmp_path, task({"result": 3}))


def test_what_is_written_is_read_back(tmp_path, scene):
    drawn = AnnotatedRegion(POLYP, ((1.5, 1, 5, 1, 5, 5.25),))
    frames = [Written(f"{f.name}.png", f.size, f.regions) for f in scene.frames]
    frames.append(Written("drawn.png", (12, 10), (drawn,)))
    write(tmp_path, frames)
    back = read([tmp_path / "tasks.json"]).frames
    assert [frame.file for frame in back] == [f"images/{frame.file}" for frame in frames]
    assert all(frame.is_labelled for frame in back)
    assert back[3].regions[0].polygons[0] == pytest.approx(drawn.polygons[0])
    for frame, found in zip(frames, back, strict=True):
        for region, read_region in zip(frame.regions, found.regions, strict=True):
            np.testing.assert_array_equal(read_region.pixels(frame.size), region.pixels(frame.size))
