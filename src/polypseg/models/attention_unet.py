"""The Attention U-Net, the reference model of the package, and the U-Net, the same without gates.

Read it beside figure 1 of Oktay et al. (MIDL 2018): F_1 … F_4 are the filters of the levels,
the gates stand on every skip before the concatenation.
"""

from typing import Any

import keras
from keras import layers

from polypseg.errors import ModelError
from polypseg.models.blocks import attention_gate, double_convolution


def attention_unet(
    input_shape: tuple[int | None, int | None, int] = (256, 256, 3),
    filters: int = 32,
    depth: int = 4,
    dropout: float = 0.0,
) -> keras.Model:
    """The Attention U-Net: (N, H, W, 3) float32 in [0, 1] to (N, H, W, 1) probability.

    Two 3x3 convolutions with batch normalisation and ReLU a level; the filters double at each of
    `depth` max-pools; an additive attention gate on every skip; a 1x1 convolution with a sigmoid.

    Args:
        input_shape: (height, width, channels); height and width divisible by 2**depth, or None for any such.
        filters: Filters of the first level (16 and 32 are the presets).
        depth: Number of max-pools.
        dropout: Rate after the bottleneck, 0 for none.

    Returns:
        A Keras functional model; the gates' coefficients are the outputs of the layers
        `gate_1_attention` (finest) … `gate_{depth}_attention`.

    Raises:
        ModelError: The shape does not fit the depth, or a number is out of range.

    Reference:
        Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018.
    """
    return _unet(input_shape, filters, depth, dropout, gated=True)


def unet(
    input_shape: tuple[int | None, int | None, int] = (256, 256, 3),
    filters: int = 32,
    depth: int = 4,
    dropout: float = 0.0,
) -> keras.Model:
    """The U-Net: `attention_unet` without its gates, for ablation; arguments and result as there.

    Reference:
        Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015.
    """
    return _unet(input_shape, filters, depth, dropout, gated=False)


def _unet(
    input_shape: tuple[int | None, int | None, int], filters: int, depth: int, dropout: float, gated: bool
) -> keras.Model:
    _check(input_shape, filters, depth, dropout)
    image = keras.Input(input_shape, name="image")
    features: Any = image
    skips = []
    for level in range(1, depth + 1):
        features = double_convolution(features, filters * 2 ** (level - 1), f"encoder_{level}")
        skips.append(features)
        features = layers.MaxPooling2D(2, name=f"encoder_{level}_pool")(features)

    features = double_convolution(features, filters * 2**depth, "bottleneck")
    if dropout:
        features = layers.Dropout(dropout, name="bottleneck_dropout")(features)

    for level in range(depth, 0, -1):
        width = filters * 2 ** (level - 1)
        skip = skips[level - 1]
        if gated:
            skip = attention_gate(skip, features, width, f"gate_{level}")
        features = layers.Conv2DTranspose(width, 2, strides=2, name=f"decoder_{level}_upsample")(features)
        features = layers.Concatenate(name=f"decoder_{level}_concatenate")([skip, features])
        features = double_convolution(features, width, f"decoder_{level}")

    logits = layers.Conv2D(1, 1, dtype="float32", name="head_logits")(features)
    probability = layers.Activation("sigmoid", dtype="float32", name="head_probability")(logits)
    return keras.Model(image, probability, name="attention_unet" if gated else "unet")


def _check(input_shape: tuple[int | None, int | None, int], filters: int, depth: int, dropout: float) -> None:
    if len(input_shape) != 3:
        raise ModelError(f"input_shape {input_shape}: expected (height, width, channels)")
    if filters < 1 or depth < 1 or not 0 <= dropout < 1:
        raise ModelError(
            f"expected filters >= 1, depth >= 1 and 0 <= dropout < 1; found filters {filters}, depth {depth}, "
            f"dropout {dropout}"
        )
    for side in input_shape[:2]:
        if side is not None and (side < 1 or side % 2**depth):
            raise ModelError(
                f"input_shape {input_shape}: {side} is not divisible by 2**depth = {2**depth}; "
                f"take {max(1, round(side / 2**depth)) * 2**depth}, or preprocess.resize_image first"
            )
