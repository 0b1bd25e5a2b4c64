import math

import keras
import numpy as np
import pytest

from polypseg.train.losses import BinaryCrossentropyDice, binary_crossentropy, dice_loss


def maps(*rows):
    """Each row of numbers as one image of one line: (N, 1, W, 1) float32."""
    return np.array(rows, np.float32)[:, None, :, None]


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


def test_binary_crossentropy_by_hand():
    # -(ln 0.8 + ln(1 - 0.5)) / 2 = (0.22314 + 0.69315) / 2
    value = numbers(binary_crossentropy(maps([1, 0]), maps([0.8, 0.5])))
    assert value == pytest.approx([0.458145], abs=1e-6)


def test_dice_loss_by_hand():
    # overlap 0.8, areas 1 + 1.3, smooth 1: 1 - (1.6 + 1) / (2.3 + 1) = 7 / 33
    value = numbers(dice_loss(maps([1, 0]), maps([0.8, 0.5]), smooth=1.0))
    assert value == pytest.approx([7 / 33], abs=1e-6)


def test_dice_loss_takes_each_image_on_its_own():
    # A perfect image and an empty pair: 0 and 0. Pooled, the areas would mix.
    reference = maps([1, 1], [0, 0], [1, 0])
    predicted = maps([1, 1], [0, 0], [0, 1])
    # Third: overlap 0, areas 2, smooth 1: 1 - 1/3.
    assert numbers(dice_loss(reference, predicted, smooth=1.0)) == pytest.approx([0, 0, 2 / 3], abs=1e-6)


EMPTY, FULL, PARTIAL = [0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("reference", "predicted", "expected"),
    [  # smooth 1: 1 - (2 overlap + 1) / (areas + 1)
        (EMPTY, EMPTY, 0),
        (EMPTY, FULL, 1 - 1 / 5),
        (EMPTY, PARTIAL, 1 - 1 / 3),
        (FULL, EMPTY, 1 - 1 / 5),
        (FULL, FULL, 0),
        (FULL, PARTIAL, 1 - 5 / 7),
        (PARTIAL, EMPTY, 1 - 1 / 3),
        (PARTIAL, FULL, 1 - 5 / 7),
        (PARTIAL, PARTIAL, 0),
        ([1], [0], 1 - 1 / 2),
        ([1], [1], 0),
    ],
)
def test_dice_loss_degenerate(reference, predicted, expected):
    assert numbers(dice_loss(maps(reference), maps(predicted), smooth=1.0)) == pytest.approx([expected], abs=1e-6)


def test_binary_crossentropy_is_finite_where_certain_and_wrong():
    # p is kept 1e-7 from 1: -ln(1e-7) = 16.118 (float32 rounds 1 - 1e-7 to 1 - 1.19e-7: 15.942)
    value = numbers(binary_crossentropy(maps([0]), maps([1])))[0]
    assert 15.9 < value < 16.2


def test_loss_adds_the_weighted_terms():
    reference, predicted = maps([1, 0], [0, 0]), maps([0.8, 0.5], [0.5, 0.5])
    # second image: BCE ln 2; Dice loss 1 - 1 / (1 + 1) = 1/2
    expected = np.mean([0.458145 + 0.5 * 7 / 33, math.log(2) + 0.5 * 0.5])
    assert float(BinaryCrossentropyDice()(reference, predicted)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("argument", "value"), [("dice_weight", 2.0), ("smooth", 50.0)])
def test_every_argument_of_the_loss_acts(argument, value):
    pair = maps([1, 0]), maps([0.8, 0.5])
    assert float(BinaryCrossentropyDice(**{argument: value})(*pair)) != float(BinaryCrossentropyDice()(*pair))


def test_loss_takes_integer_references():
    predicted = maps([0.8, 0.5])
    whole = BinaryCrossentropyDice()(maps([1, 0]).astype(np.uint8), predicted)
    assert float(whole) == pytest.approx(float(BinaryCrossentropyDice()(maps([1, 0]), predicted)))


def test_loss_is_rebuilt_from_its_config():
    loss = BinaryCrossentropyDice(dice_weight=0.7, smooth=3.0)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert (again.dice_weight, again.smooth) == (0.7, 3.0)
