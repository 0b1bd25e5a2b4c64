"""The checks at every public border: what passes is returned unchanged, what does not says what was found."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.arrays import check_image, check_mask, check_probability, check_same_shape
from polypseg.errors import DataError


def test_check_image_returns_the_image_itself() -> None:
    image = np.zeros((1, 2, 3), np.uint8)
    assert check_image(image) is image


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((1, 4, 5, 3), np.uint8),
        np.zeros((4, 5, 3), np.float32),
        np.zeros((0, 5, 3), np.uint8),
    ],
    ids=["grey", "alpha", "batch", "float", "no rows"],
)
def test_check_image_refuses(image: object) -> None:
    with pytest.raises(DataError, match=r"frame 7: expected \(H, W, 3\) uint8 RGB, found"):
        check_image(image, "frame 7")


@pytest.mark.parametrize("path", ["frame.jpg", Path("frame.jpg")])
def test_check_image_of_a_path_names_the_way_to_read_it(path: object) -> None:
    with pytest.raises(DataError, match=r"found the path 'frame\.jpg'; predict a file with predict_file\(path\)"):
        check_image(path)


def test_check_image_of_a_picture_of_pillows_names_the_way_to_an_array() -> None:
    picture = PillowImage.fromarray(np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(DataError, match=r"found PIL\.Image\.Image; give numpy\.asarray\(image\)"):
        check_image(picture)
    assert check_image(np.asarray(picture)).shape == (4, 5, 3)


def test_check_mask_returns_the_mask_itself() -> None:
    mask = np.ones((1, 1), bool)
    assert check_mask(mask) is mask


@pytest.mark.parametrize(
    "mask",
    [
        np.array([[0, 255]], np.uint8),
        np.array([[0, 1]]),
        np.array([[0.0, 1.0]]),
        np.zeros((2, 2, 1), bool),
        np.zeros((2, 0), bool),
    ],
    ids=["0/255", "0/1", "float", "channel", "no columns"],
)
def test_check_mask_does_not_guess_at_numbers(mask: object) -> None:
    with pytest.raises(DataError, match=r"mask: expected \(H, W\) bool, found .* compare first: mask > 127"):
        check_mask(mask)


def test_check_probability_keeps_float32_and_converts_other_floats() -> None:
    single = np.array([[0.0, 1.0]], np.float32)
    assert check_probability(single) is single
    double = check_probability(np.array([[0.25, 0.5]]))
    assert double.dtype == np.float32
    assert double.tolist() == [[0.25, 0.5]]


@pytest.mark.parametrize(
    "values",
    [[[0.0, 1.0001]], [[-0.0001, 0.5]], [[np.nan, 0.5]], [[0.5, np.nan]], [[np.inf, 0.5]]],
    ids=["above", "below", "NaN first", "NaN last", "infinite"],
)
def test_check_probability_refuses_values_outside_of_the_unit_interval(values: list) -> None:
    with pytest.raises(DataError, match=r"expected values in \[0, 1\], found"):
        check_probability(np.array(values))


@pytest.mark.parametrize(
    "values", [np.array([[0, 1]]), np.array([0.5]), np.zeros((1, 2, 2)), np.zeros((0, 3)), np.array([[True]])]
)
def test_check_probability_refuses_other_shapes_and_types(values: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"map: expected \(H, W\) float in \[0, 1\], found"):
        check_probability(values, "map")


def test_check_same_shape_names_the_predicted_one_first() -> None:
    check_same_shape(np.zeros((2, 3)), np.ones((2, 3), bool))
    with pytest.raises(DataError, match=r"predicted has shape \(2, 3\), reference \(3, 2\)"):
        check_same_shape(np.zeros((2, 3)), np.zeros((3, 2)))
