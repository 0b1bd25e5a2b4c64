"""Random changes to training images, made of Keras' own preprocessing layers.

Presets: `none`; `flip`, a horizontal flip, the reference system's; `standard`, flips, rotation, scale,
shift, brightness, contrast, saturation, hue and blur; `strong`, the same further out.

Decisions:
- What is drawn depends on a seed alone, not on a state: batch 7 of epoch 3 is augmented alike whether
  the training ran through or was resumed, and on however many threads the pipeline runs.
- Geometry is drawn once and applied to image and mask alike, the mask by nearest neighbour, so that it
  stays two-valued. What comes in from outside the frame is black, as the rim of an endoscope's picture is.
- Colour and blur touch the image alone. Whether an image is blurred is drawn for each, how strongly once a batch
  (Keras' layer does so).
"""

import math
import random
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import keras
from keras import layers

from polypseg.errors import UsageError, unknown_name

PRESETS = ("none", "flip", "standard", "strong")
"""The names of the augmentation presets."""


def augment(image: Any, mask: Any, seed: Any = None, preset: str = "flip") -> tuple[Any, Any]:
    """The image and its mask, randomly changed together.

    Works on one pair or on a batch (each pair of it is changed on its own), eagerly or inside `tf.data`.

    Args:
        image: Shape (H, W, 3) or (N, H, W, 3), float32 in [0, 1].
        mask: Shape (H, W, 1) or (N, H, W, 1), values 0 and 1.
        seed: The whole number that decides what is drawn, or an integer tensor of shape (2,); None draws again at
            each call, and for each element inside `tf.data` (`keras.utils.set_random_seed` makes that repeatable).
        preset: One of `PRESETS`.

    Returns:
        Image, float32 in [0, 1], and mask, float32 with values 0 and 1, of the same shapes.

    Raises:
        UsageError: An unknown preset.

    Example:
        batches = dataset.map(augment)
    """
    if preset not in PRESETS:
        raise UsageError(unknown_name("augmentation preset", preset, PRESETS))
    geometry, colour = _layers_of(preset)
    ops = _backend_of(image, mask)
    images, masks = ops.cast(image, "float32"), ops.cast(mask, "float32")
    single = len(images.shape) == 3
    if single:
        images, masks = images[None], masks[None]
    draw = _SeedFromKey(ops, seed)
    for layer in geometry + colour:
        layer.backend.set_backend(ops.name)
        try:
            drawn = layer.get_random_transformation({"images": images}, training=True, seed=draw)
            images = layer.transform_images(images, drawn, training=True)
            if layer in geometry:
                masks = layer.transform_segmentation_masks(masks, drawn, training=True)
        finally:
            layer.backend.reset()
    images = ops.clip(images, 0.0, 1.0)
    return (images[0], masks[0]) if single else (images, masks)


@cache
def _layers_of(preset: str) -> tuple[list[Any], list[Any]]:
    """The layers that move pixels and the layers that change their values."""
    if preset == "none":
        return [], []
    if preset == "flip":
        return [layers.RandomFlip("horizontal", dtype="float32")], []
    reach = _STRONG if preset == "strong" else _STANDARD
    # Half a turn either way: an endoscope has no upright.
    affine = RandomAffine(0.5, reach.scale, reach.shift, flip=True, fill_mode="constant", dtype="float32")
    half = reach.saturation / 2
    colour = [
        layers.RandomBrightness(reach.brightness, value_range=(0, 1), dtype="float32"),
        layers.RandomContrast(reach.contrast, value_range=(0, 1), dtype="float32"),
        # 0.5 leaves the image as it is.
        layers.RandomSaturation((0.5 - half, 0.5 + half), value_range=(0, 1), dtype="float32"),
        layers.RandomHue(reach.hue, value_range=(0, 1), dtype="float32"),
        layers.RandomGaussianBlur(
            factor=reach.blurred, kernel_size=5, sigma=(0.1, reach.sigma_px), value_range=(0, 1), dtype="float32"
        ),
    ]
    return [affine], colour


class _Reach(NamedTuple):
    """How far a preset goes; the shares are of the value range, of the side or of the images."""

    scale: tuple[float, float]
    shift: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    blurred: float
    sigma_px: float


_STANDARD = _Reach((0.75, 1.35), 0.1, 0.15, 0.25, 0.3, 0.03, 0.25, 1.5)
_STRONG = _Reach((0.65, 1.5), 0.15, 0.25, 0.4, 0.5, 0.05, 0.35, 2.0)


class RandomAffine(layers.RandomRotation):  # type: ignore[misc]
    """Rotation, scale, shift and flips in one resampling: four of Keras' layers in a row take four.

    Args:
        factor: Rotation in turns, drawn from [-factor, factor].
        scale: Least and greatest magnification, drawn evenly in its logarithm.
        shift: Greatest shift as a share of height and width.
        flip: Whether to flip each axis with probability one half.
        keywords: As for `keras.layers.RandomRotation`.
    """

    def __init__(self, factor: float, scale: tuple[float, float], shift: float, flip: bool, **keywords: Any) -> None:
        super().__init__(factor, **keywords)
        self.scale, self.shift, self.flip = scale, shift, flip

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> dict[str, Any] | None:
        """The matrices that lead from a pixel of the result to its place in the image, shape (N, 8)."""
        if not training:
            return None
        ops = self.backend
        shape = ops.core.shape(data["images"])
        count = shape[0]
        height, width = (ops.cast(side, "float32") for side in shape[1:3])

        def draw(low: float, high: float) -> Any:
            return ops.random.uniform((count,), low, high, seed=seed if seed is not None else self.generator)

        angle = draw(self.factor[0] * 2 * math.pi, self.factor[1] * 2 * math.pi)
        shrink = ops.numpy.exp(-draw(math.log(self.scale[0]), math.log(self.scale[1])))
        shift_x, shift_y = draw(-self.shift, self.shift) * width, draw(-self.shift, self.shift) * height
        mirror_x, mirror_y = shrink, shrink
        if self.flip:
            mirror_x, mirror_y = shrink * ops.numpy.sign(draw(-1, 1)), shrink * ops.numpy.sign(draw(-1, 1))
        cos, sin = ops.numpy.cos(angle), ops.numpy.sin(angle)
        xx, xy, yx, yy = cos * mirror_x, -sin * mirror_y, sin * mirror_x, cos * mirror_y
        centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
        to_x, to_y = centre_x + shift_x, centre_y + shift_y
        zero = ops.numpy.zeros_like(angle)
        rows = [xx, xy, centre_x - xx * to_x - xy * to_y, yx, yy, centre_y - yx * to_x - yy * to_y, zero, zero]
        return {"rotation_matrix": ops.numpy.stack(rows, axis=1)}


class _SeedFromKey(keras.random.SeedGenerator):  # type: ignore[misc]
    """Keras' seed generator without its state: the key, and a count of what was drawn from it."""

    def __init__(self, ops: "_Operations", key: Any) -> None:
        self._ops = ops
        self._key = ops.seed(key)
        self._count = 0

    def next(self, ordered: bool = True) -> Any:
        self._count += 1
        return self._key + self._ops.seed([0, self._count * 0x3504F333 % 2**31])


class _Operations:
    """The few operations needed here, in TensorFlow inside `tf.data`, else in Keras' backend."""

    def __init__(self, name: str) -> None:
        self.name = name
        if name == "tensorflow":
            import tensorflow as tf

            self.cast, self.clip = tf.cast, tf.clip_by_value
            self._tensor: Callable[[Any], Any] = lambda key: tf.cast(tf.convert_to_tensor(key), tf.int32)
            self._drawn: Callable[[], Any] = lambda: tf.random.uniform((2,), maxval=2**31 - 1, dtype=tf.int32)
        else:
            self.cast, self.clip = keras.ops.cast, keras.ops.clip
            self._tensor = lambda key: keras.ops.convert_to_tensor(key, dtype="uint32")
            self._drawn = lambda: self._tensor([random.getrandbits(31), random.getrandbits(31)])

    def seed(self, key: Any) -> Any:
        if key is None:
            return self._drawn()
        return self._tensor([key, 0] if isinstance(key, int) else key)


def _backend_of(*arrays: Any) -> _Operations:
    is_tensorflow = any(type(array).__module__.startswith("tensorflow") for array in arrays)
    return _Operations("tensorflow" if is_tensorflow else keras.backend.backend())
