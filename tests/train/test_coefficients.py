import keras
import numpy as np
import pytest

from polypseg.metrics.overlap import dice, iou
from polypseg.train.coefficients import DiceCoefficient, IoUCoefficient, dice_coefficient, iou_coefficient


def maps(*rows):
    return np.array(rows, np.float32)[:, None, :, None]


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


def test_coefficients_by_hand():
    # predicted pixels 1, 2 and 3, reference pixels 1 and 4: overlap 1, areas 3 + 2, union 4
    reference, predicted = maps([1, 0, 0, 1]), maps([0.9, 0.5, 0.6, 0.4])
    assert numbers(dice_coefficient(reference, predicted)) == pytest.approx([2 / 5])
    assert numbers(iou_coefficient(reference, predicted)) == pytest.approx([1 / 4])


@pytest.mark.parametrize(
    ("reference", "predicted", "expected"),
    [
        ([0, 0], [0, 0], (1, 1)),
        ([0, 0], [1, 1], (0, 0)),
        ([1, 1], [0, 0], (0, 0)),
        ([1, 1], [1, 1], (1, 1)),
        ([1, 0], [1, 1], (2 / 3, 1 / 2)),
        ([1, 1], [0, 1], (2 / 3, 1 / 2)),
        ([1, 0], [0, 1], (0, 0)),
        ([1], [1], (1, 1)),
    ],
)
def test_coefficients_degenerate(reference, predicted, expected):
    found = [numbers(f(maps(reference), maps(predicted)))[0] for f in (dice_coefficient, iou_coefficient)]
    assert found == pytest.approx(expected)


def test_metrics_average_over_images_not_over_batches():
    # Dice 1 and 0 in a batch of two, then 1 in a batch of one: 2 / 3, not (1/2 + 1) / 2.
    metric = DiceCoefficient()
    metric.update_state(maps([1, 0], [1, 0]), maps([1, 0], [0, 1]))
    metric.update_state(maps([1, 1]), maps([1, 1]))
    assert float(metric.result()) == pytest.approx(2 / 3)


def test_metrics_agree_with_the_numpy_metrics():
    generator = np.random.default_rng(0)
    reference, predicted = generator.random((2, 6, 9, 7, 1)) > 0.6
    for metric, function in ((DiceCoefficient(), dice), (IoUCoefficient(), iou)):
        metric.update_state(reference.astype("float32"), predicted.astype("float32"))
        pairs = zip(predicted[..., 0], reference[..., 0], strict=True)
        assert float(metric.result()) == pytest.approx(np.mean([function(p, r) for p, r in pairs]), abs=1e-6)


@pytest.mark.parametrize("metric", [DiceCoefficient, IoUCoefficient])
def test_threshold_acts_and_is_rebuilt(metric):
    strict = metric(threshold=0.7)
    strict.update_state(maps([1, 1]), maps([0.6, 0.6]))
    assert float(strict.result()) == 0
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(strict))
    assert again.threshold == 0.7
    assert again.name == metric().name
