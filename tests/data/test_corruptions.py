import cv2
import numpy as np
import pytest

from polypseg.data.corruptions import CORRUPTIONS, STRENGTHS, WHOLE_FRAME, corrupt
from polypseg.data.synthetic import synthetic_image
from polypseg.errors import UsageError


@pytest.fixture(scope="module")
def image():
    """A frame with a black surround of 8 pixels."""
    inside, _ = synthetic_image(np.random.default_rng(4), (80, 112))
    inside = np.maximum(inside, 30)
    return cv2.copyMakeBorder(inside, 8, 8, 8, 8, cv2.BORDER_CONSTANT)


def test_there_are_fifteen():
    assert len(CORRUPTIONS) == 15


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_same_name_same_pixels_more_strength_more_change(name, image):
    levels = [corrupt(image, name, strength, "frame 7") for strength in STRENGTHS]
    again = corrupt(image, name, 3, "frame 7")
    assert np.array_equal(levels[2], again)
    assert all(level.shape == image.shape and level.dtype == np.uint8 for level in levels)
    changes = [np.abs(level.astype(float) - image).mean() for level in levels]
    assert changes[0] > 0.2
    if name == "overlays":  # one may lie on another, so that colours come nearer again
        changes = [np.count_nonzero((level != image).any(axis=-1)) for level in levels]
    assert all(np.diff(changes) > 0), changes
    if name not in WHOLE_FRAME:
        assert all(np.abs(level[:6].astype(int) - image[:6]).max() <= 1 for level in levels)  # the surround


@pytest.mark.parametrize("name", ["motion-blur", "bubbles", "stool", "smoke", "noise", "exposure", "colour-cast"])
def test_another_image_is_disturbed_elsewhere(name, image):
    drawn = {corrupt(image, name, 3, f"frame {number}").tobytes() for number in range(6)}
    assert len(drawn) > 1


def test_exposure_by_hand():
    # Strength 5 is three stops. Grey 128 has the linear value (128/255)^2.2 = 0.2195; up: above 1, white;
    # down: 0.2195 / 8 = 0.02744, and 0.02744^(1/2.2) = 0.195, level 50.
    grey = np.full((32, 32, 3), 128, np.uint8)
    seen = {int(corrupt(grey, "exposure", 5, str(number))[16, 16, 0]) for number in range(12)}
    assert seen == {255, 50}


def test_interlacing_by_hand():
    # 32 pixels: strength 5 shifts odd lines by 2, one way or the other; even lines stay.
    lines = np.zeros((32, 32, 3), np.uint8)
    lines[:, 16] = 200
    torn = corrupt(lines, "interlacing", 5, "x")
    assert np.array_equal(torn[::2], lines[::2])
    assert set(np.flatnonzero(torn[1, :, 0])) in ({14}, {18})


def test_narrow_band_by_hand():
    # Strength 5 gives the narrow band alone: red 0.75·g + 0.05·r, green 0.35·g + 0.75·b, blue 0.3·g + 0.8·b.
    colour = np.full((32, 32, 3), (200, 100, 80), np.uint8)
    assert corrupt(colour, "narrow-band", 5, "x")[5, 5].tolist() == [85, 95, 94]


def test_any_size():
    for size in ((17, 23), (256, 16), (31, 200)):
        frame = np.full((*size, 3), 120, np.uint8)
        for name in CORRUPTIONS:
            assert corrupt(frame, name, 5, "x").shape == frame.shape


def test_odd_calls(image):
    with pytest.raises(UsageError, match="unknown corruption 'fog'"):
        corrupt(image, "fog", 1, "x")
    with pytest.raises(UsageError, match="strength 6: expected 1 to 5"):
        corrupt(image, "smoke", 6, "x")


def test_a_dark_lumen_is_part_of_the_picture():
    # A black surround of 6 px, a grey picture, a black lumen: smoke lies over the lumen, not over the surround.
    frame = np.zeros((96, 96, 3), np.uint8)
    frame[6:90, 6:90] = 120
    frame[40:60, 40:60] = 0
    smoky = corrupt(frame, "smoke", 5, "x")
    assert smoky[50, 50].min() > 20
    assert smoky[:5].max() == 0
