"""The networks of `keras.applications` as encoders: five feature maps, found by the last layer at each stride.

Each network sits in the graph as one nested model named `encoder`. A network that starts with stride 4 (ConvNeXt) has
no map at stride 2; the image, averaged 2x2, stands in for it, so that a decoder needs no exception. Xception's first
two convolutions have no padding, which makes its maps smaller than a decoder expects (125 instead of 128); they are
padded here and have the same weights.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from zipfile import BadZipFile

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from polypseg.errors import ModelError

IMAGENET = "imagenet"
STRIDES = (2, 4, 8, 16, 32)
PROBE_PX = 128
"""Side of the image on which strides are found: at stride 32 still 4, so that no 1x1 of a squeeze is taken for it."""


class Application(NamedTuple):
    """A class of `keras.applications`, what it wants as input, and its convolutions that need padding to fit."""

    constructor: str
    preprocessing: str = "bytes"
    padded: tuple[str, ...] = ()


APPLICATIONS: Mapping[str, Application] = MappingProxyType(
    {f"efficientnet-b{number}": Application(f"EfficientNetB{number}") for number in range(8)}
    | {f"efficientnetv2-b{number}": Application(f"EfficientNetV2B{number}") for number in range(4)}
    | {f"efficientnetv2-{size}": Application(f"EfficientNetV2{size.upper()}") for size in "sml"}
    | {f"convnext-{size}": Application(f"ConvNeXt{size.title()}") for size in ("tiny", "small", "base", "large")}
    | {f"mobilenetv3-{size}": Application(f"MobileNetV3{size.title()}") for size in ("small", "large")}
    | {f"resnet{depth}": Application(f"ResNet{depth}", "caffe") for depth in (50, 101, 152)}
    | {"xception": Application("Xception", "symmetric", ("block1_conv1", "block1_conv2"))}
)


def application_features(name: str, image: Any, weights: str | Path | None = None) -> list[Any]:
    """The feature maps of a network of `keras.applications` at strides 2, 4, 8, 16 and 32.

    Args:
        name: One of `APPLICATIONS`.
        image: Keras tensor, shape (N, H, W, 3), float32 in [0, 1].
        weights: None for random ones, "imagenet" to fetch those of Keras (kept in ~/.keras afterwards), or a file that
            Keras wrote: one of those that it fetches, without the top, or of `Model.save_weights`.

    Raises:
        ModelError: The ImageNet weights cannot be fetched, or the file does not hold weights of this network.
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


def _construct(name: str, shape: tuple[int | None, ...], weights: str | Path | None) -> keras.Model:
    application = APPLICATIONS[name]
    constructor = getattr(keras.applications, application.constructor)
    # without padding Keras takes no image below 71 px; with it every size fits
    own_shape = (None, None, 3) if application.padded else shape
    if weights == IMAGENET:
        network = _fetched(constructor, name, own_shape)
    else:
        network = constructor(include_top=False, weights=None, input_shape=own_shape)
    if weights not in (None, IMAGENET):
        _load_file(network, name, Path(weights))
    return _with_padding(network, application.padded, shape) if application.padded else network


def _fetched(constructor: Any, name: str, shape: tuple[int | None, ...]) -> keras.Model:
    try:
        with warnings.catch_warnings():  # MobileNet says that its weights are those of 224 px; we mean it
            warnings.filterwarnings("ignore", message=".*input_shape.* is undefined or non-square")
            return constructor(include_top=False, weights=IMAGENET, input_shape=shape)
    except Exception as error:  # Keras raises a bare Exception where a download fails
        reason = " ".join(str(error).split())
        raise ModelError(
            f"the ImageNet weights of {name} cannot be fetched ({reason}); connect to a network once, "
            "or build with weights=None, or take efficientnet-lite0, whose weights are packaged"
        ) from error


def _load_file(network: keras.Model, name: str, path: Path) -> None:
    """Loads a file that Keras wrote; refuses one that leaves a kernel as it was drawn, of which Keras only warns."""
    drawn = _kernels(network)
    refusal = ModelError(
        f"{path} does not hold the weights of {name} without its top; give a file that Keras wrote for it "
        "(.weights.h5 or .h5), or 'imagenet'"
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            network.load_weights(path)
    except FileNotFoundError:
        raise ModelError(f"no weight file {path}; give one that Keras wrote for {name}, or 'imagenet'") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, BadZipFile) as error:
        raise refusal from error
    if any(np.array_equal(first, now) for first, now in zip(drawn, _kernels(network), strict=True)):
        raise refusal


def _kernels(network: keras.Model) -> list[NDArray[np.float32]]:
    return [values for values in network.get_weights() if values.ndim > 1]


def _with_padding(network: keras.Model, names: tuple[str, ...], shape: tuple[int | None, ...]) -> keras.Model:
    """The same network and weights for images of a shape; the named convolutions lose no pixels at the edge."""
    config = network.get_config()
    for layer in config["layers"]:
        if layer["class_name"] == "InputLayer":
            layer["config"]["batch_shape"] = (None, *shape)
        if layer["config"]["name"] in names:
            layer["config"]["padding"] = "same"
    padded = type(network).from_config(config)
    padded.set_weights(network.get_weights())
    return padded


def _preprocessed(image: Any, kind: str) -> Any:
    """The image as the network was trained on it.

    "bytes": 0..255; "symmetric": -1..1; "caffe": BGR of 0..255 less ImageNet's mean.
    """
    if kind == "bytes":
        return layers.Rescaling(255.0, name="encoder_rescaling")(image)
    if kind == "symmetric":
        return layers.Rescaling(2.0, offset=-1.0, name="encoder_rescaling")(image)
    blue_first = ops.flip(image, axis=-1)
    return layers.Rescaling(255.0, offset=[-103.939, -116.779, -123.68], name="encoder_rescaling")(blue_first)
