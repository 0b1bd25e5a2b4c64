"""Frames made again: what is taken away is gone, what is added is marked, and nothing else changes."""

import cv2
import numpy as np
import pytest

from polypseg.config import DataConfig
from polypseg.data.epochs import training_plan
from polypseg.data.frame_synthesis import (
    DARK,
    SynthesisShares,
    bent,
    close_up,
    synthesise,
    with_colours_of,
    with_polyp_of,
    without_polyp,
)

POLYP = (0, 0, 255)
"""A colour that the rest of a frame never has."""
TISSUE = (200, 100, 90)
SIDE = 100


def frame(*boxes, height=SIDE, width=SIDE, tissue=TISSUE):
    """A flat frame (H, W, 3) and its mask (H, W): a polyp in each box (row, row, column, column)."""
    image, mask = np.full((height, width, 3), tissue, np.uint8), np.zeros((height, width), np.uint8)
    for top, bottom, left, right in boxes:
        mask[top:bottom, left:right] = 1
        image[top:bottom, left:right] = POLYP
    return image, mask


def batch(*frames):
    """Frames as a batch: images (N, H, W, 3), masks (N, H, W, 1)."""
    return np.stack([image for image, _ in frames]), np.stack([mask for _, mask in frames])[..., None]


def textured(count=4, side=64, seed=0):
    """A batch of noise with a polyp in a corner of each, another place in each."""
    generator = np.random.default_rng(seed)
    images = generator.integers(60, 250, (count, side, side, 3)).astype(np.uint8)
    masks = np.zeros((count, side, side, 1), np.uint8)
    for index in range(count):
        masks[index, 4 + index % 8 : 14 + index % 8, 6 : 20 + index % 8] = 1
    return images, masks


def num_polyp_pixels(image, slack=60):
    """Pixels whose colour is nearer than `slack` to the polyp's, in each channel."""
    return int((np.abs(image.astype(int) - POLYP) < slack).all(axis=-1).sum())


KEY = (5, 7)
REMOVED, PASTE, JPEG = SynthesisShares(polyp_removal=1.0), SynthesisShares(copy_paste=1.0), SynthesisShares(jpeg=1.0)
COLOURS, ELASTIC = SynthesisShares(colour_transfer=1.0), SynthesisShares(elastic=1.0)
CLOSE_UPS = SynthesisShares(close_ups=1.0)


@pytest.mark.parametrize(
    "shares", [REMOVED, PASTE, JPEG, COLOURS, ELASTIC, CLOSE_UPS, SynthesisShares(0.3, 0.3, 0.5, 0.5, 0.5, 0.3)]
)
def test_masks_stay_two_valued_shapes_stay_and_inputs_are_untouched(shares):
    images, masks = textured()
    kept = images.copy(), masks.copy()
    for key in range(6):
        changed, changed_masks = synthesise(images, masks, (key, 1), shares)
        assert (changed.shape, changed.dtype) == (images.shape, np.uint8)
        assert (changed_masks.shape, changed_masks.dtype) == (masks.shape, np.uint8)
        assert set(np.unique(changed_masks)) <= {0, 1}
    np.testing.assert_array_equal(images, kept[0])
    np.testing.assert_array_equal(masks, kept[1])


def test_no_share_gives_the_very_arrays_back():
    images, masks = textured()
    same, same_masks = synthesise(images, masks, KEY, SynthesisShares())
    assert same is images
    assert same_masks is masks


@pytest.mark.parametrize("shares", [REMOVED, PASTE, JPEG, COLOURS, ELASTIC, CLOSE_UPS])
def test_key_alone_decides(shares):
    images, masks = textured()
    first, again = synthesise(images, masks, KEY, shares), synthesise(images, masks, np.array(KEY, np.int32), shares)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    other = synthesise(images, masks, (5, 8), shares)
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize(
    "box", [(5, 25, 5, 25), (0, 20, 70, 100), (40, 60, 0, 30), (80, 100, 10, 90), (50, 51, 50, 51)]
)
def test_negative_by_cropping_shows_no_pixel_of_the_polyp(box):
    for number in range(8):
        images, masks = synthesise(*batch(frame(box)), (number, 0), REMOVED)
        assert masks.sum() == 0
        # Tissue is flat, and a crop that the polyp does not reach into is as flat.
        assert num_polyp_pixels(images[0]) == 0
        assert np.abs(images[0].astype(int) - TISSUE).max() <= 1


def test_crop_is_drawn_anew_by_another_key():
    images, masks = textured(1)
    masks[:, :, :30] = 1  # leaves 32 columns, and 48 = 1.5 * 32 of the 64 rows are taken: at 17 places
    crops = {synthesise(images, masks, (number, 0), REMOVED)[0].tobytes() for number in range(10)}
    assert len(crops) > 3


def test_window_is_no_longer_than_three_to_two():
    # 120 rows of 100 columns lie under the polyp: of a strip 90 high (rows 30 on, less 3 of margin) and 100 wide at
    # most 1.5 * 90 = 135 columns may be taken, so all of it; of one 36 columns wide, 54 rows of its 120.
    image, mask = frame((0, 120, 0, 62), height=120, width=100)
    image[..., 1] = np.arange(120)[:, None] * 2  # green tells the row
    taken = without_polyp(image, mask, np.random.default_rng(0))
    rows = (int(taken[..., 1].max()) - int(taken[..., 1].min())) / 2
    assert rows == pytest.approx(1.5 * 36, abs=2)  # 100 - 62 - ceil(0.02 * 100) = 36 columns


DIAGONAL = (5, 25, 5, 25), (75, 95, 60, 80)
"""Two polyps whose bounding box leaves no strip of 35 %, and whose mirror images lie elsewhere: it is covered."""


def test_negative_by_covering_hides_the_polyp_in_the_colour_around_it():
    images, masks = synthesise(*batch(frame(*DIAGONAL)), KEY, REMOVED)
    assert masks.sum() == 0
    # The cover's edge is blurred by one pixel of sigma and begins two pixels outside the polyp: at the polyp's edge
    # a normal distribution has 1 - Phi(2) = 2.3 % of the old colour left: 0.023 * 200 = 5 levels (the corner, two).
    assert num_polyp_pixels(images[0]) == 0
    assert np.abs(images[0].astype(int) - TISSUE).max() <= 10
    np.testing.assert_array_equal(images[0, 40:60, 90:], np.broadcast_to(TISSUE, (20, 10, 3)))


def test_covering_takes_the_mirror_image_and_not_a_flat_patch():
    image, mask = frame(*DIAGONAL)
    texture = np.random.default_rng(0).integers(0, 60, (SIDE, SIDE, 1))
    image = np.where(mask[..., None] > 0, image, np.clip(image.astype(int) + texture - 30, 0, 255)).astype(np.uint8)
    covered = without_polyp(image, mask, np.random.default_rng(0))
    inside = covered[8:22, 8:22].astype(float)
    mirrored = image[8:22, ::-1][:, 8:22].astype(float)  # a left-right flip is tried first and overlaps nothing
    assert np.corrcoef(inside.ravel(), mirrored.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    "boxes",
    [
        ((0, SIDE, 0, SIDE),),  # all polyp
        ((20, 80, 20, 80),),  # its mirror images are itself
    ],
)
def test_polyp_that_cannot_be_taken_away_stays_with_its_mask(boxes):
    image, mask = frame(*boxes)
    assert without_polyp(image, mask, np.random.default_rng(0)) is None
    images, masks = synthesise(*batch((image, mask)), KEY, REMOVED)
    np.testing.assert_array_equal(images[0], image)
    np.testing.assert_array_equal(masks[0, ..., 0], mask)


def test_frame_without_a_polyp_stays_as_it_is():
    image, mask = frame()
    images, masks = synthesise(*batch((image, mask)), KEY, REMOVED)
    np.testing.assert_array_equal(images[0], image)
    assert masks.sum() == 0


def test_pasted_polyp_is_marked_where_it_lies_and_nowhere_else():
    image, mask = frame()
    other, other_mask = frame((40, 60, 40, 60), tissue=(120, 60, 50))
    for seed in range(6):
        pasted, pasted_mask = with_polyp_of(image, mask, other, other_mask, np.random.default_rng(seed))
        # 20 x 20 pixels, scaled by 0.6 to 1.2: from 144 to 576 (nearest neighbour: a few more or less).
        assert 120 <= pasted_mask.sum() <= 620
        far = cv2.dilate(pasted_mask, np.ones((21, 21), np.uint8)) == 0
        np.testing.assert_array_equal(pasted[far], image[far])
        core = cv2.erode(pasted_mask, np.ones((5, 5), np.uint8)) > 0
        # Blue, though half way to the colour of the tissue that it was pasted on.
        assert (pasted[core][:, 2].astype(int) > TISSUE[2] + 50).all()


def test_polyp_that_was_there_stays_marked_beside_the_pasted_one():
    image, mask = frame((5, 25, 5, 25))
    for seed in range(6):
        _, both = with_polyp_of(image, mask, *frame((40, 60, 40, 60)), np.random.default_rng(seed))
        assert (both >= mask).all()
        assert both.sum() > mask.sum()


def test_pasted_colour_by_hand():
    # One frame is 100 everywhere, the other 40 with a polyp of 200 that fills exactly the area that is laid over.
    image = np.full((SIDE, SIDE, 3), 100, np.uint8)
    other, other_mask = np.full((SIDE, SIDE, 3), 200, np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    other_mask[30:70, 30:70] = 1
    pasted, mask = with_polyp_of(image, np.zeros_like(other_mask), other, other_mask, np.random.default_rng(1))
    core = cv2.erode(mask, np.ones((7, 7), np.uint8)) > 0
    # Wanted 100, found 200, half of its own colour is kept: 200 + 0.5 * (100 - 200) = 150.
    assert core.any()
    assert set(np.unique(pasted[core])) == {150}


@pytest.mark.parametrize(
    ("tissue", "boxes"),
    [
        ((DARK - 1,) * 3, ((40, 60, 40, 60),)),  # the frame is black where it would lie
        (TISSUE, ()),  # the other shows no polyp
        (TISSUE, ((0, 60, 0, 60),)),  # 36 % of the frame
    ],
)
def test_nothing_is_pasted_on_the_black_rim_nor_without_a_polyp_of_fitting_size(tissue, boxes):
    image, mask = frame(tissue=tissue)
    for seed in range(4):
        same, same_mask = with_polyp_of(image, mask, *frame(*boxes), np.random.default_rng(seed))
        np.testing.assert_array_equal(same, image)
        np.testing.assert_array_equal(same_mask, mask)


def test_black_rim_of_a_frame_stays_free_of_pasted_polyps():
    image, mask = frame()
    image[:, :50] = 0
    took = 0
    for seed in range(20):
        _, pasted = with_polyp_of(image, mask, *frame((45, 55, 45, 55)), np.random.default_rng(seed))
        took += bool(pasted.any())
        assert pasted[:, :45].sum() == 0  # a polyp whose widened area is dark by more than a tenth is not pasted
    assert 0 < took < 20


def test_copy_paste_of_a_batch_takes_another_sample():
    alone = batch(frame((5, 25, 5, 25)))
    images, masks = synthesise(*alone, KEY, PASTE)
    np.testing.assert_array_equal(images, alone[0])  # there is no other one
    np.testing.assert_array_equal(masks, alone[1])
    two = batch(frame((5, 25, 5, 25)), frame())
    _, masks = synthesise(*two, KEY, PASTE)
    assert masks[0].sum() == two[1][0].sum()  # the other has no polyp to give
    assert masks[1].sum() > 0  # and gets one


def test_shares_are_shares():
    # 400 frames; of a share of 0.3 a fair draw leaves 0.3 +- 0.115 with a chance of error below 1e-6 (5 sigma).
    images, masks = batch(*[frame((2, 8, 2, 8), height=32, width=32)] * 400)
    _, changed = synthesise(images, masks, KEY, SynthesisShares(polyp_removal=0.3))
    assert abs(np.mean(changed.sum(axis=(1, 2, 3)) == 0) - 0.3) < 0.115
    images, masks = textured(400, side=32)
    changed, _ = synthesise(images, masks, KEY, SynthesisShares(jpeg=0.4))  # noise never survives JPEG as it is
    assert abs(np.mean([not np.array_equal(a, b) for a, b in zip(changed, images, strict=True)]) - 0.4) < 0.125


def test_jpeg_changes_pixels_a_little_and_masks_not_at_all():
    generator = np.random.default_rng(0)
    images, masks = textured()
    images = cv2.GaussianBlur(generator.integers(0, 255, (64, 64, 3)).astype(np.uint8), (0, 0), 3)[None].repeat(4, 0)
    changed, same = synthesise(images, masks, KEY, JPEG)
    np.testing.assert_array_equal(same, masks)
    difference = np.abs(changed.astype(int) - images)
    assert all(difference[index].any() for index in range(4))
    assert difference.mean() < 12
    flat, _ = synthesise(*batch(frame(tissue=(210, 100, 40))), KEY, JPEG)
    assert np.abs(flat[0].astype(int) - (210, 100, 40)).max() <= 6  # red stays red: no channel is taken for another


def test_flat_frame_in_the_colours_of_another_is_as_the_other():
    # Neither has a spread, so that the mean alone moves: it becomes the other's.
    changed = with_colours_of(frame()[0], frame(tissue=(120, 160, 70), width=40)[0])
    assert np.abs(changed.astype(int) - (120, 160, 70)).max() <= 1


def test_colours_take_mean_and_spread_but_stretch_twofold_at_most():
    def striped(dark, bright):
        image = np.full((SIDE, SIDE, 3), dark, np.uint8)
        image[:, ::2] = bright
        return image

    # Greys: CIELAB's a and b are 0. Half the columns each, so that mean and spread in L are known from the two values;
    # the spread that is taken has the ratio of the two differences in L, 2 at most.
    def lightness(grey):
        return float(cv2.cvtColor(np.full((1, 1, 3), grey / 255, np.float32), cv2.COLOR_RGB2LAB)[0, 0, 0])

    for other in ((120, 180), (90, 230)):
        changed = with_colours_of(striped(140, 150), striped(*other))
        low, high = (lightness(int(changed[0, column, 1])) for column in (1, 0))
        own, wanted = lightness(150) - lightness(140), lightness(other[1]) - lightness(other[0])
        assert high - low == pytest.approx(min(2 * own, wanted), abs=0.5)
        assert (high + low) / 2 == pytest.approx((lightness(other[0]) + lightness(other[1])) / 2, abs=0.5)


def test_black_rim_stays_black_and_dark_frames_neither_give_nor_take_colours():
    image = frame()[0]
    image[:30] = 0
    changed = with_colours_of(image, frame(tissue=(120, 160, 70))[0])
    assert not changed[:30].any()  # and the rim did not count: the rest is the other's colour
    assert np.abs(changed[30:].astype(int) - (120, 160, 70)).max() <= 1
    night = np.full_like(image, DARK - 5)
    assert with_colours_of(image, night) is image
    assert with_colours_of(night, image) is night


def test_colours_are_taken_from_another_sample_whose_mask_stays_there():
    reds, greens = frame((10, 20, 10, 20), tissue=(200, 100, 90)), frame((50, 60, 50, 60), tissue=(100, 180, 90))
    images, masks = synthesise(*batch(reds, greens), KEY, COLOURS)
    np.testing.assert_array_equal(masks, batch(reds, greens)[1])
    corner = images[:, 90, 90].astype(int)
    assert corner[0, 1] > corner[0, 0]  # green for red
    assert corner[1, 1] < corner[1, 0]
    alone, _ = synthesise(*batch(reds), KEY, COLOURS)  # a batch of one has nobody to give
    np.testing.assert_array_equal(alone[0], reds[0])


def test_bent_frame_carries_its_mask_along_smoothly():
    # The picture is its own mask in grey: both are bent alike when they agree afterwards but for interpolated edges.
    mask = np.zeros((200, 200), np.uint8)
    cv2.circle(mask, (100, 100), 50, 1, -1)
    image = np.repeat(mask[..., None] * 255, 3, axis=2)
    areas, moved = [], []
    for number in range(20):
        changed, changed_mask = bent(image, mask, np.random.default_rng(number))
        seen = changed[..., 0] > 127
        boundary = 2 * np.pi * 50
        assert (seen != (changed_mask > 0)).sum() < 0.5 * boundary
        assert cv2.connectedComponents(changed_mask)[0] == 2  # still one polyp
        areas.append(changed_mask.sum())
        moved.append((changed_mask != mask).mean())
    # Nodes shift by 3 % of the side on average in each axis, so that a boundary of 314 px moves by some pixels.
    assert 0.01 < np.mean(moved) < 0.1
    assert np.mean(areas) == pytest.approx(np.pi * 50**2, rel=0.1)


def coordinates(height, width):
    """A picture whose red tells the row and whose green the column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)


def test_close_up_is_a_window_that_holds_some_of_the_polyp_and_its_mask_is_cut_alike():
    image, mask = coordinates(120, 200), frame((50, 60, 150, 170), height=120, width=200)[1]
    shares = []
    for seed in range(60):
        seen, seen_mask = close_up(image, mask, np.random.default_rng(seed))
        assert seen_mask.any()
        # What is at a pixel tells where it came from; there the old mask must say the same, but on the polyp's border,
        # where the picture is interpolated and the mask is not.
        came_from = mask[np.clip(seen[..., 0], 0, 119), np.clip(seen[..., 1], 0, 199)]
        border = cv2.dilate(seen_mask, np.ones((9, 9))) != cv2.erode(seen_mask, np.ones((9, 9)))
        np.testing.assert_array_equal(came_from[~border], seen_mask[~border])
        shares.append((np.ptp(seen[..., 0].astype(int)) / 119, np.ptp(seen[..., 1].astype(int)) / 199))
    low, high = np.min(shares), np.max(shares)
    assert 0.3 < low < 0.45  # from 35 % of the side, a pixel more or less (and less where 3:2 is the limit)
    assert high > 0.9


def test_close_up_is_no_longer_than_three_to_two():
    image, mask = coordinates(100, 100), frame((45, 55, 45, 55))[1]
    for seed in range(60):
        seen, _ = close_up(image, mask, np.random.default_rng(seed))
        rows, columns = (np.ptp(seen[..., channel].astype(int)) + 1 for channel in (0, 1))
        assert max(rows, columns) <= 1.5 * min(rows, columns) + 4


def test_close_ups_are_held_anywhere_within_the_window():
    image, mask = coordinates(100, 100), frame((50, 51, 50, 51))[1]
    places = []
    for seed in range(200):
        _, seen = close_up(image, mask, np.random.default_rng(seed))
        places.append(np.argwhere(seen).mean(axis=0) / 100)
    # One pixel, uniformly anywhere in its window but for windows that the frame's edge holds back.
    assert np.min(places) < 0.15
    assert np.max(places) > 0.85
    assert np.mean(places) == pytest.approx(0.5, abs=0.06)


def test_close_up_of_a_frame_that_is_polyp_for_the_most_part_stays_as_it_is():
    image, mask = frame((0, 95, 0, 95))
    for seed in range(20):
        seen, seen_mask = close_up(image, mask, np.random.default_rng(seed))
        assert seen is image  # no window of it is polyp in less than half
        assert seen_mask is mask
    empty, none = close_up(*frame(), np.random.default_rng(0))
    np.testing.assert_array_equal(empty, frame()[0])
    assert not none.any()


def test_close_ups_take_their_share_beside_the_others():
    images, masks = batch(*[frame((2, 8, 2, 8), height=32, width=32)] * 400)
    _, changed = synthesise(images, masks, KEY, SynthesisShares(polyp_removal=0.3, close_ups=0.4))
    assert abs(np.mean(changed.sum(axis=(1, 2, 3)) == 0) - 0.3) < 0.115
    noise, masks = textured(400, side=32)  # a window of noise, enlarged, is never the noise that it was
    seen, _ = synthesise(noise, masks, KEY, SynthesisShares(close_ups=0.4))
    assert abs(np.mean((seen != noise).any(axis=(1, 2, 3))) - 0.4) < 0.125


def test_config_hands_the_shares_on():
    config = DataConfig(polyp_removal=0.1, copy_paste=0.2, jpeg=0.3, colour_transfer=0.4, elastic=0.5, close_ups=0.6)
    assert training_plan(config, seed=3).synthesis == SynthesisShares(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    assert training_plan(DataConfig(), seed=3).synthesis == SynthesisShares()
