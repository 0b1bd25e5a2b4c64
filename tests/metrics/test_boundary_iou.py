import numpy as np
import pytest

from polypseg.errors import UsageError
from polypseg.metrics.boundary_iou import boundary_iou

EMPTY, FULL = np.zeros((6, 8), bool), np.ones((6, 8), bool)
PIXEL = EMPTY.copy()
PIXEL[2, 3] = True


@pytest.mark.parametrize(
    ("predicted", "reference", "expected"),
    [
        (EMPTY, EMPTY, 1),
        (EMPTY, FULL, 0),
        (FULL, EMPTY, 0),
        (FULL, FULL, 1),
        (PIXEL, PIXEL, 1),
        (PIXEL, EMPTY, 0),
        (PIXEL, FULL, 0),  # the pixel lies inside of the ring of 24
    ],
)
def test_degenerate(predicted, reference, expected):
    assert boundary_iou(predicted, reference) == expected


def test_shifted_square_by_hand():
    # 5 x 5 squares shifted by one column, band 1: rings of 16 pixels. They share columns 1-4 of the top and bottom
    # rows (4 + 4); of the sides only where one's ring meets the other's: none. Union 16 + 16 - 8 = 24.
    first, second = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    first[2:7, 1:6], second[2:7, 2:7] = True, True
    assert boundary_iou(first, second) == pytest.approx(8 / 24)


def test_width_acts():
    # Diagonal of 30 x 40 is 50. Width 0.1 is 5 px: the squares of 9 are all band: IoU of 9 x 8 over 9 x 10.
    first, second = np.zeros((30, 40), bool), np.zeros((30, 40), bool)
    first[5:14, 5:14], second[5:14, 6:15] = True, True
    assert boundary_iou(first, second, 0.1) == pytest.approx(72 / 90)
    assert boundary_iou(first, second) < 72 / 90


def test_band_beside_the_edge_of_the_image():
    # A 3 x 3 image, all polyp, against its left two columns; band 1. Full: ring of 8. Left: all 6. Shared: 5
    # (the middle lies in no ring of the first). Union 8 + 6 - 5.
    full = np.ones((3, 3), bool)
    left = full.copy()
    left[:, 2] = False
    assert boundary_iou(left, full) == pytest.approx(5 / 9)


def test_width_of_nothing():
    with pytest.raises(UsageError, match="width 0"):
        boundary_iou(FULL, FULL, 0)
