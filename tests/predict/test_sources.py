"""Which images a path names, and what their results are called."""

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.errors import DataError, ImageError, UsageError
from polypseg.predict.images.sources import PassedOverWarning, find_sources
from predict.tiny_model import write_picture


def write_stack(path, num_pages=3):
    """A TIFF whose page n (from 1) is red n in (4, 5 + n) pixels."""
    pages = [PillowImage.new("RGB", (5 + n, 4), (n, 0, 0)) for n in range(1, num_pages + 1)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*paths, **options):
    return [source.name for source in find_sources([str(path) for path in paths], **options)]


def test_a_file_is_named_by_its_stem(here):
    write_picture(here / "far" / "a.b.png", 9)
    assert names("far/a.b.png") == ["a.b"]
    assert find_sources(["far/a.b.png"])[0].path == "far/a.b.png"
    assert find_sources(["far/a.b.png"])[0].read()[0, 0].tolist() == [9, 0, 0]


def test_a_folder_is_searched_with_those_within_in_order_of_names(here):
    for name in ("b/2.png", "b/1.jpg", "a/1.TIF", "z.bmp", ".hidden/x.png", "b/.hidden.png"):
        write_picture(here / "in" / name, 0)
    (here / "in" / "notes.txt").write_text("")
    assert names("in") == ["z", "a/1", "b/1", "b/2"]
    assert names(here / "in") == ["z", "a/1", "b/1", "b/2"]


def test_several_paths_are_named_from_the_folder_that_holds_them_all(here):
    for name in ("x/1.png", "y/1.png", "y/deep/1.png"):
        write_picture(here / name, 0)
    assert names("x", "y") == ["x/1", "y/1", "y/deep/1"]
    assert names("x/1.png", "y/1.png") == ["x/1", "y/1"]
    assert names("y/deep/1.png", "y") == ["deep/1", "1"]


def test_an_image_that_is_named_twice_is_one(here):
    write_picture(here / "x" / "1.png", 0)
    (here / "link.png").symlink_to(here / "x" / "1.png")
    assert names("x/1.png", "x", here / "x" / "1.png") == ["1"]
    assert names("x/1.png", "link.png") == ["x/1", "link"]  # a row for each name that the user gave
    assert names("x/1.png", "x", here / "x" / "1.png", "x/../x/1.png") == ["1"]


def test_links_to_one_file_keep_their_names(here):
    write_picture(here / "blobs" / "abc.png", 0)
    (here / "set").mkdir()
    for name in ("case01.png", "case02.png"):
        (here / "set" / name).symlink_to(here / "blobs" / "abc.png")
    assert names("set") == ["case01", "case02"]


def test_a_link_to_a_folder_above_the_one_that_is_searched_is_not_followed(here):
    write_picture(here / "x" / "1.png", 0)
    write_picture(here / "elsewhere" / "2.png", 0)
    for name, target in (("root", "/"), ("up", ".."), ("itself", "."), ("other", here / "elsewhere")):
        (here / "x" / name).symlink_to(target)
    assert names("x") == ["1", "other/2"]


def test_patterns(here):
    for name in ("x/1.png", "x/2.png", "x/3.jpg", "y/z/1.png"):
        write_picture(here / name, 0)
    assert names("x/*.png") == ["1", "2"]
    assert names("**/1.png") == ["x/1", "y/z/1"]
    assert names("?/z") == ["1"]
    with pytest.raises(DataError, match=r"x/\*\.gif: nothing matches this pattern"):
        find_sources(["x/*.gif"])
    write_picture(here / "[1].png", 0)  # a file whose own name looks like a pattern
    assert names("[1].png") == ["[1]"]


def test_results_folder_is_not_searched(here):
    write_picture(here / "in" / "1.png", 0)
    write_picture(here / "in" / "out" / "masks" / "1.png", 0)
    assert names("in", leave_out=Path("in/out")) == ["1"]
    assert names("in") == ["1", "out/masks/1"]
    with pytest.raises(UsageError, match=r"in: the results cannot go into the folder that is searched"):
        find_sources(["in"], leave_out=here / "in")


def test_equal_names_are_refused(here):
    for name in ("in/1.png", "in/1.jpg", "in/2.png"):
        write_picture(here / name, 0)
    with pytest.raises(DataError, match=r"1 pair of images(.|\n)*in/1\.jpg and in/1\.png \(both 1\)"):
        find_sources(["in"])


def test_a_page_and_an_image_of_its_name_meet(here):
    write_stack(here / "s.tif", 2)
    write_picture(here / "s_page0002.png", 0)
    with pytest.raises(DataError, match="both s_page0002"):
        find_sources(["s.tif", "s_page0002.png"])


def test_what_is_not_there(here):
    (here / "empty").mkdir()
    (here / "films").mkdir()
    (here / "films" / "a.mp4").write_bytes(b"")
    for path, message in (
        ("none.png", r"none\.png: no such file or folder"),
        ("empty", "empty: no image in this folder or those within; expected"),
        ("films", r"films: no image .* \(it holds 1 video: name one at a time\)"),
    ):
        with pytest.raises(DataError, match=message):
            find_sources([path])
    for paths, message in (([], "no image named"), (["-", "-"], "named twice")):
        with pytest.raises(UsageError, match=message):
            find_sources(paths)


def test_a_folder_that_cannot_be_searched(here, monkeypatch):
    (here / "in").mkdir()

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)  # tests may run as root, who may read all
    with pytest.raises(DataError, match="in: cannot search the folder: Permission denied"):
        find_sources(["in"])


def test_pages_are_images_each(here):
    write_stack(here / "s.tif")
    sources = find_sources(["s.tif"])
    assert [(source.name, source.page) for source in sources] == [(f"s_page000{n}", n) for n in (1, 2, 3)]
    for number in (3, 1, 2):
        image = sources[number - 1].read()
        assert image.shape == (4, 5 + number, 3)
        assert image[0, 0, 0] == number
    with pytest.raises(ImageError, match=r"s\.tif page 3: 4x8 pixels are more than the allowed 30"):
        sources[2].read(max_pixels=30)
    sources[0].pages.close()
    assert sources[1].read().shape == (4, 7, 3)  # opens it again
    sources[0].pages.close()


def test_pages_are_read_by_threads_at_once(here):
    from concurrent.futures import ThreadPoolExecutor

    sources = find_sources([str(write_stack(here / "s.tif", 30))])
    with ThreadPoolExecutor(4) as pool:
        reds = list(pool.map(lambda source: int(source.read()[0, 0, 0]), sources * 3))
    assert reds == list(range(1, 31)) * 3
    sources[0].pages.close()


def test_a_tiff_of_one_page_is_an_image(here):
    write_stack(here / "s.tif", 1)
    source = find_sources(["s.tif"])[0]
    assert (source.name, source.page) == ("s", None)
    assert source.read().shape == (4, 6, 3)
    source.pages.close()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_damaged_tiff_is_told_when_it_is_read(here):
    (here / "s.tif").write_bytes(b"II*\x00garbage")
    source = find_sources(["s.tif"])[0]
    with pytest.raises(ImageError, match=r"^s\.tif: "):
        source.read()


@pytest.mark.parametrize("ending", ["PNG", "TIFF"])
def test_standard_input(monkeypatch, ending):
    content = io.BytesIO()
    PillowImage.fromarray(np.full((2, 3, 3), 7, np.uint8)).save(content, ending)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.getvalue())))
    source = find_sources(["-"])[0]
    assert (source.name, source.path, source.page) == ("stdin", "-", None)
    assert source.read().tolist() == [[[7, 7, 7]] * 3] * 2
    source.pages.close()


def test_empty_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(ImageError, match="stdin: the file is empty"):
        find_sources(["-"])[0].read()


def test_an_empty_tiff(here):
    (here / "s.tif").write_bytes(b"")
    with pytest.raises(ImageError, match=r"s\.tif: the file is empty"):
        find_sources(["s.tif"])[0].read()


def test_a_data_sets_masks_are_not_predicted_and_that_is_said(here):
    for name in ("set/images/a.png", "set/masks/a.png", "set/deep/frames/b.png", "set/deep/labels/b.png"):
        write_picture(here / name, 0)
    with pytest.warns(PassedOverWarning, match=r"2 files or folders of masks(.|\n)*set/masks(.|\n)*set/deep/labels"):
        assert names("set") == ["deep/frames/b", "images/a"]
    assert names("set/masks") == ["a"]  # named by itself it is meant


def test_masks_that_lie_beside_their_images_are_not_predicted(here):
    for name in ("a.png", "a_mask.png", "b_mask.png"):
        write_picture(here / "set" / name, 0)
    with pytest.warns(PassedOverWarning, match=r"1 file or folder(.|\n)*a_mask\.png"):
        assert names("set") == ["a", "b_mask"]  # b_mask is no mask of an image that is here


def test_what_is_no_image_gets_a_row_and_what_lies_beside_images_none(here):
    write_picture(here / "in" / "a.png", 0)
    for name in ("a.heic", "IM0001", "film.mp4", "boxes.json", "Thumbs.db", "README"):
        (here / "in" / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    assert names("in") == ["IM0001", "a.heic", "a", "film.mp4"]
    with pytest.raises(ImageError, match=r"in/a\.heic: not an image that can be read but a HEIC picture; convert it"):
        find_sources(["in/a.heic"])[0].read()


def test_more_kinds_of_images_are_found(here):
    for ending in ("webp", "jfif", "jp2", "avif", "gif", "jpe"):
        kind = {"jfif": "JPEG", "jpe": "JPEG", "jp2": "JPEG2000"}.get(ending, ending.upper())
        (here / "in").mkdir(exist_ok=True)
        PillowImage.new("RGB", (24, 20), (200, 0, 0)).save(here / "in" / f"{ending}.{ending}", kind)
    sources = find_sources(["in"])
    assert [source.name for source in sources] == ["avif", "gif", "jfif", "jp2", "jpe", "webp"]
    assert {source.read().shape for source in sources} == {(20, 24, 3)}


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="file names are Unicode there")
def test_names_that_are_no_unicode_are_refused_before_anything_is_done(here):
    write_picture(here / "in" / "a.png", 0)
    os.rename(b"in/a.png", b"in/Nguy\xea\xden_0.png")  # noqa: PTH104 — bytes
    with pytest.raises(DataError, match=r"1 file names are not valid UTF-8.*convmv"):
        find_sources(["in"])


def test_standard_input_without_end_is_refused(here, monkeypatch):
    class Endless:
        def read(self, size):
            return b"\0" * min(size, 2000)

    monkeypatch.setattr("polypseg.predict.images.sources.MAX_FILE_BYTES", 1000)
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": Endless()})())
    with pytest.raises(DataError, match="standard input: more than the allowed 1,000 bytes"):
        find_sources(["-"])


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images", "masks"),
        ("videos/procedure001", "masks/procedure001"),  # as polypseg data synth --procedure writes them
        ("Frame/case1", "GT/case1"),  # as SUN-SEG
        (".", "Ground Truth"),
        ("hospital/patient", "hospital/labels"),
    ],
)
def test_masks_of_a_data_set_are_not_predicted_wherever_its_images_are(tmp_path, images, masks):
    for folder in (images, masks):
        write_picture(tmp_path / folder / "frame.png", 200)
    with pytest.warns(PassedOverWarning, match="1 file or folder of masks beside images not predicted"):
        found = find_sources([str(tmp_path)])
    assert [source.name for source in found] == [Path(images, "frame").as_posix()]


def test_a_folder_with_the_name_of_masks_that_is_named_or_alone_is_predicted(tmp_path):
    write_picture(tmp_path / "labels" / "frame.png", 200)
    assert len(find_sources([str(tmp_path)])) == len(find_sources([str(tmp_path / "labels")])) == 1
