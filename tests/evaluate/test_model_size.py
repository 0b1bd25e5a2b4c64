import math

import numpy as np
import pytest

from polypseg.config import LossConfig
from polypseg.evaluate.model_size import loss, model_size_columns


def test_loss_of_four_pixels_by_hand():
    # p = 0.5, 0.5, 1, 0 for t = 1, 0, 1, 0: cross-entropy (ln 2 + ln 2 + 0 + 0)/4 = 0.3466 (the last two 1e-7).
    # Soft Dice with smooth 1: (2(0.5 + 1) + 1)/(2 + 2 + 1) = 4/5, so half of 1/5 is added.
    probability = np.array([[0.5, 0.5], [1, 0]], np.float32)
    reference = np.array([[1, 0], [1, 0]], bool)
    assert loss(probability, reference, LossConfig()) == pytest.approx(math.log(2) / 2 + 0.1, abs=1e-6)


def test_loss_of_two_empty_maps_is_almost_nothing():
    empty = np.zeros((4, 4), np.float32)
    assert loss(empty, empty > 0, LossConfig()) == pytest.approx(1.2e-7, abs=1e-7)  # -ln(1 - 1e-7) in float32


@pytest.mark.parametrize("seed", range(4))
def test_loss_equals_keras(seed):
    from polypseg.train.losses import BinaryCrossentropyDice

    rng = np.random.default_rng(seed)
    probability = rng.random((16, 16)).astype(np.float32) ** 4
    probability[:4] = np.round(probability[:4])  # saturated, some of it wrong
    reference = rng.random((16, 16)) < (0.3 if seed else 0.0)
    config = LossConfig(dice_weight=0.5 + seed, smooth=1.0 + seed)
    keras_loss = BinaryCrossentropyDice(config.dice_weight, config.smooth)
    expected = float(keras_loss(reference[None, ..., None].astype(np.float32), probability[None, ..., None]))
    assert loss(probability, reference, config) == pytest.approx(expected, abs=1e-4)


def test_coefficients_equal_keras_and_count_an_empty_pair_as_one():
    from polypseg.train.coefficients import dice_coefficient, iou_coefficient

    rng = np.random.default_rng(0)
    probability = rng.random((3, 16, 16)).astype(np.float32)
    probability[2] = 0
    reference = rng.random((3, 16, 16)) < np.array([0.5, 0.1, 0])[:, None, None]
    dices = np.asarray(dice_coefficient(reference[..., None].astype(np.float32), probability[..., None]))
    ious = np.asarray(iou_coefficient(reference[..., None].astype(np.float32), probability[..., None]))
    assert dices[2] == 1
    for number in range(3):
        columns = model_size_columns(probability[number], reference[number], None)
        assert columns["model_size_dice"] == pytest.approx(dices[number], abs=1e-6)
        assert columns["model_size_iou"] == pytest.approx(ious[number], abs=1e-6)
        assert math.isnan(columns["loss"])  # without a config nobody knows the weight
