"""Polygons, run lengths and masks against hand-drawn ones and against COCO's own tools."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask
from scipy import ndimage

from polypseg.formats.outlines import (
    component_masks,
    compress_run_lengths,
    ellipse,
    expand_run_lengths,
    fill,
    from_row_run_lengths,
    from_run_lengths,
    has_holes,
    outlines,
    row_run_lengths,
    run_lengths,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # NumPy's, of what pycocotools calls

MASKS = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def test_fill_takes_the_pixels_whose_centres_lie_inside():
    # The slope runs from (4, 0) to (0, 4): at the centres' heights 0.5, 1.5, 2.5, 3.5 it is at x = 3.5, 2.5, 1.5, 0.5,
    # so that a row has 3 centres (0.5, 1.5, 2.5) left of it, then 2, 1, 0.
    assert fill((0, 0, 4, 0, 0, 4), (4, 4)).sum(axis=1).tolist() == [3, 2, 1, 0]
    assert fill((1, 1, 3, 1, 3, 2, 1, 2), (3, 4)).astype(int).tolist() == [[0] * 4, [0, 1, 1, 0], [0] * 4]


def test_fill_is_even_odd_and_cuts_at_the_frame():
    twice = (0, 0, 4, 0, 4, 4, 0, 4, 0, 0, 4, 0, 4, 4, 0, 4)  # a square that is run around twice is outside
    assert not fill(twice, (4, 4)).any()
    assert fill((-5, -5, 9, -5, 9, 9, -5, 9), (2, 3)).all()


@pytest.mark.parametrize("seed", range(20))
def test_fill_of_corners_on_pixels_edges_is_cocos(seed):
    rng = np.random.default_rng(seed)
    x, y = np.sort(rng.choice(30, 2, replace=False)), np.sort(rng.choice(20, 2, replace=False))
    polygon = [int(v) for v in (x[0], y[0], x[1], y[0], x[1], y[1], x[0], y[1])]
    theirs = coco_mask.decode(coco_mask.frPyObjects([polygon], 20, 30))[..., 0].astype(bool)
    np.testing.assert_array_equal(fill(polygon, (20, 30)), theirs)


@pytest.mark.parametrize("seed", range(20))
def test_fill_of_any_polygon_differs_from_cocos_only_along_the_border(seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    radius = rng.uniform(8, 25, 9)
    corners = np.stack([40 + radius * np.cos(angles), 30 + radius * np.sin(angles)], axis=1)
    theirs = coco_mask.decode(coco_mask.frPyObjects([corners.ravel().tolist()], 60, 80))[..., 0].astype(bool)
    ours = fill(corners.ravel().tolist(), (60, 80))
    square = np.ones((3, 3), bool)
    border = ndimage.binary_dilation(theirs, square) & ~ndimage.binary_erosion(theirs, square)
    assert not ((ours != theirs) & ~border).any()
    assert ours.sum() == pytest.approx(theirs.sum(), rel=0.06)


@given(MASKS)
def test_outlines_give_back_a_mask_with_its_holes_filled(mask):
    back = np.zeros(mask.shape, bool)
    for polygon in outlines(mask):
        back |= fill(polygon, mask.shape)
    np.testing.assert_array_equal(back, ndimage.binary_fill_holes(mask))
    assert has_holes(mask) == bool((back != mask).any())


@given(MASKS)
def test_run_lengths_there_and_back_and_cocos(mask):
    counts = run_lengths(mask)
    assert expand_run_lengths(compress_run_lengths(counts)) == counts
    np.testing.assert_array_equal(from_run_lengths(counts, mask.shape), mask)
    np.testing.assert_array_equal(from_row_run_lengths(row_run_lengths(mask), mask.shape), mask)
    theirs = coco_mask.encode(np.asfortranarray(mask.view(np.uint8)))["counts"].decode()
    assert expand_run_lengths(theirs) == counts


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 3", "is no letter"),
        ("a", "end within a number"),
        ("1" + chr(48 + 0x1F), "is negative"),
        ("~" * 9, "no letter"),
    ],
)
def test_damaged_run_lengths_are_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        expand_run_lengths(text)


def test_components_are_eight_connected():
    diagonal = np.array([[1, 0, 0, 1], [0, 1, 0, 0]], bool)
    assert [part.sum() for part in component_masks(diagonal)] == [2, 1]


def test_ellipse_has_its_area_and_is_turned():
    upright, turned = fill(ellipse(50, 40, 30, 10), (80, 100)), fill(ellipse(50, 40, 30, 10, np.pi / 2), (80, 100))
    assert upright.sum() == pytest.approx(np.pi * 30 * 10, rel=0.01)
    assert np.ptp(np.flatnonzero(upright.any(axis=0))) == 59  # 60 columns
    assert np.ptp(np.flatnonzero(turned.any(axis=0))) == 19
