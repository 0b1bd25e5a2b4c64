"""Losses, one value per image, averaged over the batch.

Keras' argument order holds here, as Keras calls them: (y_true, y_pred), that is (reference, predicted probability).
"""

from typing import Any

import keras
from keras import ops

from polypseg.config import LossConfig

EPSILON = 1e-7
"""Probabilities are kept this far from 0 and 1 before a logarithm."""


def binary_crossentropy(y_true: Any, y_pred: Any) -> Any:
    """Binary cross-entropy of each image, averaged over its pixels: (N, H, W, 1) twice to (N,).

    -mean(t log p + (1 - t) log(1 - p)), natural logarithm, p clipped to [1e-7, 1 - 1e-7].
    """
    y_true, y_pred = ops.cast(y_true, y_pred.dtype), ops.clip(y_pred, EPSILON, 1.0 - EPSILON)
    value = y_true * ops.log(y_pred) + (1.0 - y_true) * ops.log(1.0 - y_pred)
    return -ops.mean(value, axis=(1, 2, 3))


def dice_loss(y_true: Any, y_pred: Any, smooth: float) -> Any:
    """One minus the soft Dice of each image: (N, H, W, 1) twice to (N,).

    1 - (2 sum(t p) + s) / (sum(t) + sum(p) + s), each image on its own: a batch is no larger image.

    Args:
        y_true: Reference, values 0 and 1.
        y_pred: Predicted probability.
        smooth: s, in pixels; two empty maps give exactly 0 for any s > 0.

    Reference:
        Milletari et al., "V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image
        Segmentation", 3DV 2016, with the sums unsquared.
    """
    y_true = ops.cast(y_true, y_pred.dtype)
    overlap = ops.sum(y_true * y_pred, axis=(1, 2, 3))
    areas = ops.sum(y_true, axis=(1, 2, 3)) + ops.sum(y_pred, axis=(1, 2, 3))
    return 1.0 - (2.0 * overlap + smooth) / (areas + smooth)


@keras.saving.register_keras_serializable("polypseg")
class BinaryCrossentropyDice(keras.losses.Loss):  # type: ignore[misc]
    """Binary cross-entropy + `dice_weight` x (1 - Dice), the reference system's loss.

    Args:
        dice_weight: Weight of the Dice term; 0 leaves the cross-entropy alone.
        smooth: Smooth term of Dice, in pixels.
        keywords: As for `keras.losses.Loss`.

    Reference:
        Isensee et al., "nnU-Net", Nature Methods 18, 2021 (cross-entropy and Dice summed).
    """

    def __init__(self, dice_weight: float = 0.5, smooth: float = 1.0, **keywords: Any) -> None:
        super().__init__(**{"name": "bce_dice", **keywords})
        self.dice_weight, self.smooth = dice_weight, smooth

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each image, (N, H, W, 1) twice to (N,)."""
        return binary_crossentropy(y_true, y_pred) + self.dice_weight * dice_loss(y_true, y_pred, self.smooth)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the loss."""
        return {**super().get_config(), "dice_weight": self.dice_weight, "smooth": self.smooth}


@keras.saving.register_keras_serializable("polypseg")
class DeepSupervision(keras.losses.Loss):  # type: ignore[misc]
    """A loss of each level's map, weighted 1, 1/2, 1/4, … over the weights' sum.

    Args:
        loss: Judges one map.
        keywords: As for `keras.losses.Loss`.

    Reference:
        Isensee et al., "nnU-Net", Nature Methods 18, 2021 (the weights).
    """

    def __init__(self, loss: keras.losses.Loss, **keywords: Any) -> None:
        super().__init__(**{"name": "deep_supervision", **keywords})
        self.loss = loss

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each image: reference (N, H, W, 1), maps (N, H, W, levels), the finest first, to (N,)."""
        weights = [2.0**-level for level in range(y_pred.shape[-1])]
        levels = [self.loss.call(y_true, y_pred[..., level : level + 1]) for level in range(len(weights))]
        return sum(w * value for w, value in zip(weights, levels, strict=True)) / sum(weights)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the loss."""
        return {**super().get_config(), "loss": keras.saving.serialize_keras_object(self.loss)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "DeepSupervision":
        """The loss of such a config."""
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})


def build_loss(config: LossConfig) -> keras.losses.Loss:
    """The loss of a config."""
    return BinaryCrossentropyDice(config.dice_weight, config.smooth)
