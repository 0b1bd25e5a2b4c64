"""Backbones of KerasHub as encoders: MiT (SegFormer's) and DINOv2. KerasHub is imported when one of them is built.

Decisions:
- MiT has maps at strides 4 to 32, a vision transformer at one stride only: a simple feature pyramid makes the others.
- Neither has a map at stride 2; the image, averaged 2x2, stands in for it, as for ConvNeXt.
- DINOv2 has patches of 14 pixels. The image is resized so that a patch covers 16 of its pixels: stride 16 exactly.
- A backbone sits in the graph as one layer named `encoder`, which a saved model rebuilds by the encoder's name: some of
  KerasHub's own layers (MiT's, 0.32) cannot be loaded again.

Reference:
    Xie et al., "SegFormer", NeurIPS 2021, tab. 6; Oquab et al., "DINOv2", TMLR 2024; Li et al., "Exploring Plain Vision
    Transformer Backbones for Object Detection", ECCV 2022 (the pyramid).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import keras
from keras import layers

from polypseg.errors import ModelError, missing_extra

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's channels, of an image in [0, 1]."""

PATCH_PX, STRIDE_OF_PATCH = 14, 16


class Hub(NamedTuple):
    """A backbone of KerasHub.

    Attributes:
        constructor: Of `keras_hub.models`.
        preset: Where its pretrained weights are.
        settings: What builds it without them.
    """

    constructor: str
    preset: str
    settings: Mapping[str, Any]


def _mit(name: str, dims: tuple[int, ...], depths: tuple[int, ...], size_px: int = 512) -> Hub:
    settings = {
        "layerwise_depths": list(depths),
        "num_layers": 4,
        "layerwise_num_heads": [1, 2, 5, 8],
        "layerwise_sr_ratios": [8, 4, 2, 1],
        "max_drop_path_rate": 0.1,
        "layerwise_patch_sizes": [7, 3, 3, 3],
        "layerwise_strides": [4, 2, 2, 2],
        "hidden_dims": list(dims),
    }
    return Hub("MiTBackbone", f"{name}_ade20k_{size_px}", settings)


def _dino(size: str, dim: int, num_heads: int) -> Hub:
    settings = {
        "patch_size": PATCH_PX,
        "num_layers": 12,
        "hidden_dim": dim,
        "num_heads": num_heads,
        "intermediate_dim": 4 * dim,
        "position_embedding_shape": (518, 518, 3),
    }
    return Hub("DINOV2Backbone", f"dinov2_{size}", settings)


_WIDE = (64, 128, 320, 512)

HUB_ENCODERS: Mapping[str, Hub] = MappingProxyType(
    {
        "mit-b0": _mit("mit_b0", (32, 64, 160, 256), (2, 2, 2, 2)),
        "mit-b1": _mit("mit_b1", _WIDE, (2, 2, 2, 2)),
        "mit-b2": _mit("mit_b2", _WIDE, (3, 4, 6, 3)),
        "mit-b3": _mit("mit_b3", _WIDE, (3, 4, 18, 3)),
        "mit-b4": _mit("mit_b4", _WIDE, (3, 8, 27, 3)),
        "mit-b5": _mit("mit_b5", _WIDE, (3, 6, 40, 3), size_px=640),
        "dinov2-small": _dino("small", 384, 6),
        "dinov2-base": _dino("base", 768, 12),
    }
)


def hub_features(name: str, image: Any, is_pretrained: bool) -> list[Any]:
    """The feature maps of a backbone of KerasHub at strides 2, 4, 8, 16 and 32.

    Args:
        name: One of `HUB_ENCODERS`.
        image: Keras tensor, shape (N, H, W, 3), float32 in [0, 1], H and W fixed and for DINOv2 equal.
        is_pretrained: Whether to fetch KerasHub's weights (kept by kagglehub afterwards).

    Raises:
        MissingExtraError: KerasHub is not installed.
        ModelError: The size is open, or the weights cannot be fetched.
    """
    height, width = image.shape[1:3]
    is_transformer_of_one_stride = HUB_ENCODERS[name].constructor == "DINOV2Backbone"
    if height is None or width is None or (is_transformer_of_one_stride and height != width):
        raise ModelError(f"the encoder {name} was given an image of shape {tuple(image.shape)}; it needs a fixed size")
    scale = [1 / deviation for deviation in DEVIATION]
    offset = [-mean / deviation for mean, deviation in zip(MEAN, DEVIATION, strict=True)]
    seen = layers.Rescaling(scale, offset=offset, name="encoder_rescaling")(image)
    half = layers.AveragePooling2D(2, name="encoder_image_at_stride_2")(image)
    if not is_transformer_of_one_stride:
        return [half, *_encoder(name, (height, width, 3), is_pretrained)(seen)]
    num_patches = height // STRIDE_OF_PATCH
    side = num_patches * PATCH_PX
    seen = layers.Resizing(side, side, antialias=True, name="encoder_resizing")(seen)
    (tokens,) = _encoder(name, (side, side, 3), is_pretrained)(seen)
    return [half, *_pyramid(tokens, num_patches)]


def _pyramid(tokens: Any, num_patches: int) -> list[Any]:
    """Maps at strides 4, 8, 16 and 32 of the tokens at stride 16 (N, 1 + num_patches², C), the class's own left out."""
    width = tokens.shape[-1]
    patches = layers.Cropping1D((1, 0), name="encoder_patches")(tokens)
    at_16 = layers.Reshape((num_patches, num_patches, width), name="encoder_stride_16")(patches)
    at_8 = layers.Conv2DTranspose(width // 2, 2, strides=2, name="encoder_stride_8")(at_16)
    half_way = layers.Conv2DTranspose(width // 2, 2, strides=2, name="encoder_half_way")(at_16)
    half_way = layers.Activation("gelu", name="encoder_gelu")(half_way)
    at_4 = layers.Conv2DTranspose(width // 4, 2, strides=2, name="encoder_stride_4")(half_way)
    return [at_4, at_8, at_16, layers.MaxPooling2D(2, name="encoder_stride_32")(at_16)]


@keras.saving.register_keras_serializable("polypseg")
class HubEncoder(layers.Layer):  # type: ignore[misc]
    """A backbone of KerasHub, with random weights until others are set.

    Args:
        encoder: One of `HUB_ENCODERS`.
        shape: Height, width and channels of its image.
        keywords: As for `keras.layers.Layer`.

    Raises:
        MissingExtraError: KerasHub is not installed.
    """

    def __init__(self, encoder: str, shape: tuple[int, int, int], **keywords: Any) -> None:
        super().__init__(**keywords)
        self.encoder, self.shape = encoder, tuple(shape)
        hub = HUB_ENCODERS[encoder]
        backbone = getattr(import_keras_hub().models, hub.constructor)
        self.backbone = backbone(image_shape=self.shape, dtype=self.dtype_policy, **hub.settings)
        outputs = [self.backbone.output]
        if hub.constructor != "DINOV2Backbone":
            outputs = [self.backbone.pyramid_outputs[f"P{level}"] for level in range(1, 5)]
        self._maps = keras.Model(self.backbone.inputs[0], outputs)

    def call(self, inputs: Any, training: bool | None = None) -> list[Any]:
        """The image (N, H, W, 3) to the maps at strides 4 to 32, or to the tokens (N, 1 + patches, C) alone."""
        maps = self._maps(inputs, training=training)
        return list(maps) if isinstance(maps, list | tuple) else [maps]

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        return {**super().get_config(), "encoder": self.encoder, "shape": self.shape}


def _encoder(name: str, shape: tuple[int, int, int], is_pretrained: bool) -> HubEncoder:
    encoder = HubEncoder(name, shape, name="encoder")
    hub = HUB_ENCODERS[name]
    if not is_pretrained:
        return encoder
    try:
        fetched = getattr(import_keras_hub().models, hub.constructor).from_preset(hub.preset, image_shape=shape)
        encoder.backbone.set_weights(fetched.get_weights())
    except Exception as error:  # kagglehub, requests and KerasHub each raise their own
        reason = " ".join(str(error).split())
        raise ModelError(
            f"the weights {hub.preset} of {name} cannot be fetched ({reason}); connect to a network once, or build "
            "with weights=None, or take efficientnet-lite0, whose weights are packaged"
        ) from error
    return encoder


def import_keras_hub() -> Any:
    """The module `keras_hub`, which registers its layers with Keras as it is imported.

    Raises:
        MissingExtraError: It is not installed, or a package that it needs is not.
    """
    try:
        import keras_hub
    except ImportError as error:
        raise missing_extra("keras_hub", "hub") from error
    return keras_hub
