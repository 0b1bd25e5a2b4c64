"""Regions counted by hand, and read back by COCO's own tools."""

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_tools

from polypseg.errors import DataError
from polypseg.formats.outlines import compress_run_lengths, run_lengths
from polypseg.predict.regions import find_regions

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # NumPy's, of what pycocotools calls


def smooth_mask(seed, coarse_px, share=0.2, shape=(90, 120)):
    """Blobs, some with holes, that cover a share of the image."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random(shape).astype(np.float32), (0, 0), coarse_px)
    return noise > np.quantile(noise, 1 - share)


def filled(polygon, shape):
    """What COCO's tools fill a polygon with."""
    height, width = shape
    return coco_tools.decode(coco_tools.frPyObjects([list(map(float, polygon))], height, width))[..., 0].astype(bool)


def test_regions_by_hand_the_largest_first():
    # Three pixels in an L and, diagonally apart from nothing, one pixel at the lower right.
    mask = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], bool)
    probability = np.array([[0.9, 0.6, 0, 0], [0.6, 0, 0, 0], [0, 0, 0, 0.75]], np.float32)
    large, small = find_regions(mask, probability)
    assert (large.area_px, large.box) == (3, (0, 0, 2, 2))
    assert large.mean_probability == pytest.approx((0.9 + 0.6 + 0.6) / 3)
    assert large.max_probability == pytest.approx(0.9)
    assert large.pixels.tolist() == [[True, True], [True, False]]
    assert (small.area_px, small.box, small.polygon) == (1, (3, 2, 1, 1), (3, 2, 3, 3, 4, 3, 4, 2))


def test_pixels_that_touch_by_a_corner_are_one_region():
    mask = np.eye(3, dtype=bool)
    assert [region.area_px for region in find_regions(mask, mask.astype(np.float32))] == [3]


def test_a_region_inside_the_hole_of_another_is_its_own():
    mask = np.ones((7, 7), bool)
    mask[1:6, 1:6] = False
    mask[3, 3] = True
    ring, dot = find_regions(mask, mask.astype(np.float32))
    assert (ring.area_px, dot.area_px) == (24, 1)
    assert not ring.pixels[3, 3]


def test_an_empty_mask_has_none():
    assert find_regions(np.zeros((3, 4), bool), np.zeros((3, 4), np.float32)) == []
    with pytest.raises(DataError, match=r"expected \(H, W\) bool"):
        find_regions(np.zeros((3, 4), np.uint8), np.zeros((3, 4), np.float32))


@pytest.mark.parametrize("coarse_px", [0.6, 2, 5])
def test_polygons_are_filled_by_cocos_tools_with_exactly_the_region(coarse_px):
    mask = smooth_mask(0, coarse_px)
    regions = find_regions(mask, mask.astype(np.float32))
    assert len(regions) > 3
    for region in regions:
        x, y, width, height = region.box
        expected = np.zeros(mask.shape, np.uint8)
        outer, _ = cv2.findContours(region.pixels.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(expected[y : y + height, x : x + width], outer, -1, 1, cv2.FILLED)  # holes are filled too
        got = filled(region.polygon, mask.shape)
        wrong = int((got != expected.astype(bool)).sum())
        # COCO's tools draw a border that touches itself in a corner ambiguously: up to a pixel for each such corner.
        assert wrong <= (0 if coarse_px >= 2 else max(1, 0.1 * region.area_px))


@pytest.mark.parametrize("mask", [np.zeros((3, 4), bool), np.ones((3, 4), bool), np.eye(5, dtype=bool)])
def test_run_lengths_of_plain_masks_are_cocos(mask):
    assert_equals_cocos(mask)


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_are_cocos(seed):
    assert_equals_cocos(smooth_mask(seed, 1 + seed, shape=(200, 300)))


def assert_equals_cocos(mask):
    expected = coco_tools.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = compress_run_lengths(run_lengths(mask))
    assert text == expected["counts"].decode()
    assert sum(run_lengths(mask)) == mask.size
    assert (coco_tools.decode({"size": list(mask.shape), "counts": text}).astype(bool) == mask).all()
