"""Dice and IoU as Keras metrics: of each image at a threshold, averaged over the images.

Of several maps (deep supervision) the first is judged. In a training metric an empty pair counts as 1 (DESIGN: metrics/
reports images without a polyp apart).
Keras' argument order holds here: (y_true, y_pred).
"""

from typing import Any

import keras
from keras import ops


def dice_coefficient(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Any:
    """Dice of each image, 2|A and B| / (|A| + |B|): (N, H, W, 1) twice to (N,), 1 for an empty pair.

    Args:
        y_true: Reference, values 0 and 1.
        y_pred: Probability; a pixel is predicted where it is at least `threshold`.
        threshold: In [0, 1].
    """
    overlap, areas = _overlap_and_areas(y_true, y_pred, threshold)
    return ops.where(areas > 0, 2.0 * overlap / ops.maximum(areas, 1.0), 1.0)


def iou_coefficient(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Any:
    """Intersection over union of each image: arguments and result as `dice_coefficient`."""
    overlap, areas = _overlap_and_areas(y_true, y_pred, threshold)
    union = areas - overlap
    return ops.where(union > 0, overlap / ops.maximum(union, 1.0), 1.0)


@keras.saving.register_keras_serializable("polypseg")
class DiceCoefficient(keras.metrics.MeanMetricWrapper):  # type: ignore[misc]
    """Mean over images of `dice_coefficient`."""

    def __init__(self, threshold: float = 0.5, name: str = "dice", dtype: Any = None) -> None:
        super().__init__(dice_coefficient, name=name, dtype=dtype, threshold=threshold)
        self.threshold = threshold

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the metric."""
        return {"threshold": self.threshold, "name": self.name}


@keras.saving.register_keras_serializable("polypseg")
class IoUCoefficient(keras.metrics.MeanMetricWrapper):  # type: ignore[misc]
    """Mean over images of `iou_coefficient`."""

    def __init__(self, threshold: float = 0.5, name: str = "iou", dtype: Any = None) -> None:
        super().__init__(iou_coefficient, name=name, dtype=dtype, threshold=threshold)
        self.threshold = threshold

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the metric."""
        return {"threshold": self.threshold, "name": self.name}


def _overlap_and_areas(y_true: Any, y_pred: Any, threshold: float) -> tuple[Any, Any]:
    reference = ops.cast(ops.convert_to_tensor(y_true) >= 0.5, "float32")
    predicted = ops.cast(ops.convert_to_tensor(y_pred)[..., :1] >= threshold, "float32")
    axes = (1, 2, 3)
    overlap = ops.sum(reference * predicted, axis=axes)
    return overlap, ops.sum(reference, axis=axes) + ops.sum(predicted, axis=axes)
