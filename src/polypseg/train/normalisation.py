"""Batch normalisation measured again, for weights that no step has run with.

These are averages over steps or over runs, and what an export has folded.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from polypseg.data.batches import PyBatches, SampleReader
from polypseg.data.epochs import BatchPlan

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


def settle_normalisation(model: keras.Model, batches: Iterable[NDArray[np.float32]]) -> None:
    """Gives each batch normalisation the statistics of what comes into it, and scale and offset so that the model
    predicts what it did: thus a network whose normalisations were folded away can be trained.

    In training a normalisation takes the batch's statistics instead of its own. Where its own are not those of images
    (folded they are mean 0 and variance 1), the first step would change all that the network has learned. The
    normalisations of gates keep within their limits, which changes the coefficients a little where the statistics of
    the first training lagged behind.

    Args:
        model: Changed in place; none of its normalisations is in a nested model.
        batches: Images, (N, height, width, 3) float32.
    """
    layers = normalisations(model)
    axes = (0, 1, 2)
    inputs = [keras.ops.cast(layer.input, "float32") for layer in layers]
    moments = [[keras.ops.mean(x, axes), keras.ops.mean(keras.ops.square(x), axes)] for x in inputs]
    measure = keras.Model(model.input, moments)
    means: list[Any] = []
    for number, batch in enumerate(batches):
        found = keras.tree.map_structure(keras.ops.convert_to_numpy, measure(batch, training=False))
        means = (
            found
            if number == 0
            else [
                [old + (new - old) / (number + 1) for old, new in zip(*pair, strict=True)]
                for pair in zip(means, found, strict=True)
            ]
        )
    for layer, (mean, square) in zip(layers, means, strict=True):
        variance = np.maximum(square - mean**2, 0)
        own_mean, own_variance, gamma, beta = map(
            keras.ops.convert_to_numpy, (layer.moving_mean, layer.moving_variance, layer.gamma, layer.beta)
        )
        scale = gamma / np.sqrt(own_variance + layer.epsilon)
        new_scale, offset = scale * np.sqrt(variance + layer.epsilon), beta + scale * (mean - own_mean)
        new_scale, offset = _within_limits(layer, new_scale, offset)
        layer.gamma.assign(new_scale)
        layer.beta.assign(offset)
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(variance)


def _within_limits(layer: Any, scale: Any, offset: Any) -> tuple[Any, Any]:
    """Scale and offset, brought within the limits that the normalisations of a gate have."""
    pairs = ((layer.gamma_constraint, scale), (layer.beta_constraint, offset))
    kept = [value if limits is None else keras.ops.convert_to_numpy(limits(value)) for limits, value in pairs]
    return kept[0], kept[1]


def freeze_normalisation(model: keras.Model) -> None:
    """Keeps each batch normalisation's statistics, scale and offset; training takes these, not those of the batch."""
    for layer in normalisations(model):
        layer.trainable = False


def normalisations(model: keras.Model) -> list[Any]:
    """The layers, those of nested models (encoders of `keras.applications`) too."""
    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]


def calibration_batches(
    reader: SampleReader, plan: BatchPlan, num_images: int = NUM_IMAGES
) -> Iterator[NDArray[np.float32]]:
    """The first epoch's batches again, as far as needed, not mixed; whole ones where there are any.

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
