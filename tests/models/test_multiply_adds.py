"""The arithmetic of a network, counted by hand."""

import keras
import pytest
from keras import layers

from polypseg.models.multiply_adds import multiply_adds
from polypseg.models.registry import build_model, preset


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.Conv2D(8, 3, strides=2, padding="same"), 3 * 3 * (3 * 3 * 4 * 8)),  # 6x6 in, 3x3 out, 288 weights
        (layers.Conv2D(8, 1, groups=2), 36 * (2 * 8)),  # each output sees half of the 4 channels
        (layers.DepthwiseConv2D(3, padding="same"), 36 * (3 * 3 * 4)),
        (layers.Conv2DTranspose(8, 2, strides=2), 36 * (2 * 2 * 8 * 4)),  # a kernel for each place of the input
        (layers.Dense(5), 36 * (4 * 5)),
        (layers.BatchNormalization(), 0),
    ],
)
def test_each_kind_of_layer(layer, expected):
    assert multiply_adds(keras.Sequential([keras.Input((6, 6, 4)), layer])) == expected


def test_nested_models_count():
    inner = keras.Sequential([keras.Input((6, 6, 4)), layers.Conv2D(2, 1)])
    image = keras.Input((6, 6, 4))
    assert multiply_adds(keras.Model(image, layers.Conv2D(1, 1)(inner(image)))) == 36 * (4 * 2 + 2 * 1)


def test_a_preset_has_what_its_table_says():
    assert (
        round(multiply_adds(build_model(preset("attention-unet-16"), 256)) / 1e9, 2) == 3.13
    )  # docs/how-to/training.md


def test_open_sizes_are_refused():
    with pytest.raises(ValueError, match="expected a model of a fixed input size"):
        multiply_adds(keras.Sequential([keras.Input((None, None, 4)), layers.Conv2D(2, 1)]))
