"""The gradient of a model's answer by the pixels of its input, in whichever backend Keras runs.

The answer is the mean probability over the mask; a pixel's value is the sum over its colours of the
gradient's size, divided by the largest of the frame. It shows which pixels the answer would follow, not what they show.

Reference:
    Simonyan, Vedaldi, Zisserman, "Deep Inside Convolutional Networks: Visualising Image Classification Models and
    Saliency Maps", ICLR workshop 2014.
"""

import keras
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Mask
from polypseg.errors import UsageError

Pixels = NDArray[np.float32]


def gradient_map(model: keras.Model, pixels: Pixels, mask: Mask) -> NDArray[np.float32]:
    """How much the mean probability over a mask follows each pixel.

    Args:
        model: One input (N, size, size, 3), one output (N, size, size, 1).
        pixels: Shape (size, size, 3), float32 in [0, 1].
        mask: Shape (size, size), bool, not empty.

    Returns:
        Shape (size, size), float32 in [0, 1]; zeros where the answer follows nothing.

    Raises:
        UsageError: A backend without gradients.
    """
    backend = keras.backend.backend()
    if backend not in _GRADIENTS:
        raise UsageError(
            f"Keras' backend {backend!r} gives no gradients; set KERAS_BACKEND to tensorflow, jax or torch"
        )
    weights = mask[np.newaxis, ..., np.newaxis].astype(np.float32) / np.float32(mask.sum())
    found = np.abs(_GRADIENTS[backend](model, pixels[np.newaxis], weights)[0]).sum(axis=2)
    largest = float(found.max())
    return np.asarray(found / largest if largest > 0 else found, np.float32)


def _of_tensorflow(model: keras.Model, batch: Pixels, weights: Pixels) -> Pixels:
    import tensorflow as tf

    given = tf.constant(batch)
    with tf.GradientTape() as tape:
        tape.watch(given)
        answer = tf.reduce_sum(model(given, training=False) * weights)
    found = tape.gradient(answer, given)
    return np.zeros_like(batch) if found is None else np.asarray(found.numpy(), np.float32)


def _of_jax(model: keras.Model, batch: Pixels, weights: Pixels) -> Pixels:
    import jax

    trained = [each.value for each in model.trainable_variables]
    fixed = [each.value for each in model.non_trainable_variables]

    def answer(given: Pixels) -> float:
        return (model.stateless_call(trained, fixed, given, training=False)[0] * weights).sum()  # type: ignore[no-any-return]

    return np.asarray(jax.grad(answer)(batch), np.float32)


def _of_torch(model: keras.Model, batch: Pixels, weights: Pixels) -> Pixels:
    import torch

    device = next(iter(model.parameters())).device if len(list(model.parameters())) else torch.device("cpu")
    given = torch.tensor(batch, device=device, requires_grad=True)
    (model(given, training=False) * torch.tensor(weights, device=device)).sum().backward()
    return np.zeros_like(batch) if given.grad is None else np.asarray(given.grad.cpu().numpy(), np.float32)


_GRADIENTS = {"tensorflow": _of_tensorflow, "jax": _of_jax, "torch": _of_torch}
