"""VGG Image Annotator's JSON."""

import json

import numpy as np
import pytest

from polypseg.errors import DataError
from polypseg.formats.annotations import AnnotatedRegion
from polypseg.formats.via import read


def frame_of(tmp_path, regions, is_project=True):
    images = {"a.jpg123": {"filename": "a.jpg", "size": 123, "regions": regions, "file_attributes": {}}}
    path = tmp_path / "via.json"
    path.write_text(json.dumps({"_via_settings": {}, "_via_img_metadata": images} if is_project else images))
    (frame,) = read([path]).frames
    return frame


def region(shape, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


POLYGON = {"name": "polygon", "all_points_x": [0, 4, 4.5], "all_points_y": [0, 0, 3]}


@pytest.mark.parametrize("is_project", [True, False])
@pytest.mark.parametrize("as_table", [True, False])
def test_polygons_of_projects_and_exports_are_read(tmp_path, is_project, as_table):
    regions = [region(POLYGON, type="polyp")]
    frame = frame_of(tmp_path, {"0": regions[0]} if as_table else regions, is_project)
    assert (frame.file, frame.size, frame.is_labelled) == ("a.jpg", None, False)
    assert frame.regions == (AnnotatedRegion("polyp", ((0, 0, 4, 0, 4.5, 3),)),)


def test_circles_and_ellipses_have_their_area(tmp_path):
    circle, ellipse = {"name": "circle", "cx": 40, "cy": 40, "r": 20}, {"name": "ellipse", "cx": 40, "cy": 40}
    found = frame_of(tmp_path, [region(circle), region({**ellipse, "rx": 30, "ry": 10, "theta": np.pi / 2})]).regions
    assert found[0].pixels((80, 80)).sum() == pytest.approx(np.pi * 400, rel=0.01)
    assert np.ptp(np.flatnonzero(found[1].pixels((80, 80)).any(axis=1))) == 59  # 60 rows: it stands upright


@pytest.mark.parametrize(
    ("shape", "reason"),
    [({"name": "rect", "x": 1}, "a rect is no outline"), ({**POLYGON, "all_points_x": [1]}, "not as many x as y")],
)
def test_what_cannot_be_a_mask_is_told(tmp_path, shape, reason):
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(frame_of(tmp_path, [region(shape)]).regions[0].fault)


def test_a_damaged_file_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"via\.json: not a VIA file, or a damaged one \(a\.jpg123\.regions"):
        frame_of(tmp_path, [{"shape_attributes": 3}])
