import numpy as np
import pytest

from polypseg.data.perturbations import PERTURBATIONS, blurred, coloured, scaled, scaled_mask

FRAME = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_first_changes_nothing_and_the_others_change_the_frame():
    mask = np.zeros((48, 64), bool)
    mask[20:30, 25:40] = True
    names = list(PERTURBATIONS)
    assert np.array_equal(PERTURBATIONS[names[0]].image(FRAME), FRAME)
    for name in names[1:]:
        changed = PERTURBATIONS[name].image(FRAME)
        assert (changed.shape, changed.dtype) == (FRAME.shape, np.uint8)
        assert not np.array_equal(changed, FRAME), name
        is_moved = not np.array_equal(PERTURBATIONS[name].mask(mask), mask)
        assert is_moved == (name.startswith(("shrunk", "enlarged")))


@pytest.mark.parametrize(
    ("changes", "colour"),
    [
        # Red of brightness 200: hue 0, saturation 1. Half the saturation lifts the others to half the brightness.
        ({"saturation": 0.5}, [200, 100, 100]),
        ({"value": 0.6}, [120, 0, 0]),
        ({"hue_degrees": 60}, [200, 200, 0]),
        ({"hue_degrees": -60}, [200, 0, 200]),
    ],
)
def test_colour_by_hand(changes, colour):
    frame = np.full((2, 2, 3), (200, 0, 0), np.uint8)
    assert np.abs(coloured(frame, **changes)[0, 0].astype(int) - colour).max() <= 1


def test_blur_is_a_share_of_the_shorter_side():
    # A bright point of 255 in 64x96: sigma 1/64 is 1 px, whose centre keeps 1 / (2 pi) = .159 of it.
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[32, 48] = 255
    assert blurred(frame, 1 / 64)[32, 48, 0] == pytest.approx(0.159 * 255, abs=1.5)
    assert abs(int(blurred(frame, 1 / 64).sum()) - 3 * 255) < 60


def test_scale_is_about_the_centre_and_moves_the_mask_alike():
    # Columns 24 to 39 are the middle quarter of 64; enlarged twice they are the middle half, 16 to 47.
    frame, mask = np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), bool)
    frame[:, 24:40], mask[:, 24:40] = 200, True
    assert np.flatnonzero(scaled_mask(mask, 2)[24]).tolist() == list(range(16, 48))
    assert scaled(frame, 2)[24, 18:46, 0].tolist() == [200] * 28
    # Half as large: the middle eighth, rows above and below black.
    small = scaled_mask(mask, 0.5)
    assert small.sum() == pytest.approx(8 * 24, abs=24)
    assert not small[:11].any()
    assert not scaled(frame, 0.5)[:11].any()


def test_same_scale_at_two_sizes():
    # A mask drawn at twice the size, scaled and seen at every second pixel, is the mask scaled.
    mask = np.zeros((32, 32), bool)
    mask[8:20, 10:26] = True
    large = np.kron(mask, np.ones((2, 2), bool))
    for factor in (0.65, 1.5):
        differing = scaled_mask(large, factor)[::2, ::2] != scaled_mask(mask, factor)
        assert differing.sum() <= 12  # a pixel here and there along a rim of 56 times the factor; 28 if 1 px beside it
