"""Reading every kind of file that a colonoscopy folder may hold, and the way to the model and back."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as PillowImage

from polypseg import preprocess
from polypseg.errors import ImageError
from polypseg.preprocess import (
    decode_image,
    image_size,
    normalise,
    num_pages,
    open_pages,
    read_grey,
    read_image,
    read_mask,
    read_page,
    resize_image,
    resize_mask,
    restore,
)

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
CORNERS = np.array([[RED, GREEN], [BLUE, WHITE]], np.uint8)  # 2x2: each corner has a colour of its own


def _blocks(rows: int = 16, columns: int = 24) -> np.ndarray:
    """The four colours in blocks of rows x columns pixels, so that lossy files keep them."""
    return np.repeat(np.repeat(CORNERS, rows, 0), columns, 1)


def _encoded(image: np.ndarray | PillowImage.Image, kind: str, **options: object) -> bytes:
    stored = io.BytesIO()
    picture = PillowImage.fromarray(image) if isinstance(image, np.ndarray) else image
    picture.save(stored, kind, **options)
    return stored.getvalue()


def _exif(orientation: int) -> PillowImage.Exif:
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("TIFF", {"compression": "tiff_deflate"}, 0),
        ("JPEG", {"quality": 100, "subsampling": 0}, 3),
        ("JPEG", {"quality": 90, "progressive": True, "subsampling": 0}, 12),
    ],
)
def test_read_image_kinds_of_file(tmp_path: Path, kind: str, options: dict, tolerance: int) -> None:
    path = tmp_path / "image"
    path.write_bytes(_encoded(_blocks(), kind, **options))
    image = read_image(path)
    assert image.shape == (32, 48, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - _blocks()).max() <= tolerance
    np.testing.assert_array_equal(decode_image(path.read_bytes()), image)


def test_decode_image_grey_becomes_three_equal_channels() -> None:
    grey = np.array([[0, 100], [200, 255]], np.uint8)
    np.testing.assert_array_equal(decode_image(_encoded(grey, "PNG")), np.stack([grey] * 3, -1))


def test_decode_image_black_and_white_of_one_bit() -> None:
    image = decode_image(_encoded(PillowImage.fromarray(np.array([[0, 255]], np.uint8)).convert("1"), "PNG"))
    assert image.tolist() == [[[0, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_decode_image_palette(kind: str) -> None:
    palette = PillowImage.fromarray(CORNERS).convert("P", palette=PillowImage.Palette.ADAPTIVE, colors=4)
    np.testing.assert_array_equal(decode_image(_encoded(palette, kind)), CORNERS)


def test_decode_image_palette_with_a_transparent_colour() -> None:
    palette = PillowImage.new("P", (2, 1))
    palette.putpalette([*RED, *BLUE])
    palette.putpixel((1, 0), 1)
    image = decode_image(_encoded(palette, "PNG", transparency=1))
    assert image.tolist() == [[list(RED), [0, 0, 0]]]  # what is transparent lies on black


def test_decode_image_alpha_is_laid_on_black() -> None:
    layered = np.array([[[255, 0, 0, 255], [0, 255, 0, 0], [200, 100, 50, 128]]], np.uint8)
    image = decode_image(_encoded(layered, "PNG"))
    # 128/255 of (200, 100, 50) over black: (100.4, 50.2, 25.1).
    assert image.tolist() == [[[255, 0, 0], [0, 0, 0], [100, 50, 25]]]


def test_decode_image_grey_with_alpha() -> None:
    layered = np.array([[[255, 255], [255, 0]]], np.uint8)
    image = decode_image(_encoded(PillowImage.fromarray(layered, "LA"), "PNG"))
    assert image[..., 0].tolist() == [[255, 0]]


def test_decode_image_cmyk() -> None:
    cmyk = PillowImage.fromarray(_blocks()).convert("CMYK")
    image = decode_image(_encoded(cmyk, "JPEG", quality=100, subsampling=0))
    assert np.abs(image.astype(int) - _blocks()).max() <= 6


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_decode_image_sixteen_bit_is_scaled_not_clipped(kind: str) -> None:
    deep = np.array([[0, 257, 32896, 65535]], np.uint16)  # 257 x (0, 1, 128, 255)
    assert decode_image(_encoded(deep, kind))[..., 0].tolist() == [[0, 1, 128, 255]]


@pytest.mark.parametrize("highest", [1, 255, 256])
def test_read_grey_eight_bit_values_in_a_sixteen_bit_file_do_not_turn_black(tmp_path: Path, highest: int) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(_encoded(np.array([[0, highest]], np.uint16), "PNG"))
    with pytest.raises(ImageError, match=rf"values from 0 to {highest}; expected 16 bit, .*store it as 8 bit"):
        read_grey(path)


def test_read_grey_black_sixteen_bit_file_is_black(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(_encoded(np.zeros((2, 2), np.uint16), "PNG"))
    assert not read_mask(path).any()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0.0, 1.0]], np.float32), "floating-point values; expected 8 or 16 bit"),
        (np.array([[0, 1]], np.int32), "values from 0 to 1"),
        (np.array([[0, 70_000]], np.int32), "values from 0 to 70000"),
        (np.array([[-5, 60_000]], np.int32), "values from -5 to 60000"),
    ],
)
def test_decode_image_deeper_files_are_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        decode_image(_encoded(values, "TIFF"))


# Where the red, green, blue and white corner of the stored file are shown, row by row (EXIF 2.3, tag 0x0112).
UPRIGHT = {
    1: [RED, GREEN, BLUE, WHITE],
    2: [GREEN, RED, WHITE, BLUE],  # mirrored
    3: [WHITE, BLUE, GREEN, RED],  # turned around
    4: [BLUE, WHITE, RED, GREEN],  # upside down
    5: [RED, BLUE, GREEN, WHITE],  # transposed
    6: [BLUE, RED, WHITE, GREEN],  # to be turned right
    7: [WHITE, GREEN, BLUE, RED],  # transposed along the other diagonal
    8: [GREEN, WHITE, RED, BLUE],  # to be turned left
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_read_image_is_upright(tmp_path: Path, kind: str, orientation: int) -> None:
    path = tmp_path / "image"
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    path.write_bytes(_encoded(_blocks(), kind, exif=_exif(orientation), **options))
    image = read_image(path)
    rows, columns = (32, 48) if orientation < 5 else (48, 32)
    assert image.shape == (rows, columns, 3)
    assert image_size(path) == (rows, columns)
    shown = [image[row, column] for row in (rows // 4, 3 * rows // 4) for column in (columns // 4, 3 * columns // 4)]
    np.testing.assert_allclose(np.array(shown, int), UPRIGHT[orientation], atol=4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_read_mask_is_turned_as_the_image_is(tmp_path: Path, orientation: int) -> None:
    stored = _blocks()[..., 0]  # white where red or white: 255 or 0
    (tmp_path / "mask.png").write_bytes(_encoded(stored, "PNG", exif=_exif(orientation)))
    (tmp_path / "image.png").write_bytes(_encoded(_blocks(), "PNG", exif=_exif(orientation)))
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), read_image(tmp_path / "image.png")[..., 0] > 127)


def test_read_image_of_one_pixel(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    path.write_bytes(_encoded(np.array([[RED]], np.uint8), "PNG"))
    assert read_image(path).tolist() == [[list(RED)]]
    assert image_size(path) == (1, 1)


def test_read_image_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"absent\.png: cannot read the file: No such file"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="cannot read the file"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match=r"absent\.png: no such file"):
        image_size(tmp_path / "absent.png")


def test_read_image_of_zero_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match=r"empty.jpg: the file is empty \(0 bytes\); expected an image"):
        read_image(tmp_path / "empty.jpg")


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"GIF89a", b"\x00" * 100])
def test_read_image_what_is_no_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "page.jpg").write_bytes(content)
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=r"page\.jpg: not an image that can be read"):
            read(tmp_path / "page.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_decode_image_cut_short_is_not_repaired(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    whole = _encoded(noise, kind)
    with pytest.raises(ImageError, match=r"frame\.jpg: "):
        decode_image(whole[: int(share * len(whole))], "frame.jpg")


def test_decode_image_truncated_jpeg_says_so() -> None:
    whole = _encoded(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8), "JPEG")
    with pytest.raises(ImageError, match=r"the image is cut short .*copy or download it again"):
        decode_image(whole[:-200])


@pytest.mark.filterwarnings("ignore")  # Pillow warns of some damages and reads on
@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "TIFF", "BMP"]),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=8),
    end=st.integers(1, 400),
)
def test_decode_image_damage_is_an_image_error_or_an_image(kind: str, changes: list[tuple[int, int]], end: int) -> None:
    content = bytearray(_encoded(_blocks(4, 4), kind))[:end]
    for place, value in changes:
        content[place % len(content)] = value
    try:
        image = decode_image(bytes(content))
    except ImageError:
        return
    assert image.ndim == 3
    assert image.dtype == np.uint8


def test_read_image_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(_encoded(PillowImage.new("1", (9000, 8000)), "PNG"))  # 72 million pixels in 9 KB
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(PillowImage.Image, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="8000x9000 pixels are more than the allowed 64,000,000"):
        read_image(path)


def test_read_image_bound_can_be_set(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(_encoded(_blocks(), "PNG"))
    with pytest.raises(ImageError, match="32x48 pixels are more than the allowed 1,000"):
        read_image(path, max_pixels=1000)
    assert read_image(path, max_pixels=32 * 48).shape == (32, 48, 3)


def test_read_image_bomb_beyond_pillows_own_bound(tmp_path: Path) -> None:
    # A header of 60000 x 60000 pixels: Pillow itself raises there.
    content = bytearray(_encoded(PillowImage.new("L", (1, 1)), "BMP"))
    content[18:22] = content[22:26] = (60_000).to_bytes(4, "little")
    (tmp_path / "bomb.bmp").write_bytes(content)
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=r"bomb\.bmp: has more pixels than any bound allows: .*decompression bomb"):
            read(tmp_path / "bomb.bmp")


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_read_image_several_frames_are_refused(tmp_path: Path, kind: str) -> None:
    first, second = (PillowImage.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
    path = tmp_path / "frames"
    path.write_bytes(_encoded(first, kind, save_all=True, append_images=[second]))
    with pytest.raises(ImageError, match="holds 2 frames; expected one image: split it first"):
        read_image(path)


def _stack(tmp_path: Path) -> Path:
    """A TIFF of three pages of other sizes and colours."""
    pages = [PillowImage.new("RGB", (4 + number, 3), (number, 0, 0)) for number in range(3)]
    path = tmp_path / "stack.tif"
    path.write_bytes(_encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    return path


def test_pages_of_a_tiff_in_any_order(tmp_path: Path) -> None:
    with open_pages(_stack(tmp_path), "stack.tif") as opened:
        assert num_pages(opened, "stack.tif") == 3
        for page in (2, 0, 1, 1):
            image = read_page(opened, page, "stack.tif")
            assert image.shape == (3, 4 + page, 3)
            assert image[0, 0].tolist() == [page, 0, 0]


def test_pages_are_bounded_each(tmp_path: Path) -> None:
    # Pages of 3x4, 3x5 and 3x6 pixels: the bound of 15 lets two of them through.
    with open_pages(_stack(tmp_path), "stack.tif") as opened:
        assert read_page(opened, 1, "stack.tif", max_pixels=15).shape == (3, 5, 3)
        with pytest.raises(ImageError, match=r"stack\.tif: 3x6 pixels are more than the allowed 15"):
            read_page(opened, 2, "stack.tif", max_pixels=15)


def test_pages_beyond_the_last_and_of_what_is_no_image(tmp_path: Path) -> None:
    with open_pages(_stack(tmp_path), "stack.tif") as opened, pytest.raises(ImageError, match=r"stack\.tif: cannot be"):
        read_page(opened, 3, "stack.tif")
    with pytest.raises(ImageError, match=r"text\.tif: not an image"):
        open_pages(io.BytesIO(b"text"), "text.tif")
    with pytest.raises(ImageError, match="no such file"):
        open_pages(tmp_path / "none.tif", "none.tif")


def test_num_pages_of_an_animation_is_one() -> None:
    frames = [PillowImage.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    content = _encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    with open_pages(io.BytesIO(content), "animation.png") as opened:
        assert num_pages(opened, "animation.png") == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_read_page_is_upright_as_read_image_is(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "turned.tif"
    path.write_bytes(_encoded(_blocks(), "TIFF", exif=_exif(orientation)))
    with open_pages(path, "turned.tif") as opened:
        np.testing.assert_array_equal(read_page(opened, 0, "turned.tif"), read_image(path))


def test_read_mask_is_cut_above_127(tmp_path: Path) -> None:
    # A few grey pixels at an edge, as JPEG leaves them: 2 of 400 are 0.5 %.
    grey = np.zeros((20, 20), np.uint8)
    grey[:10] = 255
    grey[10, 0], grey[10, 1] = 127, 128
    path = tmp_path / "mask.png"
    path.write_bytes(_encoded(grey, "PNG"))
    mask = read_mask(path)
    assert mask.dtype == np.bool_
    assert mask.sum() == 201
    assert not mask[10, 0]
    assert mask[10, 1]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "1", "CMYK"])
def test_read_mask_modes(tmp_path: Path, mode: str) -> None:
    expected = np.zeros((16, 24), bool)
    expected[4:12, 6:20] = True
    kind = "TIFF" if mode == "CMYK" else "PNG"
    path = tmp_path / "mask"
    path.write_bytes(_encoded(PillowImage.fromarray(expected.astype(np.uint8) * 255).convert(mode), kind))
    np.testing.assert_array_equal(read_mask(path), expected)


def test_read_mask_jpeg_comes_out_as_it_went_in(tmp_path: Path) -> None:
    expected = np.zeros((64, 96), bool)
    expected[13:43, 21:70] = True
    path = tmp_path / "mask.jpg"
    path.write_bytes(_encoded(np.stack([expected] * 3, -1).astype(np.uint8) * 255, "JPEG", quality=90))
    np.testing.assert_array_equal(read_mask(path), expected)


def test_resize_image_averages_where_it_shrinks() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0] = 100
    assert resize_image(image, (1, 1)).tolist() == [[[25, 25, 25]]]


def test_resize_image_same_size_is_the_image_itself() -> None:
    image = _blocks()
    assert resize_image(image, (32, 48)) is image


def test_resize_mask_needs_half_a_pixel() -> None:
    # 4x4 to 2x2: the quarters hold 4, 2, 1 and 0 of 4 pixels.
    mask = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]], bool)
    assert resize_mask(mask, (2, 2)).tolist() == [[True, True], [False, False]]


@settings(max_examples=60, deadline=None)
@given(
    mask=arrays(np.bool_, st.tuples(st.integers(1, 20), st.integers(1, 20))),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
)
def test_resize_mask_constant_masks_stay_and_sizes_are_right(mask: np.ndarray, height: int, width: int) -> None:
    resized = resize_mask(mask, (height, width))
    assert resized.shape == (height, width)
    assert resized.dtype == np.bool_
    if mask.all() or not mask.any():
        assert (resized == mask.flat[0]).all()


@settings(max_examples=40, deadline=None)
@given(
    mask=arrays(np.bool_, st.tuples(st.integers(2, 12), st.integers(2, 12))),
    factor=st.integers(2, 4),
)
def test_resize_mask_enlarged_by_a_whole_number_and_back_keeps_its_area(mask: np.ndarray, factor: int) -> None:
    enlarged = np.repeat(np.repeat(mask, factor, 0), factor, 1)
    np.testing.assert_array_equal(resize_mask(enlarged, mask.shape), mask)


def test_normalise_is_255_to_one() -> None:
    values = normalise(np.array([0, 51, 255], np.uint8))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [0.0, 0.2, 1.0], atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(
    probability=arrays(
        np.float32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.floats(0, 1, width=32)
    ),
    height=st.integers(1, 50),
    width=st.integers(1, 50),
)
def test_restore_stays_within_what_was_given(probability: np.ndarray, height: int, width: int) -> None:
    restored = restore(probability, (height, width))
    assert restored.shape == (height, width)
    assert restored.dtype == np.float32
    assert probability.min() - 1e-6 <= restored.min()
    assert restored.max() <= probability.max() + 1e-6


def test_restore_is_bilinear_with_pixel_centres() -> None:
    # From 2 to 4 columns the centres lie at -0.25 (edge), 0.25, 0.75, 1.25 (edge) of the old ones.
    restored = restore(np.array([[0.0, 1.0]], np.float32), (1, 4))
    np.testing.assert_allclose(restored, [[0.0, 0.25, 0.75, 1.0]], atol=1e-6)


def test_restore_same_size_keeps_the_values() -> None:
    probability = np.random.default_rng(0).random((3, 5))
    np.testing.assert_allclose(restore(probability, (3, 5)), probability, atol=1e-7)


def test_preprocess_knows_the_endings_in_lower_case_only() -> None:
    assert {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"} < preprocess.IMAGE_SUFFIXES
    assert all(suffix == suffix.lower() for suffix in preprocess.IMAGE_SUFFIXES)


@pytest.mark.data
def test_read_mask_of_every_real_kind(real_data: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data_set in ("kvasir-seg", "cvc-clinicdb"):
            for mask_path in sorted((real_data / data_set / "masks").iterdir())[::50]:
                image_path = next((real_data / data_set / "images").glob(f"{mask_path.stem}.*"))
                mask = read_mask(mask_path)
                assert mask.any()
                assert mask.shape == image_size(image_path) == read_image(image_path).shape[:2]


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 24), (37, 51)])
def test_jpeg_has_pillows_pixels(height, width, subsampling, progressive):
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    content = _encoded(image, "JPEG", quality=80, subsampling=subsampling, progressive=progressive)
    with PillowImage.open(io.BytesIO(content)) as opened:
        np.testing.assert_array_equal(decode_image(content), np.asarray(opened))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpeg_of_other_modes_has_pillows_pixels(mode):
    content = _encoded(PillowImage.fromarray(_blocks()).convert(mode), "JPEG")
    with PillowImage.open(io.BytesIO(content)) as opened:
        np.testing.assert_array_equal(decode_image(content), np.asarray(opened.convert("RGB")))


def test_jpeg_without_its_tables_is_refused_in_one_line():
    content = _encoded(_blocks(), "JPEG")
    with pytest.raises(ImageError, match=r"frame: (cannot be decoded|the image is|not an image)"):
        decode_image(content[:200] + b"\xff\xd9", "frame")  # its tables end early


def test_bound_of_pixels_holds_for_a_plain_jpeg():
    with pytest.raises(ImageError, match="32x48 pixels are more than the allowed 1,535"):
        decode_image(_encoded(_blocks(), "JPEG"), "frame", 32 * 48 - 1)
