"""Damaged files are refused, not filled up: JPEG by its decoder's warnings, PNG by its check sums."""

import io
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.errors import ImageError
from polypseg.preprocess import decode_image, open_pages, read_image, read_mask, read_page
from preprocess.odd_files import (
    JPEG_DAMAGE,
    encoded,
    flipped_bits,
    frame,
    odd_contents,
    overwritten,
    polyp,
    scan_start,
)


def _accepted_difference(whole: bytes, damaged: bytes) -> float | None:
    """Mean difference of an accepted image to the intact one, 0 to 1; None where it was refused."""
    try:
        found = decode_image(damaged)
    except ImageError:
        return None
    intact = decode_image(whole)
    return 1.0 if found.shape != intact.shape else float(np.abs(found.astype(int) - intact).mean() / 255)


@pytest.mark.parametrize("damage", JPEG_DAMAGE)
@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}, {"quality": 95, "subsampling": 0}])
def test_damaged_jpegs_are_refused_or_hardly_changed(damage, options):
    rng = np.random.default_rng(7)
    for _ in range(12):  # 12 of 5 damages and 4 kinds: 240 files
        whole = encoded(frame(rng), "JPEG", **options)
        difference = _accepted_difference(whole, damage(whole, rng))
        assert difference is None or difference <= 0.01, damage.__name__


@pytest.mark.parametrize("options", [{"progressive": True}, {"progressive": True, "subsampling": 0}])
def test_a_jpeg_that_ends_between_two_scans_is_refused(options):
    # Its decoder warns of nothing: each scan is whole, and shows the picture more finely than the one before.
    whole = encoded(frame(np.random.default_rng(6)), "JPEG", **options)
    scans = [found.start() for found in re.finditer(b"\xff\xda", whole)]
    assert len(scans) > 6
    for place in scans[-4:]:
        with pytest.raises(ImageError, match=r"the image is cut short .scans are missing"):
            decode_image(whole[:place] + b"\xff\xd9")
    assert decode_image(whole).shape == (120, 160, 3)


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_a_second_half_of_zeros_is_refused(kind):
    whole = encoded(frame(np.random.default_rng(8)), kind)
    half = whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2)
    with pytest.raises(ImageError, match=r"the image is cut short .it ends in zeros"):
        decode_image(half)
    np.testing.assert_array_equal(decode_image(whole + bytes(4096)), decode_image(whole))  # a disk's block, filled up


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_damaged_jpeg_in_a_tiff_is_refused(tmp_path, mode):
    picture = PillowImage.fromarray(frame(np.random.default_rng(9))).convert(mode)
    pages = {"save_all": True, "append_images": [picture]}
    for options in ({}, pages):
        whole = encoded(picture, "TIFF", compression="jpeg", **options)
        with PillowImage.open(io.BytesIO(whole)) as opened:
            place = opened.tag_v2[273][0] + opened.tag_v2[279][0] // 2
        path = tmp_path / "page.tif"
        path.write_bytes(whole)
        with open_pages(path, "page.tif") as opened:
            assert read_page(opened, 0, "page.tif").shape == (120, 160, 3)
        path.write_bytes(whole[:place] + bytes(200) + whole[place + 200 :])
        with open_pages(path, "page.tif") as opened, pytest.raises(ImageError, match=r"page\.tif: the image is"):
            read_page(opened, 0, "page.tif")


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_half_scan_with_an_end_mark_is_refused_in_every_mode(mode):
    whole = encoded(PillowImage.fromarray(frame(np.random.default_rng(0))).convert(mode), "JPEG")
    half = whole[: (scan_start(whole) + len(whole)) // 2] + b"\xff\xd9"
    with pytest.raises(ImageError, match=r"frame: the image is cut short .*premature end of data segment"):
        decode_image(half, "frame")


def test_a_damaged_jpeg_prints_nothing(tmp_path):
    whole = encoded(frame(np.random.default_rng(0)), "JPEG")
    (tmp_path / "half.jpg").write_bytes(whole[: (scan_start(whole) + len(whole)) // 2] + b"\xff\xd9")
    code = f"import polypseg.preprocess as p\ntry: p.read_image({str(tmp_path / 'half.jpg')!r})\nexcept Exception: pass"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_what_lies_behind_the_end_of_a_jpeg_does_not_matter():
    image = frame(np.random.default_rng(1))
    whole = encoded(image, "JPEG")
    for more in (b"\0" * 20, b"maker's notes", whole):
        np.testing.assert_array_equal(decode_image(whole + more), decode_image(whole))


def test_a_jpeg_has_opencvs_pixels():
    whole = encoded(frame(np.random.default_rng(2), 530, 622), "JPEG", quality=85)
    decoded = cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    np.testing.assert_array_equal(decode_image(whole), decoded[..., ::-1])


@pytest.mark.parametrize("damage", [flipped_bits, overwritten])
def test_damaged_pngs_are_refused_or_whole(damage):
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(60):
        image = frame(rng)
        whole = encoded(image, "PNG")
        difference = _accepted_difference(whole, damage(whole, rng))
        refused += difference is None
        assert difference in (None, 0.0)
    assert refused > 50  # what was accepted was hit in a chunk that says nothing of the pixels


def test_png_whose_check_sum_alone_is_wrong():
    whole = encoded(frame(np.random.default_rng(4)), "PNG")
    place = whole.rindex(b"IDAT")
    length = int.from_bytes(whole[place - 4 : place])
    changed = bytearray(whole)
    changed[place + 4 + length] ^= 1
    with pytest.raises(ImageError, match=r"the image is damaged .wrong check sum in IDAT.; copy or download it again"):
        decode_image(bytes(changed))


def test_png_without_its_end_mark():
    whole = encoded(frame(np.random.default_rng(5)), "PNG")
    with pytest.raises(ImageError, match="the image is cut short"):
        decode_image(whole[: whole.rindex(b"IEND") - 4])


def _feed(folder: Path, count: int, seed: int) -> tuple[int, int]:
    """How many odd files were read as images and as masks; anything but an ImageError fails."""
    num_images = num_masks = 0
    for name, content in odd_contents(seed, count):
        path = folder / name
        path.write_bytes(content)
        image, mask = _result(read_image, path), _result(read_mask, path)
        for found in (image, mask):
            assert isinstance(found, np.ndarray) or (name in found and "\n" not in found)
        num_images += isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
        num_masks += isinstance(mask, np.ndarray) and mask.dtype == np.bool_
    return num_images, num_masks


def _result(read, path):
    """What a file gives, or the message that refuses it."""
    try:
        return read(path)
    except ImageError as error:
        return str(error)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of some damages and reads on
def test_odd_files_are_read_or_refused_in_one_line(tmp_path):
    num_images, _ = _feed(tmp_path, 180, seed=0)
    assert 20 < num_images < 150


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_many_odd_files_are_read_or_refused_in_one_line(tmp_path):
    num_images, _ = _feed(tmp_path, 2000, seed=1)
    assert 200 < num_images < 1700


@pytest.mark.slow
def test_what_no_decoder_can_know_of_a_jpeg():
    # A changed bit may be another valid brightness. So many of these are read with other pixels: on record, no promise.
    rng = np.random.default_rng(11)
    differences = []
    for _ in range(200):
        whole = encoded(frame(rng), "JPEG")
        first = scan_start(whole)
        damaged = whole[:first] + flipped_bits(whole[first:-2], rng, 1) + whole[-2:]
        differences.append(_accepted_difference(whole, damaged))
    changed = sum(difference is not None and difference > 0.01 for difference in differences)
    assert changed < 100


def test_read_mask_of_a_damaged_jpeg(tmp_path):
    mask = polyp(np.random.default_rng(0)).astype(np.uint8) * 255
    whole = encoded(mask, "JPEG", quality=95)
    (tmp_path / "mask.jpg").write_bytes(whole[: (scan_start(whole) + len(whole)) // 2] + b"\xff\xd9")
    with pytest.raises(ImageError, match=r"mask\.jpg: the image is cut short"):
        read_mask(tmp_path / "mask.jpg")


def test_bytes_of_no_image(tmp_path):
    for content in (b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"RIFF\0\0\0\0WEBP", b"BM"):
        with pytest.raises(ImageError):
            decode_image(content)


def _with_odd_header(whole: bytes, how: str) -> bytes:
    """A JPEG whose header has what its decoder warns of, though no pixel changes."""
    if how == "revision":
        return whole[:11] + b"\x03" + whole[12:]  # JFIF 3.1
    if how == "parameters":
        place = whole.index(b"\xff\xda")
        last = place + 2 + int.from_bytes(whole[place + 2 : place + 4])
        return whole[: last - 3] + b"\x00\x00\x00" + whole[last:]
    return whole[:20] + b"\xff\xe1\x00\x08Exif\x00\x00" + b"II*\x00lost" + whole[20:]  # a note that is too short


@pytest.mark.parametrize("how", ["revision", "parameters", "note"])
def test_an_odd_header_is_read_and_hides_no_damage_of_the_pixels(how):
    whole = encoded(frame(np.random.default_rng(10)), "JPEG", quality=90)
    assert whole[6:11] == b"JFIF\x00"
    odd = _with_odd_header(whole, how)
    np.testing.assert_array_equal(decode_image(odd), decode_image(whole))
    place = (scan_start(odd) + len(odd)) // 2
    with pytest.raises(ImageError, match="the image is cut short"):
        decode_image(odd[:place] + b"\xff\xd9")


def test_bytes_between_segments_that_hold_tables_are_a_damage():
    whole = encoded(frame(np.random.default_rng(11)), "JPEG", quality=90)
    place = whole.index(b"\xff\xc0")  # behind the quantisation tables
    with pytest.raises(ImageError, match="extraneous bytes"):
        decode_image(whole[:place] + b"\x00" * 40 + whole[place:])


def test_a_cut_avif_is_no_video():
    whole = encoded(frame(np.random.default_rng(12)), "AVIF")
    with pytest.raises(ImageError, match="a damaged AVIF picture; copy or download it again"):
        decode_image(whole[: len(whole) // 2])
