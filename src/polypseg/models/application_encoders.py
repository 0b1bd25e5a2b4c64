"""The networks of `keras.applications` as encoders: five feature maps, found by the last layer at each stride.

Each network sits in the graph as one nested model named `encoder`. A network that starts with stride 4 (ConvNeXt) has
no map at stride 2; the image, averaged 2x2, stands in for it, so that a decoder needs no exception.
"""

import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import keras
from keras import layers, ops

from polypseg.errors import ModelError

STRIDES = (2, 4, 8, 16, 32)
PROBE_PX = 128
"""Side of the image on which strides are found: at stride 32 still 4, so that no 1x1 of a squeeze is taken for it."""


class Application(NamedTuple):
    """A class of `keras.applications` and what it wants as input, of an image in [0, 1]."""

    constructor: str
    preprocessing: str = "bytes"


APPLICATIONS: Mapping[str, Application] = MappingProxyType(
    {f"efficientnet-b{number}": Application(f"EfficientNetB{number}") for number in range(8)}
    | {f"efficientnetv2-b{number}": Application(f"EfficientNetV2B{number}") for number in range(4)}
    | {f"efficientnetv2-{size}": Application(f"EfficientNetV2{size.upper()}") for size in "sml"}
    | {f"convnext-{size}": Application(f"ConvNeXt{size.title()}") for size in ("tiny", "small", "base", "large")}
    | {f"mobilenetv3-{size}": Application(f"MobileNetV3{size.title()}") for size in ("small", "large")}
    | {f"resnet{depth}": Application(f"ResNet{depth}", "caffe") for depth in (50, 101, 152)}
)


def application_features(name: str, image: Any, weights: str | None = None) -> list[Any]:
    """The feature maps of a network of `keras.applications` at strides 2, 4, 8, 16 and 32.

    Args:
        name: One of `APPLICATIONS`.
        image: Keras tensor, shape (N, H, W, 3), float32 in [0, 1].
        weights: None for random ones, "imagenet" to fetch those of Keras (kept in ~/.keras afterwards).

    Raises:
        ModelError: The ImageNet weights cannot be fetched.
    """
    application = APPLICATIONS[name]
    places = _places(_construct(name, (PROBE_PX, PROBE_PX, 3), None))
    network = _construct(name, (*image.shape[1:3], 3), weights)
    outputs = [network.layers[place].output for place in places]
    maps = keras.Model(network.input, outputs, name="encoder")(_preprocessed(image, application.preprocessing))
    if len(outputs) == len(STRIDES):
        return list(maps)
    return [layers.AveragePooling2D(2, name="encoder_image_at_stride_2")(image), *maps]


def _places(probe: keras.Model) -> list[int]:
    """Index of the last layer at each stride that the network has."""
    last: dict[int, int] = {}
    for index, layer in enumerate(probe.layers):
        shape = tuple(layer.output.shape)
        stride = PROBE_PX // shape[1] if len(shape) == 4 and PROBE_PX % shape[1] == 0 else 0
        if stride in STRIDES:
            last[stride] = index
    return [last[stride] for stride in STRIDES if stride in last]


def _construct(name: str, shape: tuple[int | None, ...], weights: str | None) -> keras.Model:
    constructor = getattr(keras.applications, APPLICATIONS[name].constructor)
    if weights is None:
        return constructor(include_top=False, weights=None, input_shape=shape)
    try:
        with warnings.catch_warnings():  # MobileNet says that its weights are those of 224 px; we mean it
            warnings.filterwarnings("ignore", message=".*input_shape.* is undefined or non-square")
            return constructor(include_top=False, weights=weights, input_shape=shape)
    except Exception as error:  # Keras raises a bare Exception where a download fails
        reason = " ".join(str(error).split())
        raise ModelError(
            f"the ImageNet weights of {name} cannot be fetched ({reason}); connect to a network once, "
            "or build with weights=None, or take efficientnet-lite0, whose weights are packaged"
        ) from error


def _preprocessed(image: Any, kind: str) -> Any:
    """The image as the network was trained on it: 0..255, or BGR of 0..255 less ImageNet's mean ("caffe")."""
    if kind == "bytes":
        return layers.Rescaling(255.0, name="encoder_rescaling")(image)
    blue_first = ops.flip(image, axis=-1)
    return layers.Rescaling(255.0, offset=[-103.939, -116.779, -123.68], name="encoder_rescaling")(blue_first)
