"""Overlays: pixels worked out by hand, and colours measured with simulated colour-blind eyes."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from polypseg import overlay as module
from polypseg.errors import DataError, UsageError
from polypseg.overlay import compare_overlay, contour, heat_map, line_width_px, numbered, overlay

GREY = np.full((2, 2, 3), 100, np.uint8)


def test_overlay_blends_masked_pixels_only():
    mask = np.array([[True, False], [False, False]])
    # 0.75 * 100 + 0.25 * (200, 0, 100) = (125, 75, 100)
    result = overlay(GREY, mask, (200, 0, 100), opacity=0.25)
    assert result[0, 0].tolist() == [125, 75, 100]
    assert (result[~mask] == 100).all()
    assert (GREY == 100).all(), "the image that was given is not changed"


def test_overlay_rounds_to_nearest():
    # 0.7 * 100 + 0.3 * 2 = 70.6 -> 71, where cutting off would give 70
    assert overlay(GREY, np.ones((2, 2), bool), (2, 2, 2), opacity=0.3)[0, 0].tolist() == [71, 71, 71]


@given(arrays(np.uint8, (3, 4, 3)), arrays(np.bool_, (3, 4)))
def test_overlay_at_the_ends_of_opacity(image, mask):
    assert (overlay(image, mask, opacity=0.0) == image).all()
    full = overlay(image, mask, (1, 2, 3), opacity=1.0)
    assert (full == np.where(mask[..., None], np.array([1, 2, 3], np.uint8), image)).all()


def test_compare_overlay_gives_each_kind_of_pixel_its_colour():
    predicted = np.array([[True, True], [False, False]])
    reference = np.array([[True, False], [True, False]])
    result = compare_overlay(GREY, predicted, reference, opacity=0.5)
    # half of 100 plus half of the colour
    assert result[0, 0].tolist() == [93, 140, 166]  # found: (86, 180, 233) -> 93, 140, 166.5 (to even: 166)
    assert result[0, 1].tolist() == [170, 164, 83]  # false alarm: (240, 228, 66)
    assert result[1, 0].tolist() == [50, 70, 120]  # missed: (0, 40, 140)
    assert result[1, 1].tolist() == [100, 100, 100]


def test_compare_overlay_takes_predicted_first():
    everything, nothing = np.ones((2, 2), bool), np.zeros((2, 2), bool)
    assert compare_overlay(GREY, everything, nothing, 1.0)[0, 0].tolist() == list(module.FALSE_POSITIVE)
    assert compare_overlay(GREY, nothing, everything, 1.0)[0, 0].tolist() == list(module.FALSE_NEGATIVE)


def test_contour_of_a_square_is_its_inner_rim():
    mask = np.zeros((7, 7), bool)
    mask[1:6, 1:6] = True
    rim = mask.copy()
    rim[2:5, 2:5] = False  # the 5x5 square without its 3x3 inside: 16 pixels
    drawn = contour(np.zeros((7, 7, 3), np.uint8), mask, (9, 8, 7), width_px=1)
    assert ((drawn == (9, 8, 7)).all(-1) == rim).all()
    rim[2:5, 2:5] = True
    rim[3, 3] = False  # two pixels wide: only the middle is left
    drawn = contour(np.zeros((7, 7, 3), np.uint8), mask, (9, 8, 7), width_px=2)
    assert ((drawn == (9, 8, 7)).all(-1) == rim).all()


def test_contour_closes_along_the_edge_of_the_image():
    drawn = contour(np.zeros((3, 3, 3), np.uint8), np.ones((3, 3), bool), (255, 0, 0), width_px=1)
    # every pixel but the middle one touches the edge
    assert (drawn[..., 0] == 255).sum() == 8
    assert drawn[1, 1, 0] == 0


@given(arrays(np.bool_, (6, 5)), st.integers(1, 3))
def test_contour_stays_within_the_mask_and_grows_with_its_width(mask, width):
    black = np.zeros((6, 5, 3), np.uint8)
    thin, thick = (contour(black, mask, (255, 255, 255), w)[..., 0] > 0 for w in (width, width + 1))
    assert not (thick & ~mask).any()
    assert not (thin & ~thick).any()


def test_line_width_follows_the_longer_side():
    assert line_width_px((100, 1000)) == 8
    assert line_width_px((1000, 100)) == 8


def test_heat_map_blends_grey_and_colour():
    image = np.zeros((1, 2, 3), np.uint8)
    image[0, :] = (255, 0, 0)  # luma 0.299 * 255 = 76.2 -> 76
    result = heat_map(image, np.array([[0.0, 1.0]], np.float32), opacity=0.5)
    low, high = (module.HEAT_COLOURS[i].astype(float) for i in (0, 255))
    assert np.abs(result[0, 0] - (38 + low / 2)).max() <= 0.5
    assert np.abs(result[0, 1] - (38 + high / 2)).max() <= 0.5


def test_heat_map_stretches_between_its_limits():
    image = np.zeros((1, 3, 3), np.uint8)
    values = np.array([[0.1, 0.2, 0.9]], np.float32)
    result = heat_map(image, values, opacity=1.0, limits=(0.2, 0.6))
    assert (result[0, 0] == module.HEAT_COLOURS[0]).all()
    assert (result[0, 1] == module.HEAT_COLOURS[0]).all()
    assert (result[0, 2] == module.HEAT_COLOURS[255]).all()
    assert (heat_map(image, values, opacity=1.0)[0, 2] == module.HEAT_COLOURS[230]).all()  # 0.9 * 255 = 229.5


def test_heat_colours_are_matplotlibs_inferno():
    from matplotlib import colormaps

    theirs = colormaps["inferno"](np.arange(256))[:, :3] * 255
    assert np.abs(module.HEAT_COLOURS - theirs).max() <= 2  # the colour bars of the figures show the same colours


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: overlay(GREY, np.ones((2, 3), bool)), DataError, "2x3"),
        (lambda: overlay(GREY / 255, np.ones((2, 2), bool)), DataError, "expected .* uint8"),
        (lambda: overlay(GREY, np.full((2, 2), 255)), DataError, "expected .* bool"),
        (lambda: overlay(GREY, np.ones((2, 2), bool), (0, 0, 256)), UsageError, "0 to 255"),
        (lambda: overlay(GREY, np.ones((2, 2), bool), opacity=1.5), UsageError, "opacity 1.5"),
        (lambda: contour(GREY, np.ones((2, 2), bool), width_px=0), UsageError, "width_px 0"),
        (lambda: compare_overlay(GREY, np.ones((2, 2), bool), np.ones((1, 2), bool)), DataError, "reference"),
        (lambda: heat_map(GREY, np.full((2, 2), 2.0)), DataError, r"\[0, 1\]"),
        (lambda: heat_map(GREY, np.zeros((3, 3))), DataError, "3x3"),
        (lambda: heat_map(GREY, np.zeros((2, 2)), limits=(1.0, 0.0)), UsageError, "limits"),
        (lambda: heat_map(GREY, np.zeros((2, 2)), opacity=-1), UsageError, "opacity"),
    ],
)
def test_overlay_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()


# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision deficiency",
# IEEE TVCG 15(6), 2009: matrices on linear RGB at full severity.
EYES = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
COLON = [(190, 100, 80), (225, 150, 120), (120, 50, 40), (10, 10, 10)]


def seen(colour, eyes):
    """CIE 1976 L*a*b* (D65) of an sRGB colour in 0..255, as these eyes see it."""
    encoded = np.asarray(colour) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(EYES[eyes]) @ linear, 0, 1)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    ratio = np.asarray(to_xyz) @ linear / (0.95047, 1.0, 1.08883)
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("background", COLON)
def test_compare_overlay_is_told_apart_by_every_eye(eyes, background):
    image = np.full((2, 2, 3), background, np.uint8)
    predicted, reference = np.array([[True, True], [False, False]]), np.array([[True, False], [True, False]])
    found, false_alarm, missed, bare = (
        seen(c, eyes) for c in compare_overlay(image, predicted, reference).reshape(4, 3)
    )
    for first, second in combinations((found, false_alarm, missed), 2):
        assert np.linalg.norm(first - second) > 31
    for colour in (found, false_alarm, missed):
        assert np.linalg.norm(colour - bare) > 19


def test_numbered_draws_at_the_corner_and_stays_inside():
    image = np.full((60, 80, 3), 90, np.uint8)
    assert numbered(image, []) is image
    drawn = numbered(image, [(7, (30, 40, 20, 10))])
    rows, columns = np.nonzero((drawn != 90).any(axis=-1))
    assert drawn.max() > 180
    assert rows.max() <= 41  # above the box
    assert columns.min() == 30
    corner = numbered(image, [(12, (-5, -5, 4, 4)), (13, (79, 59, 4, 4))])
    assert (corner[0, 0] == 0).all()
    assert corner.shape == image.shape
    assert (image == 90).all()
