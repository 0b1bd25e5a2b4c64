"""EfficientNet-Lite 0, 1 and 2: EfficientNet without squeeze-and-excitation and with ReLU6, made for small devices.

The network is written flat, its layers are named after their role (`encoder_block_3_expand_convolution`), and its
weights live in an `.npz` file by layer and variable. Lite0 pretrained on ImageNet is packaged in half precision
(batch normalisation in single); scripts/convert_efficientnet_lite.py makes the files of all three.
"""

import math
from collections.abc import Iterator, Mapping
from importlib.resources import as_file, files
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from zipfile import BadZipFile

import keras
import numpy as np
from keras import layers

from polypseg.errors import ModelError, unknown_name
from polypseg.models.blocks import SLOW_BATCH_MOMENTUM, FusedBatchNormalization

PREFIX = "encoder"
STEM_FILTERS = 32
HEAD_FILTERS = 1280
EPSILON = 1e-3
PACKAGED = ("efficientnet-lite0",)
"""The names whose ImageNet weights are files of the package."""


class Scale(NamedTuple):
    """How a network differs from Lite0: factors on channels and on repeats, and the size that it was trained at."""

    width: float
    depth: float
    size_px: int


SCALES: Mapping[str, Scale] = MappingProxyType(
    {
        "efficientnet-lite0": Scale(1.0, 1.0, 224),
        "efficientnet-lite1": Scale(1.0, 1.1, 240),
        "efficientnet-lite2": Scale(1.1, 1.2, 260),
    }
)


class InvertedBottleneck(NamedTuple):
    """One inverted bottleneck: expand by 1x1, filter each channel by k x k, project by 1x1."""

    kernel: int
    stride: int
    expansion: int
    filters: int


STAGES: tuple[tuple[int, InvertedBottleneck], ...] = (
    (1, InvertedBottleneck(3, 1, 1, 16)),
    (2, InvertedBottleneck(3, 2, 6, 24)),
    (2, InvertedBottleneck(5, 2, 6, 40)),
    (3, InvertedBottleneck(3, 2, 6, 80)),
    (3, InvertedBottleneck(5, 1, 6, 112)),
    (4, InvertedBottleneck(5, 2, 6, 192)),
    (1, InvertedBottleneck(3, 1, 6, 320)),
)
"""Repeats and block of Lite0, stage by stage; only a stage's first block strides."""


def blocks_of(name: str) -> list[InvertedBottleneck]:
    """The blocks of a network in order, its width and depth factors applied.

    Raises:
        ModelError: An unknown name; the message lists the choices.

    >>> len(blocks_of("efficientnet-lite0")), blocks_of("efficientnet-lite2")[-1].filters
    (16, 352)
    """
    if name not in SCALES:
        raise ModelError(unknown_name("EfficientNet-Lite", name, SCALES))
    scale = SCALES[name]
    blocks = []
    for index, (repeats, block) in enumerate(STAGES):
        fixed = index in (0, len(STAGES) - 1)
        first = block._replace(filters=_rounded(block.filters * scale.width))
        later = first._replace(stride=1)
        blocks += [first] + [later] * ((repeats if fixed else math.ceil(repeats * scale.depth)) - 1)
    return blocks


def _rounded(filters: float) -> int:
    """The nearest multiple of 8 that is no more than 10 % below."""
    nearest = max(8, int(filters + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * filters else nearest


def efficientnet_lite(name: str, image: Any, momentum: float = SLOW_BATCH_MOMENTUM) -> list[Any]:
    """The feature maps at strides 2, 4, 8, 16 and 32: for Lite0 of 16, 24, 40, 112 and 320 channels.

    Args:
        name: One of `SCALES`.
        image: Keras tensor, shape (N, H, W, 3), float32 in [0, 1].
        momentum: Of the moving averages of batch normalisation.

    Raises:
        ModelError: An unknown name.

    Reference:
        Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; Lite:
        github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
    """
    blocks = blocks_of(name)
    features = layers.Rescaling(255 / 128, offset=-127 / 128, name=f"{PREFIX}_rescaling")(image)
    stem = layers.Conv2D(
        STEM_FILTERS, 3, strides=2, padding="same", use_bias=False, kernel_initializer="he_normal",
        name=f"{PREFIX}_stem_convolution",
    )  # fmt: skip
    features = _normalised(stem(features), momentum, f"{PREFIX}_stem", activated=True)
    maps = []
    for number, block in enumerate(blocks, start=1):
        if block.stride == 2:
            maps.append(features)
        features = _bottleneck(features, block, momentum, f"{PREFIX}_block_{number}")
    return [*maps, features]


def _bottleneck(inputs: Any, block: InvertedBottleneck, momentum: float, name: str) -> Any:
    channels = inputs.shape[-1]
    features = inputs
    if block.expansion != 1:
        features = _pointwise(features, channels * block.expansion, f"{name}_expand")
        features = _normalised(features, momentum, f"{name}_expand", activated=True)
    features = layers.DepthwiseConv2D(
        block.kernel, strides=block.stride, padding="same", use_bias=False, depthwise_initializer="he_normal",
        name=f"{name}_depthwise_convolution",
    )(features)  # fmt: skip
    features = _normalised(features, momentum, f"{name}_depthwise", activated=True)
    features = _pointwise(features, block.filters, f"{name}_project")
    features = _normalised(features, momentum, f"{name}_project", activated=False)
    if block.stride == 1 and channels == block.filters:
        features = layers.Add(name=f"{name}_add")([features, inputs])
    return features


def _pointwise(inputs: Any, filters: int, name: str) -> Any:
    return layers.Conv2D(filters, 1, use_bias=False, kernel_initializer="he_normal", name=f"{name}_convolution")(inputs)


def _normalised(inputs: Any, momentum: float, name: str, activated: bool) -> Any:
    normalisation = FusedBatchNormalization(momentum=momentum, epsilon=EPSILON, name=f"{name}_normalisation")
    features = normalisation(inputs)
    return layers.ReLU(max_value=6.0, name=f"{name}_relu6")(features) if activated else features


def efficientnet_lite_classifier(name: str, size: int | None = None, num_classes: int = 1000) -> keras.Model:
    """The whole classifier, (N, size, size, 3) in [0, 1] to (N, num_classes) logits; proves converted weights.

    Args:
        name: One of `SCALES`.
        size: Side of the input in pixels, None for the size that the network was trained at.
        num_classes: Number of logits.

    Raises:
        ModelError: An unknown name.
    """
    blocks_of(name)
    side = size or SCALES[name].size_px
    image = layers.Input((side, side, 3), name="image")
    features = efficientnet_lite(name, image)[-1]
    features = _pointwise(features, HEAD_FILTERS, "head")
    features = _normalised(features, SLOW_BATCH_MOMENTUM, "head", activated=True)
    pooled = layers.GlobalAveragePooling2D(name="head_pooling")(features)
    return keras.Model(image, layers.Dense(num_classes, name="head_classes")(pooled), name=name.replace("-", "_"))


def load_imagenet(model: keras.Model, name: str, path: Path | None = None) -> None:
    """Puts ImageNet weights into the encoder layers of a model, in place; its other layers stay as they are.

    Args:
        model: Any model that holds the layers of `efficientnet_lite(name, …)`.
        name: One of `SCALES`.
        path: An `.npz` file that scripts/convert_efficientnet_lite.py wrote; None for the packaged file.

    Raises:
        ModelError: An unknown name, no file, or weights that do not fit the model.
    """
    blocks_of(name)
    if path is None and name not in PACKAGED:
        raise ModelError(
            f"the ImageNet weights of {name} are not packaged (those of {', '.join(PACKAGED)} are); make the file with "
            f"scripts/convert_efficientnet_lite.py {name} and give its path"
        )
    if path is not None:
        return set_weights(model, read_weights(path))
    with as_file(files("polypseg.models") / "weights" / f"{name}.npz") as packaged:
        set_weights(model, read_weights(packaged))


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """The float32 arrays of a weight file by "layer/variable".

    Raises:
        ModelError: No such file, or not an .npz file of plain arrays.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            return {key: archive[key].astype(np.float32) for key in archive.files}
    except FileNotFoundError:
        raise ModelError(f"no weight file {path}; make one with scripts/convert_efficientnet_lite.py") from None
    except (OSError, ValueError, AttributeError, TypeError, EOFError, BadZipFile) as error:
        message = f"{path} is not an .npz file of plain arrays; make one with scripts/convert_efficientnet_lite.py"
        raise ModelError(message) from error


def set_weights(model: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Puts arrays by "layer/variable" into a model, in place; every variable of its encoder must be among them.

    Raises:
        ModelError: A variable of the encoder without an array, an array without a variable, or another shape.
    """
    variables = dict(_variables(model))
    wanted = {key for key in variables if key.startswith(f"{PREFIX}_")}
    unmatched = sorted(wanted - set(weights)) + sorted(set(weights) - set(variables))
    if unmatched:
        raise ModelError(
            f"the weights do not fit the model {model.name!r}: {len(unmatched)} names stand on one side only, the "
            f"first is {unmatched[0]!r}; give the file of the same EfficientNet-Lite"
        )
    for key, array in weights.items():
        if tuple(variables[key].shape) != array.shape:
            raise ModelError(
                f"the weights do not fit the model {model.name!r}: {key} is {array.shape} in the file and "
                f"{tuple(variables[key].shape)} in the model; give the file of the same EfficientNet-Lite"
            )
    for key, array in weights.items():
        variables[key].assign(array)


def _variables(model: keras.Model) -> Iterator[tuple[str, Any]]:
    for layer in model.layers:
        for variable in layer.weights:
            yield f"{layer.name}/{variable.name}", variable
