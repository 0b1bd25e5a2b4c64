"""Losses, one value an image, averaged over the batch.

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


def focal_tversky_loss(y_true: Any, y_pred: Any, false_negative_weight: float, gamma: float, smooth: float) -> Any:
    """The focal Tversky loss of each image: (N, H, W, 1) twice to (N,).

    (1 - T)^gamma with T = (TP + s) / (TP + a FN + (1 - a) FP + s), sums of probabilities.

    Args:
        y_true: Reference, values 0 and 1.
        y_pred: Predicted probability.
        false_negative_weight: a in [0, 1]; above one half a missed pixel costs more than a false one.
        gamma: Below 1 the gradient grows as the overlap becomes good (the paper's 1/gamma of 4/3 is 0.75).
        smooth: s, in pixels; two empty maps give 0 but for the rounding that keeps the gradient finite (1e-7^gamma).

    Reference:
        Abraham and Khan, "A Novel Focal Tversky Loss Function with Improved Attention U-Net for Lesion
        Segmentation", ISBI 2019, eq. 3-4.
    """
    y_true = ops.cast(y_true, y_pred.dtype)
    hit = ops.sum(y_true * y_pred, axis=(1, 2, 3))
    missed = ops.sum(y_true * (1.0 - y_pred), axis=(1, 2, 3))
    false = ops.sum((1.0 - y_true) * y_pred, axis=(1, 2, 3))
    weighted = false_negative_weight * missed + (1.0 - false_negative_weight) * false
    return ops.power(ops.maximum(weighted / (hit + weighted + smooth), EPSILON), gamma)


def lovasz_loss(y_true: Any, y_pred: Any) -> Any:
    """The Lovász extension of one minus the IoU of the polyp, of each image: (N, H, W, 1) twice to (N,).

    The errors |t - p|, the largest first, weighted by what each adds to the Jaccard loss of the pixels before it.
    On maps of zeros and ones it is exactly 1 - IoU; an empty reference gives the largest probability.

    Reference:
        Berman et al., "The Lovász-Softmax Loss", CVPR 2018, eq. 8-12, for the foreground class.
    """
    shape = ops.shape(y_pred)
    truth = ops.reshape(ops.cast(y_true, y_pred.dtype), (shape[0], -1))
    errors = ops.abs(truth - ops.reshape(y_pred, (shape[0], -1)))
    order = ops.argsort(-errors, axis=1)
    errors, truth = ops.take_along_axis(errors, order, axis=1), ops.take_along_axis(truth, order, axis=1)
    total = ops.sum(truth, axis=1, keepdims=True)
    remaining = total - ops.cumsum(truth, axis=1)
    union = total + ops.cumsum(1.0 - truth, axis=1)  # at least 1 from the first pixel on
    jaccard = 1.0 - remaining / union
    steps = ops.concatenate([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], axis=1)
    return ops.sum(errors * ops.stop_gradient(steps), axis=1)


def structure_loss(y_true: Any, y_pred: Any, boundary_weight: float, window: int) -> Any:
    """PraNet's structure loss of each image: weighted cross-entropy + weighted soft IoU, (N, H, W, 1) twice to (N,).

    A pixel weighs 1 + b |mean of the reference around it - reference|, so that the polyp's boundary counts most.
    PraNet's published code asks its cross-entropy for `reduce='none'`, which averages it before the weights act;
    here the weights act, as its paper says.

    Args:
        y_true: Reference, values 0 and 1.
        y_pred: Predicted probability.
        boundary_weight: b, 5 in the paper; 0 weighs all pixels alike.
        window: Odd side in pixels of the square that the mean is taken over, zero outside the image; 31 there.

    Reference:
        Fan et al., "PraNet: Parallel Reverse Attention Network for Polyp Segmentation", MICCAI 2020, sec. 2.4.
    """
    y_true, clipped = ops.cast(y_true, y_pred.dtype), ops.clip(y_pred, EPSILON, 1.0 - EPSILON)
    margin = window // 2
    around = ops.pad(y_true, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    around = ops.average_pool(around, (window, 1), 1, "valid", "channels_last")
    around = ops.average_pool(around, (1, window), 1, "valid", "channels_last")
    weight = 1.0 + boundary_weight * ops.abs(around - y_true)
    entropy = -(y_true * ops.log(clipped) + (1.0 - y_true) * ops.log(1.0 - clipped))
    entropy = ops.sum(weight * entropy, axis=(1, 2, 3)) / ops.sum(weight, axis=(1, 2, 3))
    overlap = ops.sum(weight * y_true * y_pred, axis=(1, 2, 3))
    union = ops.sum(weight * (y_true + y_pred), axis=(1, 2, 3)) - overlap
    return entropy + 1.0 - (overlap + 1.0) / (union + 1.0)


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
class FocalTversky(keras.losses.Loss):  # type: ignore[misc]
    """`focal_tversky_loss`, averaged over the batch; arguments as there."""

    def __init__(
        self, false_negative_weight: float = 0.7, gamma: float = 0.75, smooth: float = 1.0, **keywords: Any
    ) -> None:
        super().__init__(**{"name": "focal_tversky", **keywords})
        self.false_negative_weight, self.gamma, self.smooth = false_negative_weight, gamma, smooth

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each image, (N, H, W, 1) twice to (N,)."""
        return focal_tversky_loss(y_true, y_pred, self.false_negative_weight, self.gamma, self.smooth)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the loss."""
        settings = {"false_negative_weight": self.false_negative_weight, "gamma": self.gamma, "smooth": self.smooth}
        return {**super().get_config(), **settings}


@keras.saving.register_keras_serializable("polypseg")
class Lovasz(keras.losses.Loss):  # type: ignore[misc]
    """`lovasz_loss`, averaged over the batch."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**{"name": "lovasz", **keywords})

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each image, (N, H, W, 1) twice to (N,)."""
        return lovasz_loss(y_true, y_pred)


@keras.saving.register_keras_serializable("polypseg")
class Structure(keras.losses.Loss):  # type: ignore[misc]
    """`structure_loss`, averaged over the batch; arguments as there."""

    def __init__(self, boundary_weight: float = 5.0, window: int = 31, **keywords: Any) -> None:
        super().__init__(**{"name": "structure", **keywords})
        self.boundary_weight, self.window = boundary_weight, window

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each image, (N, H, W, 1) twice to (N,)."""
        return structure_loss(y_true, y_pred, self.boundary_weight, self.window)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the loss."""
        return {**super().get_config(), "boundary_weight": self.boundary_weight, "window": self.window}


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
    """The loss that a config names."""
    if config.name == "focal_tversky":
        return FocalTversky(config.false_negative_weight, config.gamma, config.smooth)
    if config.name == "lovasz":
        return Lovasz()
    if config.name == "structure":
        return Structure(config.boundary_weight, config.window)
    return BinaryCrossentropyDice(config.dice_weight, config.smooth)
