"""CVAT's XML, as CVAT documents it."""

from xml.etree import ElementTree

import numpy as np
import pytest

from polypseg.errors import DataError
from polypseg.formats.annotations import POLYP, AnnotatedRegion
from polypseg.formats.cvat import read, write
from polypseg.formats.writing import write_data_set
from polypseg.formats.written import Written

IMAGES = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><name>t</name></task></meta>
<image id="0" name="a.jpg" width="6" height="4">{}</image></annotations>"""


def frame_of(tmp_path, shapes):
    path = tmp_path / "annotations.xml"
    path.write_text(IMAGES.format(shapes))
    (frame,) = read([path]).frames
    return frame


def test_polygons_are_read_and_groups_joined(tmp_path):
    polygon = '<polygon label="polyp" occluded="0" points="{}" z_order="0"{}></polygon>'
    shapes = polygon.format("1,1;3.5,1;3.5,3", ' group_id="2"') + polygon.format("4,1;5,1;5,2", ' group_id="2"')
    frame = frame_of(tmp_path, shapes + polygon.format("0,0;1,0;1,1", "") + '<box label="tool" xtl="1"></box>')
    assert (frame.file, frame.size, frame.is_labelled) == ("a.jpg", (4, 6), False)
    assert [region.polygons for region in frame.regions] == [
        ((1, 1, 3.5, 1, 3.5, 3), (4, 1, 5, 1, 5, 2)),
        ((0, 0, 1, 0, 1, 1),),
        (),
    ]
    assert frame.regions[2] == AnnotatedRegion("tool", fault="a box is no outline; draw a polygon or a mask")


def test_masks_are_read_row_by_row_within_their_box(tmp_path):
    shape = '<mask label="polyp" rle="1, 2, 3" left="2" top="1" width="3" height="2" z_order="0"></mask>'
    expected = np.zeros((4, 6), bool)
    expected[1, 3:5] = True  # of the first row of the box one pixel is background, two are the mask's
    np.testing.assert_array_equal(frame_of(tmp_path, shape).regions[0].pixels((4, 6)), expected)


def test_an_ellipse_is_read(tmp_path):
    shape = '<ellipse label="polyp" cx="3" cy="2" rx="3" ry="2"></ellipse>'
    assert frame_of(tmp_path, shape).regions[0].pixels((4, 6)).sum() == 20  # all but the 4 corners


def test_a_tag_says_that_there_is_no_polyp(tmp_path):
    assert not frame_of(tmp_path, "").is_labelled
    frame = frame_of(tmp_path, '<tag label="no polyp" source="manual"></tag>')
    assert frame.is_labelled
    assert frame.regions == ()


def test_a_video_has_frames_by_number(tmp_path):
    path = tmp_path / "a.xml"
    shape = '<polygon frame="{}" outside="{}" points="0,0;2,0;2,2"></polygon>'
    path.write_text(
        "<annotations><meta><task><original_size><width>6</width><height>4</height></original_size></task></meta>"
        f'<track id="0" label="polyp">{shape.format(3, 0)}{shape.format(12, 0)}{shape.format(13, 1)}</track>'
        "</annotations>"
    )
    frames = read([path]).frames
    assert [(frame.file, frame.size, len(frame.regions)) for frame in frames] == [
        ("frame_000003", (4, 6), 1), ("frame_000012", (4, 6), 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ('<mask label="p" rle="1,2" left="2" top="1" width="3" height="2"/>', "do not add up to 2x3"),
        ('<mask label="p" rle="6" left="4" top="1" width="3" height="2"/>', "lies outside of the frame, which is 4x6"),
    ],
)
def test_a_mask_that_does_not_fit_is_told(tmp_path, shapes, reason):
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(frame_of(tmp_path, shapes).regions[0].fault)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (IMAGES.format('<polygon label="p" points="1;2"/>'), "no pairs of x,y"),
        (IMAGES.format('<polygon label="p" points="1,b"/>'), "could not convert"),
        (IMAGES.format('<mask label="p" rle="1"/>'), "<mask> has no number left"),
        (IMAGES.replace('width="6"', ""), "<image> has no number width"),
        (IMAGES[:-20], "not a CVAT file, or a damaged one"),
        ("<a>" * 100_000, "not a CVAT file"),
        (
            '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>',
            "document type or ent",
        ),
        ("<!DOCTYPE annotations>" + IMAGES, "document type or ent"),
    ],
)
def test_damaged_or_hostile_xml_is_one_line(tmp_path, text, reason):
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(DataError, match=reason) as caught:
        read([path])
    assert "\n" not in str(caught.value)


def test_another_encoding_hides_nothing(tmp_path):
    path = tmp_path / "a.xml"
    path.write_bytes('<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a><a/>'.encode("utf-16"))
    with pytest.raises(DataError, match="not UTF-8"):
        read([path])


def test_what_is_written_is_read_back(tmp_path, scene):
    parts = AnnotatedRegion(POLYP, ((1, 1, 5, 1, 5.125, 5), (7, 7, 9, 7, 9, 9)))
    frames = [Written(f"{f.name}.png", f.size, f.regions) for f in scene.frames]
    frames.append(Written("parts.png", (12, 10), (parts,)))
    write(tmp_path, frames)
    back = read([tmp_path / "annotations.xml"]).frames
    assert [(frame.file, frame.size) for frame in back] == [(frame.file, frame.size) for frame in frames]
    assert [frame.is_labelled for frame in back] == [True, False, False, False]  # the others have regions
    assert back[3].regions == (parts,)
    for frame, found in zip(frames, back, strict=True):
        for region, read_region in zip(frame.regions, found.regions, strict=True):
            np.testing.assert_array_equal(read_region.pixels(frame.size), region.pixels(frame.size))


def test_what_is_written_is_read_by_datumaro_pixel_by_pixel(tmp_path, scene):
    """Its reader takes files of tasks and of projects only."""
    datumaro = pytest.importorskip("datumaro", reason="pip install datumaro")
    mask_tools = pytest.importorskip("pycocotools.mask")
    write_data_set(tmp_path / "out", "cvat", scene.frames)
    back = {item.id: item for item in datumaro.Dataset.import_from(str(tmp_path / "out"), "cvat")}
    kinds = set()
    for frame in scene.frames:
        height, width = frame.size
        shapes = [shape for shape in back[frame.name].annotations if shape.type.name != "label"]
        assert len(shapes) == len(scene.masks[frame.name])
        for shape, mask in zip(shapes, scene.masks[frame.name], strict=True):
            kinds.add(shape.type.name)
            if shape.type.name == "mask":
                theirs = np.asarray(shape.image, bool)
            else:
                (run,) = mask_tools.frPyObjects([shape.points], height, width)
                theirs = mask_tools.decode(run).astype(bool)
            np.testing.assert_array_equal(theirs, mask)
    assert kinds == {"mask", "polygon"}


def test_labels_are_of_a_task(tmp_path, scene):
    write_data_set(tmp_path / "out", "cvat", scene.frames)
    root = ElementTree.parse(tmp_path / "out" / "annotations.xml").getroot()
    assert [label.findtext("name") for label in root.findall("meta/task/labels/label")] == ["polyp", "no polyp"]
