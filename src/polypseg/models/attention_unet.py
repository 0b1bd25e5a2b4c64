"""The Attention U-Net, the reference model of the package, and the U-Net, the same without gates.

Read it beside figure 1 of Oktay et al. (MIDL 2018): F_1 … F_4 are the filters of the levels,
the gates stand on every skip before the concatenation. With an encoder's name the left half is a
pretrained network (encoders.py) and the right half stays what it is.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from keras import layers

from polypseg.errors import ModelError
from polypseg.models.blocks import SLOW_BATCH_MOMENTUM, Gates, attention_gate, double_convolution
from polypseg.models.encoders import STRIDES, encode

PRIOR = 0.15
"""Share of polyp pixels in Kvasir-SEG's training images. A new head says this everywhere, as a focal loss's does
(Lin et al., ICCV 2017, sec. 4.1), so that a training does not spend its first epochs on the background."""

WIDTHS = (1, 2, 3, 5)
"""The decoder's filters over an encoder, finest level first, in units of `filters`."""


def attention_unet(
    input_shape: tuple[int | None, int | None, int] = (256, 256, 3),
    filters: int = 32,
    depth: int = 4,
    dropout: float = 0.0,
    encoder: str | None = None,
    encoder_weights: str | Path | None = None,
    decoder_filters: Sequence[int] = (),
    gates: Gates = "normalised",
) -> keras.Model:
    """The Attention U-Net: (N, H, W, 3) float32 in [0, 1] to (N, H, W, 1) probability.

    Two 3x3 convolutions with batch normalisation and ReLU a level; the filters double at each of
    `depth` max-pools; an additive attention gate on every skip; a 1x1 convolution with a sigmoid.
    Over a pretrained encoder, whose maps begin at stride 2, the decoder ends there too, and its logits
    are upsampled bilinearly.

    Args:
        input_shape: (height, width, channels); height and width divisible by 2**depth (by 32 with an encoder), or
            None for any such.
        filters: Filters of the first level (16 and 32 are the presets); with an encoder the decoder's four levels
            have 1, 2, 3 and 5 times as many.
        depth: Number of max-pools; with an encoder 4, the number of its skips.
        dropout: Rate after the bottleneck, 0 for none.
        encoder: One of `encoders.ENCODERS`, None for the paper's own.
        encoder_weights: None for random ones, "imagenet", or the path of a file, as `encoders.encode` takes them.
        decoder_filters: With an encoder: the decoder's four widths, finest first, instead of what follows from
            `filters`.
        gates: normalised, or plain as in the paper (`blocks.attention_gate` tells the difference). Weights that were
            saved without their network before this argument existed need "plain".

    Returns:
        A Keras functional model; the gates' coefficients are the outputs of the layers
        `gate_1_attention` (finest) … `gate_{depth}_attention`.

    Raises:
        ModelError: The shape does not fit the depth, a number is out of range, the encoder is unknown, or its weights
            cannot be had.

    Reference:
        Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018.
    """
    if encoder is not None:
        widths = tuple(decoder_filters) or tuple(filters * width for width in WIDTHS)
        return _over_encoder(input_shape, encoder, encoder_weights, widths, depth, dropout, gates)
    if encoder_weights is not None or decoder_filters:
        raise ModelError("encoder_weights and decoder_filters belong to an encoder; name one, or leave them out")
    return _unet(input_shape, filters, depth, dropout, gates)


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
    return _unet(input_shape, filters, depth, dropout, gates=None)


def _unet(
    input_shape: tuple[int | None, int | None, int], filters: int, depth: int, dropout: float, gates: Gates | None
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
        if gates is not None:
            skip = attention_gate(skip, features, width, f"gate_{level}", gates)
        features = layers.Conv2DTranspose(width, 2, strides=2, name=f"decoder_{level}_upsample")(features)
        features = layers.Concatenate(name=f"decoder_{level}_concatenate")([skip, features])
        features = double_convolution(features, width, f"decoder_{level}")

    logits = _logits(features)
    return keras.Model(image, _probability(logits), name="unet" if gates is None else "attention_unet")


def _over_encoder(
    input_shape: tuple[int | None, int | None, int],
    encoder: str,
    encoder_weights: str | Path | None,
    widths: Sequence[int],
    depth: int,
    dropout: float,
    gates: Gates,
) -> keras.Model:
    num_skips = len(STRIDES) - 1
    if depth != num_skips or len(widths) != num_skips:
        raise ModelError(
            f"an encoder has {num_skips} skips; expected depth {num_skips} and as many decoder_filters, found depth "
            f"{depth} and {len(widths)} widths"
        )
    _check(input_shape, min(widths), len(STRIDES), dropout)
    image = keras.Input(input_shape, name="image")
    *skips, features = encode(encoder, image, encoder_weights)
    if dropout:
        features = layers.Dropout(dropout, name="bottleneck_dropout")(features)
    for level in range(num_skips, 0, -1):
        width, skip = widths[level - 1], skips[level - 1]
        skip = attention_gate(skip, features, width, f"gate_{level}", gates, SLOW_BATCH_MOMENTUM)
        features = layers.UpSampling2D(2, interpolation="bilinear", name=f"decoder_{level}_upsample")(features)
        features = layers.Concatenate(name=f"decoder_{level}_concatenate")([skip, features])
        features = double_convolution(features, width, f"decoder_{level}", SLOW_BATCH_MOMENTUM)
    logits = layers.UpSampling2D(2, interpolation="bilinear", dtype="float32", name="head_upsample")(_logits(features))
    return keras.Model(image, _probability(logits), name="attention_unet")


def prior_bias() -> keras.initializers.Initializer:
    """What a new head's bias is: the logit of `PRIOR`."""
    return keras.initializers.Constant(math.log(PRIOR / (1 - PRIOR)))


def _logits(features: Any) -> Any:
    return layers.Conv2D(1, 1, bias_initializer=prior_bias(), dtype="float32", name="head_logits")(features)


def _probability(logits: Any) -> Any:
    return layers.Activation("sigmoid", dtype="float32", name="head_probability")(logits)


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
