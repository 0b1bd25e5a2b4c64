"""Batch normalisation measured anew, for weights that no step has run with: averages over steps or over runs."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from polypseg.data.batches import BatchPlan, PyBatches, SampleReader

NUM_IMAGES = 256
"""So many training images measure it, unless told otherwise."""


def measure_normalisation(model: keras.Model, batches: Iterable[NDArray[np.float32]]) -> None:
    """Sets each batch normalisation's moving mean and variance to the mean over the batches, in place."""
    layers = normalisations(model)
    kept = [layer.momentum for layer in layers]
    try:
        for number, batch in enumerate(batches):
            for layer in layers:
                layer.momentum = number / (number + 1)
            model(keras.ops.convert_to_tensor(batch), training=True)
    finally:
        for layer, momentum in zip(layers, kept, strict=True):
            layer.momentum = momentum


def normalisations(model: keras.Model) -> list[Any]:
    """The layers, those of nested models (encoders of `keras.applications`) too."""
    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]


def calibration_batches(
    reader: SampleReader, plan: BatchPlan, num_images: int = NUM_IMAGES
) -> Iterator[NDArray[np.float32]]:
    """The first epoch's batches again, as far as needed; whole ones where there are any.

    Args:
        reader: Of the training images.
        plan: How the training changes them.
        num_images: About so many.
    """
    batches = PyBatches(reader, plan)
    for index in range(min(len(batches), max(1, num_images // plan.batch_size))):
        images, _ = batches[index]
        if index == 0 or len(images) == plan.batch_size:
            yield images
