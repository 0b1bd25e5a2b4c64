from fractions import Fraction

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from polypseg.models import winograd
from polypseg.models.winograd import (
    INPUT_TRANSFORM,
    KERNEL_TRANSFORM,
    OUTPUT_TRANSFORM,
    WinogradConvolution,
    convolve,
)


def exact(matrix):
    return [[Fraction(value).limit_denominator(24) for value in row] for row in matrix]


def times(matrix, vector):
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


@pytest.mark.parametrize("place_in_kernel", range(3))
@pytest.mark.parametrize("place_in_tile", range(6))
def test_transforms_give_the_correlation_in_exact_numbers(place_in_kernel, place_in_tile):
    # Lavin and Gray, eq. 5 and 12: A^T [(G g) * (B^T d)] is y_i = sum_k g_k d_(i + k). Both sides are linear in
    # g and in d, so the unit vectors prove it: with g = e_k and d = e_j, y_i is 1 where i + k = j, else 0.
    kernel = times(exact(KERNEL_TRANSFORM), [int(k == place_in_kernel) for k in range(3)])
    tile = times(exact(INPUT_TRANSFORM), [int(j == place_in_tile) for j in range(6)])
    result = times(exact(OUTPUT_TRANSFORM), [a * b for a, b in zip(kernel, tile, strict=True)])
    assert result == [int(i + place_in_kernel == place_in_tile) for i in range(4)]


def slow_convolution(images, kernel):
    """The definition, in float64: every output is the sum of nine products over the channels."""
    padded = np.pad(images.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = images.shape[1:3]
    return sum(
        padded[:, row : row + height, column : column + width] @ kernel[row, column].astype(np.float64)
        for row in range(3)
        for column in range(3)
    )


@pytest.mark.parametrize(
    ("batch", "height", "width", "channels", "filters"), [(1, 4, 4, 1, 1), (3, 8, 4, 2, 5), (2, 4, 12, 5, 2)]
)
def test_convolve_follows_the_definition(batch, height, width, channels, filters):
    generator = np.random.default_rng(0)
    images = generator.normal(size=(batch, height, width, channels)).astype(np.float32)
    kernel = generator.normal(size=(3, 3, channels, filters)).astype(np.float32)
    found = convolve(tf.constant(images), tf.constant(kernel)).numpy()
    np.testing.assert_allclose(found, slow_convolution(images, kernel), atol=5e-5)


def test_gradients_follow_the_definition():
    # The sum of upstream * convolution is linear in the images and in the kernel, so its gradient in the
    # direction of a unit vector is its value there.
    generator = np.random.default_rng(1)
    images = generator.normal(size=(2, 4, 8, 2)).astype(np.float32)
    kernel = generator.normal(size=(3, 3, 2, 3)).astype(np.float32)
    upstream = generator.normal(size=(2, 4, 8, 3)).astype(np.float32)
    inputs = tf.constant(images), tf.constant(kernel)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = convolve(*inputs)
    found_images, found_kernel = (each.numpy() for each in tape.gradient(value, inputs, tf.constant(upstream)))

    for index in np.ndindex(*kernel.shape):
        unit = np.zeros_like(kernel)
        unit[index] = 1
        assert found_kernel[index] == pytest.approx(float((slow_convolution(images, unit) * upstream).sum()), abs=2e-4)
    for index in [(0, 0, 0, 0), (0, 3, 7, 1), (1, 3, 4, 0), (1, 0, 3, 1), (1, 2, 2, 1)]:
        unit = np.zeros_like(images)
        unit[index] = 1
        assert found_images[index] == pytest.approx(float((slow_convolution(unit, kernel) * upstream).sum()), abs=2e-4)


def twins(filters=64, **keywords):
    """A Winograd layer and Keras' own, built for 64 channels, with the same weights."""
    ours = WinogradConvolution(filters, 3, padding="same", **keywords)
    plain = layers.Conv2D(filters, 3, padding="same", **keywords)
    for layer in (ours, plain):
        layer.build((None, 8, 8, 64))
    ours.set_weights([np.random.default_rng(2).normal(size=weight.shape) * 0.05 for weight in ours.get_weights()])
    plain.set_weights(ours.get_weights())
    return ours, plain


@pytest.fixture
def images():
    return np.random.default_rng(3).normal(size=(2, 8, 8, 64)).astype(np.float32)


@pytest.mark.parametrize("keywords", [{}, {"use_bias": False}, {"activation": "relu"}])
def test_layer_trains_like_keras_own(images, keywords):
    ours, plain = twins(**keywords)
    gradients = []
    for layer in (ours, plain):
        with tf.GradientTape() as tape:
            outputs = layer(images, training=True) if layer is ours else layer(images)
            loss = tf.reduce_sum(outputs * tf.cos(outputs))
        gradients.append((outputs, *tape.gradient(loss, [weight.value for weight in layer.trainable_weights])))
    for found, expected in zip(*gradients, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4 * float(tf.math.reduce_std(expected)) + 1e-4)


def test_layer_predicts_exactly_like_keras_own(images):
    ours, plain = twins()
    np.testing.assert_array_equal(ours(images), plain(images))
    np.testing.assert_array_equal(ours(images, training=False), plain(images))


def calls_of_convolve(monkeypatch):
    calls = []
    monkeypatch.setattr(winograd, "convolve", lambda *inputs: calls.append(1) or convolve(*inputs))
    return calls


def test_layer_takes_winograds_method_in_training_alone(images, monkeypatch):
    calls = calls_of_convolve(monkeypatch)
    ours, _ = twins()
    ours(images)
    ours(images, training=False)
    assert calls == []
    ours(images, training=True)
    assert calls == [1]


@pytest.mark.parametrize(
    ("keywords", "shape"),
    [
        ({"strides": 2}, (1, 8, 8, 64)),
        ({"dilation_rate": 2}, (1, 8, 8, 64)),
        ({"padding": "valid"}, (1, 8, 8, 64)),
        ({"groups": 2}, (1, 8, 8, 64)),
        ({"kernel_size": 1}, (1, 8, 8, 64)),
        ({"filters": 63}, (1, 8, 8, 64)),
        ({"dtype": "mixed_bfloat16"}, (1, 8, 8, 64)),
        ({}, (1, 8, 8, 63)),
        ({}, (1, 8, 6, 64)),
        ({}, (1, 6, 8, 64)),
    ],
)
def test_layer_keeps_to_keras_own_where_the_method_does_not_fit(keywords, shape, monkeypatch):
    calls = calls_of_convolve(monkeypatch)
    settings = {"filters": 64, "kernel_size": 3, "padding": "same", **keywords}
    ours, plain = WinogradConvolution(**settings), layers.Conv2D(**settings)
    images = np.random.default_rng(4).normal(size=shape).astype(np.float32)
    ours(images), plain(images)
    plain.set_weights(ours.get_weights())
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(ours(images, training=True)), plain(images))
    assert calls == []


def test_layer_keeps_to_keras_own_on_a_gpu_and_on_another_backend(images, monkeypatch):
    calls = calls_of_convolve(monkeypatch)
    ours, _ = twins()
    with monkeypatch.context() as patch:
        patch.setattr(winograd, "_has_gpu", lambda: True)
        ours(images, training=True)
    with monkeypatch.context() as patch:
        patch.setattr(winograd.keras.backend, "backend", lambda: "jax")
        ours(images, training=True)
    assert calls == []


def test_layer_keeps_to_keras_own_where_the_sides_are_unknown(monkeypatch):
    calls = calls_of_convolve(monkeypatch)
    ours, _ = twins()

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 64))])
    def train(batch):
        return ours(batch, training=True)

    assert train(tf.zeros((1, 6, 10, 64))).shape == (1, 6, 10, 64)
    assert calls == []


def test_layer_fits_batches_of_any_number(monkeypatch):
    # Five samples in batches of two: the last batch holds one.
    calls = calls_of_convolve(monkeypatch)
    model = keras.Sequential([keras.Input((8, 8, 64)), WinogradConvolution(64, 3, padding="same"), layers.Conv2D(1, 1)])
    model.compile("sgd", "mse")
    images = np.random.default_rng(5).normal(size=(5, 8, 8, 64)).astype(np.float32)
    before = model.get_weights()
    model.fit(images, np.ones((5, 8, 8, 1), np.float32), batch_size=2, verbose=0)
    assert calls
    assert all(not np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))


def test_layer_comes_back_from_a_file(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 3)), WinogradConvolution(2, 3, padding="same", name="first")])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    images = np.random.default_rng(6).random((1, 8, 8, 3), np.float32)
    assert type(loaded.get_layer("first")) is WinogradConvolution
    np.testing.assert_array_equal(loaded(images), model(images))
