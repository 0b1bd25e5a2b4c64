"""Which format lies in a folder, and which image an annotation means."""

import json

import pytest
from PIL import Image as PillowImage

from polypseg.errors import DataError, UsageError
from polypseg.formats.finding import find_annotations, format_of_file
from polypseg.formats.images import ImageFiles
from polypseg.formats.writing import FORMATS, Labelled, write_data_set

SAMPLES = {
    "coco": {"images": [], "annotations": [], "categories": []},
    "label-studio": [{"data": {"image": "a.jpg"}, "annotations": []}],
    "labelme": {"shapes": [], "imagePath": "a.jpg", "imageData": None},
    "via": {"a.jpg1": {"filename": "a.jpg", "regions": []}},
}


@pytest.mark.parametrize(("name", "content"), SAMPLES.items())
@pytest.mark.parametrize("place", [".", "annotations"])
def test_json_is_known_by_its_keys_whatever_its_name(tmp_path, name, content, place):
    (tmp_path / place).mkdir(exist_ok=True)
    path = tmp_path / place / "anything.json"
    path.write_text(json.dumps(content))
    found = find_annotations(tmp_path)
    assert (found.format, found.paths) == (name, (path,))


@pytest.mark.parametrize("content", [{}, [], 3, {"a.jpg": {"bbox": []}}, [{"a": 1}], ["a"]])
def test_other_json_is_none_of_them(tmp_path, content):
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert find_annotations(tmp_path) is None


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.json", "{", "not a JSON file, or a damaged one"),
        ("a.json", '[{"image": "a.jpg", "annotation_id": 1}]', "JSON-MIN.*export as JSON"),
        ("a.json", '{"project": 1, "metadata": 1, "file": 1}', "VIA 3"),
        ("a.xml", "<annotation><object/></annotation>", "boxes of Pascal VOC, no outlines"),
        ("a.xml", "<annotations>", "not a XML file|not an XML file"),
    ],
)
def test_what_is_damaged_or_has_no_outlines_stops(tmp_path, name, text, reason):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=reason):
        find_annotations(tmp_path)


def test_two_formats_in_one_folder_are_refused(tmp_path):
    for name in ("coco", "via"):
        (tmp_path / f"{name}.json").write_text(json.dumps(SAMPLES[name]))
    with pytest.raises(
        DataError, match=r"several formats: COCO \(coco.json\) and VGG Image Annotator \(via.json\); keep"
    ):
        find_annotations(tmp_path)


def test_many_labelme_files_are_one_set(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.json").write_text(json.dumps(SAMPLES["labelme"]))
    assert [path.name for path in find_annotations(tmp_path).paths] == ["a.json", "b.json", "c.json"]
    assert format_of_file(tmp_path / "a.json") == "labelme"


@pytest.fixture
def images(tmp_path):
    names = "train/a.jpg", "val/a.jpg", "train/b.jpg", "masks/c.png", ".hidden/d.jpg", "e.JPG"
    for name in (*names, "f (1).jpg", "g h.jpg", "g_h.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        PillowImage.new("RGB", (4, 4)).save(tmp_path / name)
    return ImageFiles(tmp_path)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("b.jpg", "train/b.jpg"),
        ("elsewhere/b.jpg", "train/b.jpg"),
        ("C:\\data\\val\\a.jpg", "val/a.jpg"),
        ("0a1b2c3d-b.jpg", "train/b.jpg"),
        ("/data/upload/2/0a1b2c3d-f_1.jpg", "f (1).jpg"),  # as Label Studio 1.23 stores it
        ("g h.jpg", "g h.jpg"),
        ("e", "e.JPG"),
    ],
)
def test_an_image_is_found_by_its_name_and_as_much_of_its_path_as_is_needed(images, file, expected):
    assert images.find(file) == images.folder / expected


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("a.jpg", "train/a.jpg and val/a.jpg could both be meant"),
        ("0a1b2c3d-g_h.jpg", "g h.jpg and g_h.jpg could both be meant"),
        ("c.png", "no image"),
        ("d.jpg", "no image"),
    ],
)
def test_an_image_that_is_not_certain_is_none(images, file, reason):
    with pytest.raises(LookupError, match=reason):
        images.find(file)


def test_names_are_stems_where_they_tell_apart(images):
    assert sorted(images.names().values()) == ["b", "e", "f (1)", "g h", "g_h", "train_a", "val_a"]


def test_an_image_that_its_file_turns_is_written_upright(tmp_path):
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # stored on its side
    PillowImage.effect_noise((40, 20), 90).convert("RGB").save(tmp_path / "a.jpg", exif=exif)
    write_data_set(tmp_path / "out", "masks", [Labelled("a", tmp_path / "a.jpg", (40, 20), ())])
    with PillowImage.open(tmp_path / "out" / "images" / "a.png") as picture:
        assert (picture.size, dict(picture.getexif())) == ((20, 40), {})


def test_a_folder_with_files_and_an_unknown_format_are_refused(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(DataError, match="already holds files"):
        write_data_set(tmp_path, "coco", [])
    with pytest.raises(UsageError, match=f"the choices are: {', '.join(sorted(FORMATS))}"):
        write_data_set(tmp_path / "new", "kitti", [])


def test_what_fails_leaves_nothing(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        write_data_set(tmp_path / "out", "masks", [Labelled("a", tmp_path / "gone.png", (4, 4), ())])
    assert list(tmp_path.iterdir()) == []
