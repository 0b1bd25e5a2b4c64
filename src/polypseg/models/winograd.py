"""3x3 convolutions by Winograd's method: a quarter of the multiplications, for the training step on a CPU.

Convolutions are nine tenths of a training step, and oneDNN already runs them close to the processor's peak
(docs/explanation/performance.md), so only fewer multiplications make them faster. F(4x4, 3x3) cuts the input in
overlapping tiles of 6x6 (B^T d B), multiplies each of their 36 places by the transformed kernel (G g G^T), which is a
matrix product over the channels, and brings the sums back to tiles of 4x4 (A^T m A): 36 multiplications instead of 144.

Decisions:
- Both gradients go the same way: that of the input is a convolution of the output's gradient by the turned
  kernel; that of the kernel is taken among the transformed tiles, which TensorFlow makes in
  the forward pass and holds: this costs memory (docs/explanation/performance.md).
- The transforms are matrix products too, over the places in a tile, which `space_to_batch` brings to the front.
  As strided slices and sums they took longer than the multiplications that they save; compiled by XLA they are
  as fast as products, after seconds of compiling for each shape.
- Training only. The rounding error is about seven times that of the direct sum (at most 1.1e-4 of the outputs'
  standard deviation, 512 channels), so prediction and export keep to the direct convolution.

Reference:
    Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4.3.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import keras
from keras import layers, ops

Matrix = tuple[tuple[float, ...], ...]

TILE = 4
"""Side of a tile of the output."""

LEAST_CHANNELS = 64
"""With fewer channels, in or out, the transforms cost more than they save."""

INPUT_TRANSFORM: Matrix = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
"""B^T."""

KERNEL_TRANSFORM: Matrix = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
"""G."""

OUTPUT_TRANSFORM: Matrix = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)
"""A^T."""


def transposed(matrix: Matrix) -> Matrix:
    """The transposed matrix.

    >>> transposed(((1, 2), (3, 4)))
    ((1, 3), (2, 4))
    """
    return tuple(zip(*matrix, strict=True))


@keras.saving.register_keras_serializable("polypseg")
class WinogradConvolution(layers.Conv2D):  # type: ignore[misc]
    """`keras.layers.Conv2D`, in training by Winograd's method where that is faster, else by Keras' own.

    The same arguments, variables and numbers but for the rounding. Winograd's method takes over in training on
    TensorFlow without a GPU, for a 3x3 kernel with stride 1 and padding "same" on float32 images whose sides
    are known and divisible by 4, where input and output have at least `LEAST_CHANNELS` channels.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The convolution of (N, H, W, C): (N, H, W, filters)."""
        if not (training and self._is_faster(inputs)):
            return super().call(inputs)
        outputs = convolve(inputs, ops.convert_to_tensor(self.kernel))
        if self.use_bias:
            outputs = ops.add(outputs, ops.convert_to_tensor(self.bias))
        return outputs if self.activation is None else self.activation(outputs)

    def _is_faster(self, inputs: Any) -> bool:
        return (
            self.kernel_size == (3, 3)
            and self.strides == self.dilation_rate == (1, 1)
            and self.groups == 1
            and self.padding == "same"
            and self.data_format == "channels_last"
            and self.compute_dtype == "float32"
            and all(side is not None and side % TILE == 0 for side in inputs.shape[1:3])
            and min(inputs.shape[3], self.filters) >= LEAST_CHANNELS
            and keras.backend.backend() == "tensorflow"
            and not _has_gpu()
        )


@cache
def _has_gpu() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def convolve(images: Any, kernel: Any) -> Any:
    """The 3x3 convolution with zero padding, (N, H, W, C) by (3, 3, C, K) to (N, H, W, K), and its gradients.

    Args:
        images: TensorFlow tensor, float32; height and width known and divisible by 4.
        kernel: TensorFlow tensor or variable, float32.
    """
    import tensorflow as tf

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def differentiable(images: Any, kernel: Any) -> tuple[Any, Callable[[Any], tuple[Any, Any]]]:
        def gradients(upstream: Any) -> tuple[Any, Any]:
            turned = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
            sums = tf.matmul(_image_tiles(images), _gradient_tiles(upstream), transpose_a=True)
            return _convolve(upstream, turned), _kernel_of(sums)

        return _convolve(images, kernel), gradients

    return differentiable(images, tf.convert_to_tensor(kernel))  # of a variable TensorFlow wants other gradients


def _convolve(images: Any, kernel: Any) -> Any:
    import tensorflow as tf

    return _images_of(tf.matmul(_image_tiles(images), _kernel_tile(kernel)), *images.shape[1:3])


def _image_tiles(images: Any) -> Any:
    """B^T d B of the 6x6 tiles that stand 4 apart: (N, H, W, C) to (36, T, C), T tiles."""
    import tensorflow as tf

    height, width, channels = images.shape[1] // TILE, images.shape[2] // TILE, images.shape[3]
    # By place in a block of 4x4, then by block, with one block more below and to the right: a tile of 6 is a
    # block and the first 2 places of the next.
    blocks = tf.space_to_batch(images, [TILE, TILE], [[1, TILE - 1], [1, TILE - 1]])
    blocks = tf.reshape(blocks, (TILE, TILE, -1, height + 1, width + 1, channels))
    rows = tf.concat([blocks[:, :, :, :-1], blocks[:2, :, :, 1:]], axis=0)
    rows = tf.reshape(_product(INPUT_TRANSFORM, tf.reshape(rows, (6, -1))), (6, TILE, -1, height, width + 1, channels))
    both = tf.concat([rows[:, :, :, :, :-1], rows[:, :2, :, :, 1:]], axis=1)
    return tf.reshape(_product(INPUT_TRANSFORM, tf.reshape(both, (6, 6, -1))), (36, -1, channels))


def _gradient_tiles(upstream: Any) -> Any:
    """A d A^T of the 4x4 tiles, the adjoint of `_images_of`: (N, H, W, K) to (36, T, K)."""
    import tensorflow as tf

    blocks = tf.space_to_batch(upstream, [TILE, TILE], [[0, 0], [0, 0]])
    rows = _product(transposed(OUTPUT_TRANSFORM), tf.reshape(blocks, (TILE, -1)))
    both = _product(transposed(OUTPUT_TRANSFORM), tf.reshape(rows, (6, TILE, -1)))
    return tf.reshape(both, (36, -1, upstream.shape[3]))


def _images_of(tiles: Any, height: int, width: int) -> Any:
    """A^T m A, put together: (36, T, K) to (N, H, W, K)."""
    import tensorflow as tf

    rows = _product(OUTPUT_TRANSFORM, tf.reshape(tiles, (6, -1)))
    both = _product(OUTPUT_TRANSFORM, tf.reshape(rows, (TILE, 6, -1)))
    blocks = tf.reshape(both, (-1, height // TILE, width // TILE, tiles.shape[2]))
    return tf.batch_to_space(blocks, [TILE, TILE], [[0, 0], [0, 0]])


def _kernel_tile(kernel: Any) -> Any:
    """G g G^T: (3, 3, C, K) to (36, C, K)."""
    import tensorflow as tf

    rows = _product(KERNEL_TRANSFORM, tf.reshape(kernel, (3, -1)))
    return tf.reshape(_product(KERNEL_TRANSFORM, tf.reshape(rows, (6, 3, -1))), (36, *kernel.shape[2:]))


def _kernel_of(tile: Any) -> Any:
    """G^T u G, the adjoint of `_kernel_tile`: (36, C, K) to (3, 3, C, K)."""
    import tensorflow as tf

    rows = _product(transposed(KERNEL_TRANSFORM), tf.reshape(tile, (6, -1)))
    both = _product(transposed(KERNEL_TRANSFORM), tf.reshape(rows, (3, 6, -1)))
    return tf.reshape(both, (3, 3, *tile.shape[1:]))


def _product(matrix: Matrix, tensor: Any) -> Any:
    """The product of a matrix and the last axis but one: (..., n, X) to (..., m, X)."""
    import tensorflow as tf

    return tf.matmul(tf.constant(matrix, tf.float32), tensor)
