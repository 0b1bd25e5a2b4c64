"""The parts that networks are made of: two convolutions, the attention gate, and a faster batch normalisation.

Every part takes and returns Keras tensors and names its layers after the role that they play
(`encoder_1_convolution_1`, `gate_2_psi`), so that a figure, a summary and a weight can be found by name.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import keras
from keras import layers, ops

from polypseg.models.winograd import WinogradConvolution

Gates = Literal["plain", "normalised"]
"""Whether batch normalisation stands behind each convolution of a gate, within limits."""


class GateLimits(NamedTuple):
    """Where a normalisation of a gate keeps its scale and its offset, and its scale at first."""

    scale: tuple[float, float]
    offset: tuple[float, float]
    first_scale: float


GATE_LIMITS: Mapping[str, GateLimits] = MappingProxyType(
    {
        "theta": GateLimits((0.5, 2.0), (-0.5, 0.5), 1.0),
        "phi": GateLimits((0.5, 2.0), (-0.5, 0.5), 1.0),
        "psi": GateLimits((1.0, 4.0), (-2.0, 2.0), 1.5),
    }
)
"""So the ReLU passes a part of every channel; and coefficients of offset -2 and scale 1 have a mean of about 0.15 and
spread by about 0.1. A first scale at a limit could move to one side only."""

GATE_EPSILON = 1e-5
"""Added to the variance in a gate. Weight decay makes psi's outputs small; Keras' 1e-3 would then flatten the gate."""

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


@keras.saving.register_keras_serializable("polypseg")
class Within(keras.constraints.Constraint):  # type: ignore[misc]
    """Keeps each value of a weight between two limits, after each step of the optimizer.

    Args:
        low: The lower limit.
        high: The upper limit.
    """

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def __call__(self, w: Any) -> Any:
        """The weight, of the same shape."""
        return ops.clip(w, self.low, self.high)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the constraint."""
        return {"low": self.low, "high": self.high}


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


def attention_gate(
    skip: Any, gating: Any, filters: int, name: str, kind: Gates = "normalised", momentum: float = BATCH_MOMENTUM
) -> Any:
    """The skip connection, scaled at each pixel by how much the coarser level attends to it.

    alpha = sigmoid(psi(relu(theta(x) + phi(g)))), computed at the gating signal's resolution and
    resampled bilinearly to the skip's; the result is alpha * x.

    A plain gate can die. Nothing anchors the level of alpha, because the next convolution is normalised: its weights
    make up for any factor. So psi's logits drift until the sigmoid is flat, and from there no gradient brings them
    back. In a normalised gate batch normalisation stands behind theta, phi and psi, as in MONAI's, but with limits for
    scale and offset: over the pixels of a batch the logits' variance is at least 1. An export folds the normalisations
    into the convolutions.

    Args:
        skip: x, shape (N, H, W, C).
        gating: g, shape (N, H/2, W/2, D).
        filters: Channels of the joint space (F_int).
        name: Prefix of the layers; the coefficients alpha (N, H, W, 1) come out of `{name}_attention`.
        kind: plain, as in the paper, or normalised.
        momentum: Of the moving averages of a normalised gate.

    Reference:
        Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018, eq. 1-2 and fig. 2.
    """
    is_plain = kind == "plain"
    theta = layers.Conv2D(filters, 2, strides=2, use_bias=False, name=f"{name}_theta")(skip)
    phi = layers.Conv2D(filters, 1, use_bias=is_plain, name=f"{name}_phi")(gating)
    if not is_plain:
        theta = _normalised_within_limits(theta, name, "theta", momentum)
        phi = _normalised_within_limits(phi, name, "phi", momentum)
    joint = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([theta, phi]))
    if is_plain:
        psi = layers.Conv2D(1, 1, activation="sigmoid", name=f"{name}_psi")(joint)
    else:
        psi = layers.Conv2D(1, 1, use_bias=False, name=f"{name}_psi")(joint)
        psi = _normalised_within_limits(psi, name, "psi", momentum)
        psi = layers.Activation("sigmoid", name=f"{name}_sigmoid")(psi)
    alpha = layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_attention")(psi)
    return layers.Multiply(name=f"{name}_gated")([skip, alpha])


def _normalised_within_limits(features: Any, name: str, part: str, momentum: float) -> Any:
    limits = GATE_LIMITS[part]
    return FusedBatchNormalization(
        momentum=momentum,
        epsilon=GATE_EPSILON,
        gamma_initializer=keras.initializers.Constant(limits.first_scale),
        gamma_constraint=Within(*limits.scale),
        beta_constraint=Within(*limits.offset),
        name=f"{name}_{part}_normalisation",
    )(features)


def gates_of(model: keras.Model) -> Gates | None:
    """Which gates a network of ours has; None for one without gates."""
    names = {layer.name for layer in model.layers}
    if not any(name.endswith("_psi") for name in names):
        return None
    return "normalised" if any(name.endswith("_psi_normalisation") for name in names) else "plain"
