"""COCO's files: written by hand and read here, written here and read by COCO's own tools."""

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from polypseg.errors import DataError
from polypseg.formats.annotations import POLYP, AnnotatedRegion
from polypseg.formats.coco import read, write
from polypseg.formats.outlines import run_lengths
from polypseg.formats.written import Written

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # NumPy's, of what pycocotools calls

DOT = np.zeros((3, 4), bool)
DOT[1, 2] = True


def file_of(tmp_path, annotations, images=None, categories=None):
    path = tmp_path / "instances.json"
    record = {
        "images": images or [{"id": 7, "file_name": "a.jpg", "height": 3, "width": 4}],
        "categories": categories or [{"id": 1, "name": "polyp"}],
        "annotations": annotations,
    }
    path.write_text(json.dumps(record))
    return path


def annotation(segmentation, **more):
    return {"id": 1, "image_id": 7, "category_id": 1, "segmentation": segmentation, "iscrowd": 0, **more}


@pytest.mark.parametrize(
    "segmentation",
    [
        [[2, 1, 3, 1, 3, 2, 2, 2]],
        {"size": [3, 4], "counts": [7, 1, 4]},  # two columns of 3 and a row of background come before the dot
        {"size": [3, 4], "counts": coco_mask.encode(np.asfortranarray(DOT.view(np.uint8)))["counts"].decode()},
    ],
)
def test_polygons_and_both_kinds_of_run_lengths_are_read(tmp_path, segmentation):
    (frame,) = read([file_of(tmp_path, [annotation(segmentation, iscrowd=1)])]).frames
    assert (frame.file, frame.size, frame.is_labelled) == ("a.jpg", (3, 4), False)
    (region,) = frame.regions
    assert (region.label, region.value, region.is_crowd) == ("polyp", 1, True)
    np.testing.assert_array_equal(region.pixels((3, 4)), DOT)
    assert region.fault_in((3, 4)) == ""


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ([], "a box alone is no outline"),
        ([[0, 0, 9, 0, 9, 2]], r"a corner at \(9, 0\) lies outside of the frame, which is 3x4"),
        ([[0, 0, 1, 1]], "a polygon has 2 corners, expected 3 or more"),
        ([[0, 1]], "a polygon has 1 corner, expected 3 or more"),
        ([[0, 0, 2, 0, 2]], r"a polygon has an odd number of coordinates \(5\), expected x and y of each corner"),
        ([[0, 0, 2, 0, 2, 2, 0]], r"an odd number of coordinates \(7\)"),
        ([[0, 0, 1, 1, float("nan"), 2]], "not a number"),
        ({"size": [4, 3], "counts": [12]}, "run lengths are of 4x3 pixels, the image of 3x4"),
        ({"size": [3, 4], "counts": [5]}, "do not add up to 3x4"),
        ({"size": [3, 4], "counts": [13, -1]}, "do not add up to 3x4"),
        ({"size": [3, 4], "counts": "!"}, "no letter of compressed"),
    ],
)
def test_a_region_that_cannot_be_is_told_with_it(tmp_path, segmentation, reason):
    (frame,) = read([file_of(tmp_path, [annotation(segmentation)])]).frames
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(frame.regions[0].fault_in((3, 4)))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"annotations": [annotation([]), annotation([])]}, "annotation id 1 is there twice"),
        ({"annotations": [annotation([], image_id=8)]}, "of the image 8, which is not listed"),
        ({"annotations": [annotation([], category_id=2)]}, "of the category 2, which is not listed"),
        (
            {"annotations": [], "images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]},
            "image id 1 is there",
        ),
        ({"annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "category id 1 is there"),
        ({"annotations": [annotation("text")]}, "annotations.0.segmentation"),
    ],
)
def test_ids_that_repeat_or_lead_nowhere_stop(tmp_path, given, reason):
    path = file_of(tmp_path, **given)
    with pytest.raises(DataError, match=rf"{path}.*{reason}.*export it again"):
        read([path])


def test_a_damaged_file_is_one_line(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"images": [')
    with pytest.raises(DataError, match="not a COCO file, or a damaged one") as caught:
        read([path])
    assert "\n" not in str(caught.value)


def test_what_is_written_is_read_by_cocos_own_tools_pixel_by_pixel(tmp_path, scene):
    crowd = AnnotatedRegion(POLYP, (), tuple(run_lengths(scene.masks["two"][1])), is_crowd=True)
    drawn = AnnotatedRegion(POLYP, ((1, 1, 5, 1, 5, 5, 1, 5), (7, 7, 9, 7, 9, 9, 7, 9)))
    frames = [Written(f"{f.name}.png", f.size, f.regions) for f in scene.frames]
    frames.append(Written("drawn.png", (12, 12), (drawn, crowd._replace(runs=tuple(run_lengths(np.eye(12) > 0))))))
    write(tmp_path, frames)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO(str(tmp_path / "annotations.json"))
    assert theirs.loadCats(theirs.getCatIds()) == [{"id": 1, "name": "polyp", "supercategory": ""}]
    for number, frame in enumerate(frames, 1):
        found = [theirs.annToMask(a).astype(bool) for a in theirs.loadAnns(theirs.getAnnIds(imgIds=number))]
        assert len(found) == len(frame.regions)
        for mask, region in zip(found, frame.regions, strict=True):
            np.testing.assert_array_equal(mask, region.pixels(frame.size))
    back = read([tmp_path / "annotations.json"]).frames
    assert [frame.is_labelled for frame in back] == [True] * 4
    assert back[3].regions[0].polygons == drawn.polygons
    assert [region.is_crowd for region in back[3].regions] == [False, True]
    ((area, bbox),) = [(a["area"], a["bbox"]) for a in theirs.loadAnns(theirs.getAnnIds(imgIds=2))]
    # "ring" of the fixture: 12 x 14 less 3 x 4, and 2 x 2 more; from column 5 to 26, from row 4 to 21
    assert (area, bbox) == (160, [5, 4, 22, 18])
