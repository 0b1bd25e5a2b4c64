"""Loss, Dice and IoU at the model's own size, in NumPy: what Keras' `model.evaluate` gives for one image.

These stand beside the scores, not among them: the figures that count are measured at the image's own size.
"""

import math

import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Mask, Probability
from polypseg.config import LossConfig
from polypseg.metrics.overlap import count

EPSILON = np.float32(1e-7)
"""As the training's loss has it; in float32, where 1 - 1e-7 is 0.99999988."""


def loss(probability: Probability, reference: Mask, config: LossConfig) -> float:
    """Binary cross-entropy + dice_weight x (1 - soft Dice) of one image, as `BinaryCrossentropyDice` gives it.

    Args:
        probability: Shape (size, size), float32 in [0, 1], as it leaves the model.
        reference: Shape (size, size), bool.
        config: Weight and smooth term.

    >>> round(loss(np.full((2, 2), 0.5, np.float32), np.eye(2, dtype=bool), LossConfig(dice_weight=0, smooth=1)), 4)
    0.6931
    """
    clipped = np.clip(probability, EPSILON, np.float32(1) - EPSILON)
    logarithms = np.log(np.where(reference, clipped, np.float32(1) - clipped))
    entropy = -float(logarithms.mean(dtype=np.float64))
    overlap = float(probability[reference].sum(dtype=np.float64))
    areas = float(np.count_nonzero(reference)) + float(probability.sum(dtype=np.float64))
    dice_loss = 1 - (2 * overlap + config.smooth) / (areas + config.smooth)
    return entropy + config.dice_weight * dice_loss


def model_size_columns(
    probability: NDArray[np.float32], reference: Mask, config: LossConfig | None
) -> dict[str, float]:
    """The columns `loss` (NaN without a config), `model_size_dice` and `model_size_iou`.

    Dice and IoU are those at 0.5, 1 for an empty pair.
    """
    counts = count(probability >= np.float32(0.5), reference)
    return {
        "loss": loss(probability, reference, config) if config else math.nan,
        "model_size_dice": counts.dice,
        "model_size_iou": counts.iou,
    }
