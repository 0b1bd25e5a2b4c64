"""The parts that networks are made of: two convolutions, the attention gate, and a faster batch normalisation.

Every part takes and returns Keras tensors and names its layers after the role that they play
(`encoder_1_convolution_1`, `gate_2_psi`), so that a figure, a summary and a weight can be found by name.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras
from keras import layers, ops

from polypseg.models.winograd import WinogradConvolution

BATCH_MOMENTUM = 0.9
"""Of the moving averages. Keras' 0.99 lags by hundreds of steps, and an epoch of Kvasir-SEG has a hundred."""

SLOW_BATCH_MOMENTUM = 0.99
"""The same over a pretrained encoder, whose averages begin near their place, and whose weights are averaged slowly
too: averages of the last ten batches fit neither."""


@keras.saving.register_keras_serializable("polypseg")
class FusedBatchNormalization(layers.BatchNormalization):  # type: ignore[misc]
    """Batch normalisation through TensorFlow's fused kernel where that is the backend, else Keras' own.

    The same variables and the same numbers as `keras.layers.BatchNormalization`: the fused kernel's
    variance, which divides by n - 1, is brought back to n before it enters the moving average. Keras
    itself composes the operation of small ones, each of which reads and writes the whole batch
    (docs/explanation/performance.md).

    Reference:
        Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
        Covariate Shift", ICML 2015.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """The normalised inputs, of the same shape (N, H, W, C)."""
        fits = len(inputs.shape) == 4 and self.axis in (-1, 3) and self.scale and self.center and mask is None
        if keras.backend.backend() != "tensorflow" or not fits or self.compute_dtype == "float64":
            return super().call(inputs, training=training, mask=mask)
        return self._call_fused(ops.convert_to_tensor(inputs), bool(training) and self.trainable)

    def _call_fused(self, inputs: Any, training: bool) -> Any:
        import tensorflow as tf

        fused = tf.compat.v1.nn.fused_batch_norm
        scale, offset = (ops.cast(variable, "float32") for variable in (self.gamma, self.beta))
        if not training:
            mean, variance = (ops.cast(v, "float32") for v in (self.moving_mean, self.moving_variance))
            return fused(inputs, scale, offset, mean, variance, epsilon=self.epsilon, is_training=False)[0]
        outputs, mean, variance = fused(inputs, scale, offset, epsilon=self.epsilon, is_training=True)
        shape = ops.shape(inputs)
        count = ops.cast(shape[0] * shape[1] * shape[2], "float32")
        biased = variance * (count - 1.0) / count
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, biased)):
            moving.assign(moving * self.momentum + ops.cast(batch, moving.dtype) * (1.0 - self.momentum))
        return outputs


PLAIN_LAYERS: Mapping[type[layers.Layer], type[layers.Layer]] = MappingProxyType(
    {FusedBatchNormalization: layers.BatchNormalization, WinogradConvolution: layers.Conv2D}
)
"""Keras' own layer for each of ours: the same config, the same variables, the same numbers but for rounding."""


def convolution(inputs: Any, filters: int, name: str, momentum: float = BATCH_MOMENTUM) -> Any:
    """A 3x3 convolution, batch normalisation, ReLU: (N, H, W, C) to (N, H, W, filters)."""
    features = WinogradConvolution(
        filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_convolution"
    )(inputs)
    features = FusedBatchNormalization(momentum=momentum, name=f"{name}_normalisation")(features)
    return layers.ReLU(name=f"{name}_relu")(features)


def double_convolution(inputs: Any, filters: int, name: str, momentum: float = BATCH_MOMENTUM) -> Any:
    """Two 3x3 convolutions, each with batch normalisation and ReLU: the level of a U-Net."""
    return convolution(convolution(inputs, filters, f"{name}_1", momentum), filters, f"{name}_2", momentum)


def attention_gate(skip: Any, gating: Any, filters: int, name: str) -> Any:
    """The skip connection, scaled at each pixel by how much the coarser level attends to it.

    alpha = sigmoid(psi(relu(theta(x) + phi(g)))), computed at the gating signal's resolution and
    resampled bilinearly to the skip's; the result is alpha * x.

    Args:
        skip: x, shape (N, H, W, C).
        gating: g, shape (N, H/2, W/2, D).
        filters: Channels of the joint space (F_int).
        name: Prefix of the layers; the coefficients alpha (N, H, W, 1) come out of `{name}_attention`.

    Reference:
        Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018, eq. 1-2 and fig. 2.
    """
    theta = layers.Conv2D(filters, 2, strides=2, use_bias=False, name=f"{name}_theta")(skip)
    phi = layers.Conv2D(filters, 1, name=f"{name}_phi")(gating)
    joint = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([theta, phi]))
    psi = layers.Conv2D(1, 1, activation="sigmoid", name=f"{name}_psi")(joint)
    alpha = layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_attention")(psi)
    return layers.Multiply(name=f"{name}_gated")([skip, alpha])
