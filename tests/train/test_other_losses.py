"""Focal Tversky, Lovász and structure loss: by hand, degenerate, against a slow second writing, and rebuilt."""

import math

import keras
import numpy as np
import pytest

from polypseg.config import LossConfig, config_from
from polypseg.errors import ConfigError
from polypseg.train.losses import (
    BinaryCrossentropyDice,
    FocalTversky,
    Lovasz,
    Structure,
    build_loss,
    focal_tversky_loss,
    lovasz_loss,
    structure_loss,
)


def maps(*rows):
    """Each row of numbers as one image of one line: (N, 1, W, 1) float32."""
    return np.array(rows, np.float32)[:, None, :, None]


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


def test_focal_tversky_by_hand():
    # TP 0.8, FN 0.2, FP 0.5; a = 0.7: 0.14 + 0.15 = 0.29; T = 1.8 / 2.09; (0.29 / 2.09)^0.75
    value = numbers(focal_tversky_loss(maps([1, 0]), maps([0.8, 0.5]), 0.7, 0.75, 1.0))
    assert value == pytest.approx([(0.29 / 2.09) ** 0.75], rel=1e-5)


def test_focal_tversky_of_equal_weights_and_power_one_is_the_dice_loss():
    from polypseg.train.losses import dice_loss

    generator = np.random.default_rng(0)
    reference, predicted = generator.integers(0, 2, (3, 5, 5, 1)).astype("float32"), generator.random((3, 5, 5, 1))
    # T with a = 1/2 is 2 TP / (2 TP + FN + FP) = Dice; its smooth of s is Dice's of 2 s.
    expected = numbers(dice_loss(reference, predicted.astype("float32"), 2.0))
    found = numbers(focal_tversky_loss(reference, predicted.astype("float32"), 0.5, 1.0, 1.0))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


FULL, EMPTY, HALF = [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("reference", "predicted", "expected"),
    [
        # one minus the IoU, where both are two-valued; an empty reference: the largest probability
        (EMPTY, EMPTY, 0.0),
        (EMPTY, FULL, 1.0),
        (EMPTY, HALF, 1.0),
        (FULL, EMPTY, 1.0),
        (FULL, FULL, 0.0),
        (FULL, HALF, 0.5),
        (HALF, EMPTY, 1.0),
        (HALF, FULL, 0.5),
        (HALF, HALF, 0.0),
        ([0, 0, 0, 1], [0, 0, 1, 1], 0.5),
    ],
)
def test_lovasz_degenerate(reference, predicted, expected):
    assert numbers(lovasz_loss(maps(reference), maps(predicted))) == pytest.approx([expected], abs=1e-6)


def test_lovasz_by_hand():
    # errors 0.5 (background), 0.2 (polyp). Jaccard loss after the first: 1 - 1/2 = 0.5, after both: 1 - 0/2 = 1.
    # 0.5 x 0.5 + 0.2 x 0.5 = 0.35
    assert numbers(lovasz_loss(maps([1, 0]), maps([0.8, 0.5]))) == pytest.approx([0.35], abs=1e-6)


@pytest.mark.parametrize(
    ("reference", "predicted", "expected"),
    [
        # (sum of a FN + (1 - a) FP) / (TP + that + 1), to the power 3/4; a = 0.7
        (EMPTY, EMPTY, 0.0),
        (EMPTY, FULL, (1.2 / 2.2) ** 0.75),
        (EMPTY, HALF, (0.6 / 1.6) ** 0.75),
        (FULL, EMPTY, (2.8 / 3.8) ** 0.75),
        (FULL, FULL, 0.0),
        (FULL, HALF, (1.4 / 4.4) ** 0.75),
        (HALF, EMPTY, (1.4 / 2.4) ** 0.75),
        (HALF, FULL, (0.6 / 3.6) ** 0.75),
        (HALF, HALF, 0.0),
    ],
)
def test_focal_tversky_degenerate(reference, predicted, expected):
    value = numbers(focal_tversky_loss(maps(reference), maps(predicted), 0.7, 0.75, 1.0))
    assert value == pytest.approx([expected], abs=1e-5)


MISSED, FALSE = -math.log(1e-7), -math.log(2**-23)
"""What a pixel costs where the model is certain and wrong: in float32, 1 - 1e-7 is 1 - 2^-23."""


@pytest.mark.parametrize(
    ("reference", "predicted", "expected"),
    [
        # boundary_weight 0: mean cross-entropy + 1 - (overlap + 1) / (union + 1)
        (EMPTY, EMPTY, 0.0),
        (EMPTY, FULL, FALSE + 4 / 5),
        (EMPTY, HALF, FALSE / 2 + 2 / 3),
        (FULL, EMPTY, MISSED + 4 / 5),
        (FULL, FULL, 0.0),
        (FULL, HALF, MISSED / 2 + 2 / 5),
        (HALF, EMPTY, MISSED / 2 + 2 / 3),
        (HALF, FULL, FALSE / 2 + 2 / 5),
        (HALF, HALF, 0.0),
    ],
)
def test_structure_degenerate(reference, predicted, expected):
    value = numbers(structure_loss(maps(reference), maps(predicted), 0.0, 3))
    assert value == pytest.approx([expected], rel=1e-5, abs=1e-5)


def test_structure_weighs_by_the_mean_around():
    generator = np.random.default_rng(1)
    reference = (generator.random((9, 7)) > 0.6).astype(np.float32)
    predicted = generator.uniform(0.05, 0.95, (9, 7)).astype(np.float32)
    weight = np.empty((9, 7))
    for row in range(9):
        for column in range(7):
            inside = reference[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
            weight[row, column] = 1 + 5 * abs(inside.sum() / 25 - reference[row, column])
    entropy = -(reference * np.log(predicted) + (1 - reference) * np.log(1 - predicted))
    overlap = (weight * reference * predicted).sum()
    union = (weight * (reference + predicted)).sum() - overlap
    expected = (weight * entropy).sum() / weight.sum() + 1 - (overlap + 1) / (union + 1)
    found = numbers(structure_loss(reference[None, ..., None], predicted[None, ..., None], 5.0, 5))
    assert found == pytest.approx([expected], rel=1e-5)


LOSSES = [FocalTversky(), Lovasz(), Structure(window=5), BinaryCrossentropyDice(1.0)]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_batch_with_an_empty_image_is_the_mean_of_its_images_and_the_gradient_is_finite(loss):
    reference, predicted = maps(HALF, EMPTY), maps([0.9, 0.2, 0.4, 0.1], [0.3, 0.0, 1.0, 0.6])
    alone = [float(numbers(loss(reference[i : i + 1], predicted[i : i + 1]))) for i in range(2)]
    assert float(numbers(loss(reference, predicted))) == pytest.approx(np.mean(alone), rel=1e-6)
    weight = keras.Variable(predicted)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = loss(reference, weight.value)
        gradient = tape.gradient(value, weight.value)
        assert np.isfinite(gradient.numpy()).all()
        assert np.abs(gradient.numpy()).max() > 0


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_loss_is_rebuilt_from_its_config(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"name": "focal_tversky", "gamma": 0.5}, "gamma"),
        ({"name": "focal_tversky", "false_negative_weight": 0.4}, "false_negative_weight"),
        ({"name": "focal_tversky", "smooth": 3.0}, "smooth"),
        ({"name": "structure", "boundary_weight": 2.0}, "boundary_weight"),
        ({"name": "structure", "window": 3}, "window"),
        ({"name": "bce_dice", "dice_weight": 1.0}, "dice_weight"),
    ],
)
def test_every_setting_of_a_named_loss_acts(settings, key):
    generator = np.random.default_rng(2)
    reference, predicted = (generator.random((1, 9, 9, 1)) > 0.5).astype("float32"), generator.random((1, 9, 9, 1))
    changed, default = build_loss(LossConfig(**settings)), build_loss(LossConfig(name=settings["name"]))
    assert changed.get_config()[key] == settings[key] != default.get_config()[key]
    assert float(numbers(changed(reference, predicted))) != float(numbers(default(reference, predicted)))


def test_window_without_a_centre_is_refused():
    with pytest.raises(ConfigError, match=r"loss.window 30: expected an odd number; take 31"):
        config_from({"loss": {"window": 30}})
