"""Which files are read at all: kinds, names, regular files, and pictures that show nothing."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags
from PIL import Image as PillowImage

from polypseg.errors import DataError, ImageError
from polypseg.preprocess import (
    IMAGE_SUFFIXES,
    decode_image,
    endings,
    image_size,
    is_image_file,
    is_left_out,
    read_grey,
    read_image,
    read_mask,
    read_noted,
    refuse_odd_names,
)
from polypseg.preprocess import files as files_module
from preprocess.odd_files import encoded, frame

FRAME = frame(np.random.default_rng(0))


@pytest.mark.parametrize(
    ("ending", "kind", "options"),
    [
        (".jfif", "JPEG", {"quality": 95}),
        (".jpe", "JPEG", {"quality": 95}),
        (".webp", "WEBP", {"lossless": True}),
        (".jp2", "JPEG2000", {}),
        (".avif", "AVIF", {"quality": 95}),
        (".gif", "GIF", {}),
        (".ppm", "PPM", {}),
        (".dib", "DIB", {}),
    ],
)
def test_kinds_beyond_the_usual_are_images(tmp_path, ending, kind, options):
    path = tmp_path / f"a{ending}"
    path.write_bytes(encoded(FRAME, kind, **options))
    assert is_image_file(path)
    assert not is_left_out(path)
    assert read_image(path).shape == FRAME.shape
    assert np.abs(read_image(path).astype(int) - FRAME).mean() < 12
    assert image_size(path) == FRAME.shape[:2]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(40), "a HEIC picture"),
        (bytes(128) + b"DICM" + bytes(40), "a DICOM file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a PostScript file"),
        (b"8BPS\0\1" + bytes(40), "a Photoshop file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"\xff\x0a" + bytes(40), "a JPEG XL picture"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path, content, kind):
    path = tmp_path / "scan.jpg"
    path.write_bytes(content)
    for read in (read_image, image_size, read_mask):
        with pytest.raises(ImageError, match=rf"scan\.jpg: not an image that can be read but {kind}; convert it"):
            read(path)


def test_a_postscript_file_starts_no_other_program(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("a program was started"))
    path = tmp_path / "frame.jpg"
    path.write_bytes(encoded(FRAME, "EPS"))
    with pytest.raises(ImageError, match="a PostScript file"):
        read_image(path)


def test_files_beside_images(tmp_path):
    names = ("a.HEIC", "IM0001", "film.mp4", "a.dcm", "groups.csv", "README", ".hidden", "a.JPG", "Thumbs.db")
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    left = sorted(path.name for path in tmp_path.iterdir() if is_left_out(path))
    assert left == ["IM0001", "a.HEIC", "a.dcm", "film.mp4"]
    assert endings(tmp_path / name for name in left) == "no ending 1, .heic 1, .dcm 1, .mp4 1"
    assert ".heic" not in IMAGE_SUFFIXES


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
def test_a_pipe_a_device_and_a_socket_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    code = (
        "import sys; from polypseg.errors import ImageError; from polypseg.preprocess import image_size, read_image\n"
        "for read in (read_image, image_size):\n"
        "    for path in sys.argv[1:]:\n"
        "        try: read(path)\n"
        "        except ImageError as error: print(error)\n"
    )
    paths = [str(tmp_path / "pipe.jpg"), "/dev/zero"]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.count("not a regular file (a pipe, a socket or a device); expected an image") == 4


def test_a_file_beyond_all_bounds_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(FRAME, "PNG"))
    monkeypatch.setattr(files_module, "MAX_FILE_BYTES", 1000)
    with pytest.raises(ImageError, match=r"a\.png: has [\d,]+ bytes, more than the allowed 1,000"):
        read_image(path)


def test_names_that_are_no_unicode_are_refused_with_how_to_rename():
    odd = os.fsdecode(b"images/Nguy\xea\xden_0.png")
    refuse_odd_names(["images/Nguyễn 0.png", "a.png"])
    with pytest.raises(DataError, match=r"1 file names are not valid UTF-8.*convmv(.|\n)*Nguy\\udcea\\udcden_0\.png"):
        refuse_odd_names(["a.png", odd])


# --- pictures that show nothing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_values_that_are_not_scaled_to_sixteen_bits(tmp_path, bits, mode):
    deep = FRAME.astype(np.uint16) << (bits - 8)
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), deep if mode == "RGB" else deep[..., 0])
    with pytest.raises(ImageError, match=r"deep\.png: (\(nearly\) black.*10- or 12-bit values|a deep grey file)"):
        read_image(path)
    cv2.imwrite(str(path), FRAME.astype(np.uint16)[..., ::-1] * 257)
    np.testing.assert_array_equal(read_image(path), FRAME)


def test_twelve_bits_in_a_tiff(tmp_path):
    path = tmp_path / "deep.tif"
    PillowImage.fromarray(FRAME[..., 0].astype(np.uint16) << 4).save(path)
    with pytest.raises(ImageError, match=r"\(nearly\) black"):
        read_image(path)


def test_what_is_invisible_black_or_of_one_colour():
    clear = np.dstack([FRAME, np.zeros(FRAME.shape[:2], np.uint8)])
    with pytest.raises(ImageError, match="alpha is 0 everywhere, nothing of it is visible"):
        decode_image(encoded(clear, "PNG"))
    with pytest.raises(ImageError, match=r"\(nearly\) black, hardly a pixel is brighter than 12 of 255"):
        decode_image(encoded((FRAME // 20).astype(np.uint8), "PNG"))
    for colour in ((90, 60, 50), (255, 255, 255)):
        for kind in ("PNG", "JPEG"):
            with pytest.raises(ImageError, match="of one colour"):
                decode_image(encoded(np.full((120, 160, 3), colour, np.uint8), kind))


def test_a_few_lit_pixels_are_no_frame():
    black = np.zeros((240, 320, 3), np.uint8)
    black[5:10, 5:15] = 255  # a letter in a corner: 50 of 76,800 pixels
    with pytest.raises(ImageError, match=r"\(nearly\) black"):
        decode_image(encoded(black, "PNG"))


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_a_dark_frame_is_read(share):
    dark = np.rint(FRAME * share).astype(np.uint8)
    np.testing.assert_array_equal(decode_image(encoded(dark, "PNG")), dark)


def test_a_small_frame_in_a_large_black_canvas_is_read():
    canvas = np.zeros((1080, 1920, 3), np.uint8)
    canvas[400:520, 800:960] = FRAME  # 0.9 % of the pixels
    np.testing.assert_array_equal(decode_image(encoded(canvas, "PNG")), canvas)


@pytest.mark.data
def test_every_real_frame_is_read_and_so_is_it_at_an_eighth_of_its_light(real_data):
    for path in sorted(real_data.glob("*/images/*"))[::60]:
        image = read_image(path)
        decode_image(encoded(image // 8, "PNG"), str(path))


# --- several pictures in a file, and which way up --------------------------------------------------------------------


def test_a_phones_photo_is_its_first_picture_and_that_is_noted(tmp_path):
    path = tmp_path / "IMG_0001.JPG"
    small = PillowImage.fromarray(FRAME[::4, ::4].copy())
    PillowImage.fromarray(FRAME).save(path, "MPO", save_all=True, append_images=[small])
    image, note = read_noted(path)
    assert note == f"{path}: holds 2 pictures; the first one was read"
    assert np.abs(image.astype(int) - FRAME).mean() < 6
    path.write_bytes(encoded(FRAME, "JPEG"))
    assert read_noted(path)[1] == ""


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
def test_image_mask_and_map_lie_on_each_other_whatever_turns_them(tmp_path, orientation, kind):
    grey = np.zeros((48, 80), np.uint8)
    grey[8:24, 16:56] = 255
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind in ("JPEG", "AVIF") else {}
    path = tmp_path / f"turned.{kind.lower()}"
    PillowImage.fromarray(np.dstack([grey] * 3)).save(path, kind, exif=exif, **options)
    upright = {1: grey, 2: grey[:, ::-1], 3: grey[::-1, ::-1], 4: grey[::-1], 5: grey.T, 6: np.rot90(grey, -1),
               7: grey[::-1, ::-1].T, 8: np.rot90(grey)}[orientation] > 127  # fmt: skip
    np.testing.assert_array_equal(read_image(path)[..., 0] > 127, upright)
    np.testing.assert_array_equal(read_mask(path), upright)
    np.testing.assert_array_equal(read_grey(path) > 127, upright)
    assert image_size(path) == upright.shape


def test_the_path_of_a_folder_is_no_image(tmp_path):
    (tmp_path / "a.jpg").mkdir()
    with pytest.raises(ImageError, match=r"a\.jpg: cannot read the file: Is a directory"):
        read_image(Path(tmp_path / "a.jpg"))


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("ending", ["ppm", "jp2", "tif", "png"])
def test_values_that_do_not_fill_sixteen_bits_are_refused_in_every_format(tmp_path, bits, ending):
    rgb = frame(np.random.default_rng(bits)).astype(float)
    path = tmp_path / f"deep.{ending}"
    cv2.imwrite(str(path), np.rint(rgb / 255 * (2**bits - 1)).astype(np.uint16))
    with pytest.raises(ImageError, match=r"\(nearly\) black, .*10- or 12-bit values\? Scale them"):
        read_image(path)
    cv2.imwrite(str(path), (rgb * 257).astype(np.uint16))
    assert read_image(path).max() > 100
