"""YOLO's polygons, as Ultralytics documents them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.errors import DataError
from polypseg.formats.annotations import POLYP, AnnotatedRegion
from polypseg.formats.images import ImageFiles
from polypseg.formats.writing import write_data_set
from polypseg.formats.written import Written
from polypseg.formats.yolo import class_names, label_files, read, write


def found_in(tmp_path):
    return read(tmp_path, label_files(tmp_path), ImageFiles(tmp_path))


def lay(tmp_path, text, part="train"):
    for name in ("images", "labels"):
        (tmp_path / name / part).mkdir(parents=True)
    PillowImage.new("RGB", (8, 4)).save(tmp_path / "images" / part / "a.jpg")
    (tmp_path / "labels" / part / "a.txt").write_text(text)


def test_lines_are_polygons_in_shares(tmp_path):
    lay(tmp_path, "0 0.5 0.25 1 0.25 1 1\n\n1 0 0 0.125 0 0.125 0.5\n")
    (tmp_path / "data.yaml").write_text("path: .\nnames:\n  0: polyp # the first\n  1: 'tool'\nnc: 2\n")
    (frame,) = found_in(tmp_path).frames
    assert (frame.file, frame.size, frame.is_labelled) == ("images/train/a", (4, 8), True)
    assert frame.regions == (  # 0.5 of 8 is 4, 0.25 of 4 is 1
        AnnotatedRegion("polyp", ((4, 1, 8, 1, 8, 4),), value=0),
        AnnotatedRegion("tool", ((0, 0, 1, 0, 1, 2),), value=1),
    )


def test_an_empty_file_says_that_there_is_no_polyp(tmp_path):
    lay(tmp_path, "")
    (frame,) = found_in(tmp_path).frames
    assert (frame.is_labelled, frame.regions) == (True, ())


def test_a_box_is_no_outline(tmp_path):
    lay(tmp_path, "0 0.5 0.5 0.1 0.1")
    assert found_in(tmp_path).frames[0].regions == (
        AnnotatedRegion("0", value=0, fault="a box is no outline; draw a polygon or a mask"),
    )


@pytest.mark.parametrize(
    ("text", "reason"), [("polyp 0 0 1 1 0 1", "line 1: invalid literal"), ("0 a", "line 1: could")]
)
def test_a_damaged_line_is_told_with_its_file(tmp_path, text, reason):
    lay(tmp_path, text)
    ((name, told),) = found_in(tmp_path).unusable
    assert name.endswith("a.txt")
    assert told.startswith("not a YOLO label file, or a damaged one")  # the file stands before it already
    assert reason in told


def test_a_label_file_without_an_image_is_told(tmp_path):
    lay(tmp_path, "")
    (tmp_path / "labels" / "train" / "b.txt").write_text("")
    assert [frame.fault for frame in found_in(tmp_path).frames] == ["", f"there is no image of that name in {tmp_path}"]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("data.yaml", 'names: [polyp, "tool"]', {0: "polyp", 1: "tool"}),
        ("data.yaml", "names:\n- polyp\n- tool\nnc: 2", {0: "polyp", 1: "tool"}),
        ("data.yaml", "names: {0: polyp, 4: tool}", {0: "polyp", 4: "tool"}),
        ("classes.txt", "polyp\ntool\n", {0: "polyp", 1: "tool"}),
        ("labels.md", "", {}),
    ],
)
def test_names_of_classes(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    assert class_names(tmp_path) == expected


@pytest.mark.parametrize(("text", "reason"), [("nc: 1", "has no names"), ("names: *a", "neither a list nor a table")])
def test_names_that_cannot_be_understood_stop(tmp_path, text, reason):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=reason):
        class_names(tmp_path)


def test_what_is_written_is_read_back_with_holes_filled(tmp_path, scene):
    frames = [Written(f"{f.name}.png", f.size, f.regions) for f in scene.frames]
    frames.append(Written("drawn.png", (10, 16), (AnnotatedRegion(POLYP, ((1.5, 1, 5, 1, 5, 5.25),)),)))
    (tmp_path / "images").mkdir()
    for frame in frames:
        PillowImage.new("RGB", frame.size[::-1]).save(tmp_path / "images" / frame.file)
    assert write(tmp_path, frames) == ["1 polyp has holes, which YOLO cannot hold; filled: ring.png"]
    back = {frame.file: frame for frame in found_in(tmp_path).frames}
    assert back["images/none"].regions == ()
    assert back["images/drawn"].regions[0].polygons[0] == pytest.approx((1.5, 1, 5, 1, 5, 5.25), abs=1e-6)
    for mask, region in zip(scene.masks["two"], back["images/two"].regions, strict=True):
        np.testing.assert_array_equal(region.pixels(mask.shape), mask)
    main, part = back["images/ring"].regions  # YOLO has no parts: two lines
    assert main.pixels((24, 30)).sum() + part.pixels((24, 30)).sum() == 12 * 14 + 2 * 2
    assert {region.label for frame in back.values() for region in frame.regions} == {"polyp"}


def test_what_is_written_is_read_by_ultralytics_from_any_folder(tmp_path, scene, monkeypatch):
    utils = pytest.importorskip("ultralytics.data.utils", reason="pip install ultralytics")
    data_sets = pytest.importorskip("ultralytics.data.dataset")
    write_data_set(tmp_path / "out", "yolo", scene.frames)
    monkeypatch.chdir(tmp_path)
    data = utils.check_det_dataset(str(tmp_path / "out" / "data.yaml"), autodownload=False)
    assert data["names"] == {0: "polyp"}
    found = data_sets.YOLODataset(img_path=data["train"], data=data, task="segment", imgsz=32, augment=False).labels
    segments = {Path(one["im_file"]).stem: (one["shape"], one["segments"]) for one in found}
    assert {name: len(each) for name, (_, each) in segments.items()} == {"none": 0, "ring": 2, "two": 2}
    (height, width), drawn = segments["two"]
    for shares, mask in zip(drawn, scene.masks["two"], strict=True):
        # The outline's corners are those of the box of pixels: its area is theirs.
        x, y = (shares * [width, height]).T
        assert abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2 == pytest.approx(mask.sum(), abs=1e-3)


def test_the_list_of_classes_names_no_folder_of_this_machine(tmp_path, scene):
    """Ultralytics resolves a relative `path` where it is run, not where the file lies."""
    write_data_set(tmp_path / "out", "yolo", scene.frames)
    text = (tmp_path / "out" / "data.yaml").read_text()
    assert text.splitlines() == ["train: images", "val: images", "names:", "  0: polyp"]
