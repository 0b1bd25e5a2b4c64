"""Pretrained encoders behind one contract: an image in [0, 1] to five feature maps at strides 2, 4, 8, 16 and 32.

Whatever the network, every layer that it adds to the graph has a name that begins with `encoder`, so that a trainer
can freeze it or give it a lower rate by name.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras

from polypseg.errors import ModelError, unknown_name
from polypseg.models.application_encoders import APPLICATIONS, IMAGENET, STRIDES, application_features
from polypseg.models.efficientnet_lite import PACKAGED, SCALES, efficientnet_lite, load_imagenet

__all__ = ["ENCODERS", "PACKAGED", "STRIDES", "encode", "load_imagenet"]


def _lite(name: str, image: Any, weights: str | Path | None) -> list[Any]:
    with _single_precision():
        maps = efficientnet_lite(name, image)
    if weights is not None:
        load_imagenet(keras.Model(image, maps), name, None if weights == IMAGENET else Path(weights))
    return maps


@contextmanager
def _single_precision() -> Iterator[None]:
    """float32 for layers built meanwhile, where the policy is bfloat16.

    oneDNN has no fast depthwise convolution in bfloat16: a training step of polyp-lite takes 1.23 s in float32, 1.44 s
    all in bfloat16, and 0.97 s with the encoder in float32 and the decoder in bfloat16 (256 px, batch 16, 2 cores with
    AMX).
    """
    policy = keras.config.dtype_policy()
    if policy.name == "mixed_bfloat16":
        keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


ENCODERS: Mapping[str, Callable[[Any, str | Path | None], list[Any]]] = MappingProxyType(
    {name: partial(_lite, name) for name in SCALES}
    | {name: partial(application_features, name) for name in APPLICATIONS}
)


def encode(name: str, image: Any, weights: str | Path | None = None) -> list[Any]:
    """The feature maps of an encoder at strides 2, 4, 8, 16 and 32, shapes (N, H/stride, W/stride, C).

    Args:
        name: One of `ENCODERS`.
        image: Keras input, shape (N, H, W, 3), float32 in [0, 1]; H and W divisible by 32, or None for any such.
        weights: None for random ones; "imagenet" for pretrained ones (packaged for efficientnet-lite0, fetched by Keras
            for its applications); or the path of a file: a converted one for an EfficientNet-Lite, one that Keras wrote
            for an application.

    Raises:
        ModelError: An unknown name, an image that does not fit, or weights that cannot be had.
    """
    if name not in ENCODERS:
        raise ModelError(unknown_name("encoder", name, ENCODERS))
    shape = tuple(image.shape)
    fits = (
        len(shape) == 4 and shape[3] == 3 and all(side is None or (side > 0 and side % 32 == 0) for side in shape[1:3])
    )
    if not fits:
        raise ModelError(
            f"the encoder {name} was given an image of shape {shape}; it needs (N, H, W, 3), H and W divisible by 32"
        )
    return ENCODERS[name](image, weights)
