"""Rare kinds of files are read as they are, or refused in one line; what means something else is never a guess."""

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import TiffImagePlugin as PillowTiff

from polypseg.errors import ImageError
from polypseg.preprocess import MaskRule, read_image, read_map, read_mask
from polypseg.preprocess.reading import open_pages, read_page
from preprocess.odd_files import encoded, frame, polyp
from preprocess.rare_files import Rare, chunk, packed, palette, png, rare_files, tiff, unfiltered

RARE = list(rare_files(np.random.default_rng(11)))


@pytest.mark.parametrize("rare", RARE, ids=[rare.kind for rare in RARE])
def test_rare_files_are_true_or_refused(tmp_path, rare: Rare):
    path = tmp_path / f"rare.{rare.ending}"
    path.write_bytes(rare.content)
    if rare.truth is None:
        with pytest.raises(ImageError, match=r"^[^\n]*rare\.[^\n]*$"):
            read_image(path)
        with pytest.raises(ImageError):
            read_mask(path)
        if "12 bits" not in rare.kind:  # a dark map is judged by its folder (evaluate/foreign.py)
            with pytest.raises(ImageError):
                read_map(path)
        return
    found = read_image(path)
    assert found.shape == rare.truth.shape
    assert np.abs(found.astype(int) - rare.truth).max() <= 1  # of 255: 16 bits and other whites are rounded


@pytest.mark.parametrize(
    ("bits", "channels", "colours", "more", "message"),
    [(16, 1, 0, {}, "white is 0"), (8, 3, 8, {}, "CIELab"), (16, 1, 1, {339: 2}, "values that have a sign")],
)
def test_a_page_is_held_to_the_same_rule(tmp_path, bits, channels, colours, more, message):
    stored = np.arange(40 * 50, dtype="<u2").tobytes() * 2
    path = tmp_path / "pages.tif"
    path.write_bytes(tiff(stored[: 40 * 50 * channels * bits // 8], (40, 50), bits, channels, colours, more))
    with open_pages(path, "pages") as opened, pytest.raises(ImageError, match=message):
        read_page(opened, 0, "page 1")


@pytest.mark.parametrize("kind", [1, 2, 7])
def test_a_turn_in_the_xmp_of_a_tiff_is_found_however_it_is_stored(tmp_path, kind):
    """As bytes (1), as text (2), of which Pillow cannot read it, as what has no type (7)."""
    note = b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="8"/>'
    entries = PillowTiff.ImageFileDirectory_v2()
    entries.tagtype[700] = kind
    entries[700] = note.decode() if kind == 2 else note
    path = tmp_path / "noted.tif"
    PillowImage.fromarray(frame(np.random.default_rng(0), 40, 50)).save(path, tiffinfo=entries)
    told = "cannot be decoded" if kind == 2 else r"its XMP asks for a turn \(orientation 8\)"
    with pytest.raises(ImageError, match=rf"^\S+noted\.tif: {told}[^\n]*$"):
        read_image(path)


MASK = polyp(np.random.default_rng(3), 72, 104)
SECOND = np.roll(MASK, (20, 30), (0, 1)) & ~MASK


def deep_png(*values: int) -> bytes:
    """Three equal channels of 16 bits: background, a polyp, another one."""
    levels = np.zeros(MASK.shape, np.uint16)
    levels[MASK] = values[0]
    levels[SECOND] = values[-1] if len(values) > 1 else 0
    return bytes(cv2.imencode(".png", np.repeat(levels[..., None], 3, 2))[1])


@pytest.mark.parametrize("values", [(1,), (255,), (1, 255), (256, 300), (65535, 65280)])
def test_values_that_16_bits_tell_apart_and_8_do_not_are_refused(tmp_path, values):
    """Pillow keeps the upper 8 bits: 1 and 255 become 0, and 300 = 256 + 44 becomes 1 as 256 does."""
    path = tmp_path / "deep.png"
    path.write_bytes(deep_png(*values))
    for read in (read_mask, read_map):
        with pytest.raises(ImageError, match="16 bits a channel, values that differ become equal in 8 bits"):
            read(path)


@pytest.mark.parametrize("value", [256, 40000, 65535])
def test_two_values_of_16_bits_in_colours_are_a_mask(tmp_path, value):
    path = tmp_path / "deep.png"
    path.write_bytes(deep_png(value))
    assert np.array_equal(read_mask(path), MASK)


def layers(colours: np.ndarray, alpha: np.ndarray) -> bytes:
    return encoded(np.dstack([colours, alpha]).astype(np.uint8), "PNG")


WHITE = np.repeat(MASK[..., None] * 255, 3, 2)


@pytest.mark.parametrize(
    ("colours", "alpha"),
    [
        pytest.param(WHITE, MASK * 255 + SECOND * 100, id="a second polyp that is black in colour"),
        pytest.param(
            WHITE + SECOND[..., None] * 255, MASK * 255 + SECOND * 100, id="a second polyp that is half there"
        ),
        pytest.param(WHITE, 255 - SECOND * 255, id="a hole in the background"),
    ],
)
def test_levels_of_alpha_that_the_colours_do_not_tell_apart_are_refused(tmp_path, colours, alpha):
    path = tmp_path / "layers.png"
    path.write_bytes(layers(colours, alpha))
    with pytest.raises(ImageError, match="alpha has levels that the colours do not tell apart"):
        read_mask(path)
    assert np.array_equal(read_mask(path, MaskRule(channel="red")), colours[..., 0] > 0)


def test_alpha_that_follows_the_colours_is_read(tmp_path):
    """Of one level within the polyp and one around it; a smooth edge of two pixels is no third level."""
    soft = cv2.blur(MASK.astype(np.uint8) * 255, (3, 3))
    for alpha in (np.where(MASK, 128, 255), np.where(MASK, 255, 0), np.where(MASK, soft, 0)):
        path = tmp_path / "layers.png"
        path.write_bytes(layers(WHITE, alpha))
        assert np.array_equal(read_mask(path), MASK)


def test_a_number_beyond_the_palette_of_a_mask_is_a_damage(tmp_path):
    """Pillow draws number 2 black: a polyp would be lost."""
    numbers = (MASK + 2 * SECOND).astype(np.uint8)
    path = tmp_path / "mask.png"
    path.write_bytes(png(unfiltered(numbers), MASK.shape, 8, 3, palette((0, 0, 0), (255, 255, 255))))
    with pytest.raises(ImageError, match="a pixel of number 2, its palette holds 2 colours"):
        read_mask(path)
    with pytest.raises(ImageError, match="its palette holds 2 colours"):
        read_mask(path, MaskRule(values=(1,)))


def test_missing_rows_of_a_mask_are_told(tmp_path):
    """18 of 72 rows are there, each of 104 bytes and one for its filter: 1,890 of 7,560."""
    path = tmp_path / "mask.png"
    path.write_bytes(png(unfiltered(MASK.astype(np.uint8)[:18] * 255), MASK.shape, 8, 0))
    with pytest.raises(ImageError, match="cut short \\(1,890 of 7,560 bytes of pixels\\)"):
        read_mask(path)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_whole_masks_of_every_depth_are_counted_right(tmp_path, bits):
    """A width that is no multiple of eight: rows end within a byte."""
    mask, path = MASK[:, :101], tmp_path / "mask.png"
    values = mask.astype(int) * (2**bits - 1)
    rows = b"".join(b"\0" + packed(values[number : number + 1], bits) for number in range(len(values)))
    path.write_bytes(png(rows, mask.shape, bits, 0))
    assert path.read_bytes()[24] == bits
    assert np.array_equal(read_mask(path), mask)


def test_a_mask_with_a_sign_is_two_values_as_any_other(tmp_path):
    """As NumPy's usual whole numbers are stored."""
    path = tmp_path / "mask.tif"
    path.write_bytes(tiff(MASK.astype("<i2").tobytes(), MASK.shape, 16, 1, 1, {339: 2}))
    assert np.array_equal(read_mask(path), MASK)


def test_chunks_that_say_nothing_of_the_pixels_do_not_matter(tmp_path):
    rows = unfiltered(MASK.astype(np.uint8) * 255)
    path = tmp_path / "mask.png"
    path.write_bytes(png(rows, MASK.shape, 8, 0, chunk(b"tEXt", b"Title\0a mask") + chunk(b"pHYs", bytes(9))))
    assert np.array_equal(read_mask(path), MASK)
