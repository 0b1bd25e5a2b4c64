import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from polypseg.models.attention_unet import attention_unet, unet
from polypseg.models.blocks import (
    GATE_LIMITS,
    PLAIN_LAYERS,
    FusedBatchNormalization,
    Within,
    attention_gate,
    double_convolution,
    gates_of,
)
from polypseg.models.winograd import WinogradConvolution


def normalisations(shape=(None, None, None, 5), **keywords):
    """Our layer and Keras' own with the same weights, none of them trivial."""
    ours, plain = FusedBatchNormalization(**keywords), layers.BatchNormalization(**keywords)
    for layer in (ours, plain):
        layer.build(shape)
    generator = np.random.default_rng(0)
    ours.set_weights([generator.uniform(0.5, 1.5, weight.shape) for weight in ours.get_weights()])
    plain.set_weights(ours.get_weights())
    return ours, plain


@pytest.fixture
def features():
    return (np.random.default_rng(1).normal(size=(3, 4, 6, 5)) * 3 + 2).astype(np.float32)


def trained(layer, features):
    """Outputs, the gradients of inputs, scale and offset, and the moving averages after one step."""
    inputs = tf.constant(features)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
        loss = tf.reduce_sum(tf.sin(tf.cast(outputs, tf.float32)) * tf.range(5, dtype=tf.float32))
    gradients = tape.gradient(loss, [inputs, layer.gamma.value, layer.beta.value])
    return [outputs, *gradients, layer.moving_mean.value, layer.moving_variance.value]


@pytest.mark.parametrize("keywords", [{}, {"momentum": 0.5, "epsilon": 0.1}, {"axis": 3}])
def test_normalisation_trains_like_keras_own(features, keywords):
    ours, plain = normalisations(**keywords)
    for found, expected in zip(trained(ours, features), trained(plain, features), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_moving_averages_by_hand():
    # Four values 0, 2, 4, 6: mean 3, variance (9 + 1 + 1 + 9) / 4 = 5 (with n - 1 it would be 20 / 3).
    # With momentum 0.75 from mean 0 and variance 1: 0.75 * 0 + 0.25 * 3 = 0.75; 0.75 * 1 + 0.25 * 5 = 2.
    layer = FusedBatchNormalization(momentum=0.75)
    layer(np.array([0, 2, 4, 6], np.float32).reshape(1, 2, 2, 1), training=True)
    assert float(layer.moving_mean.value[0]) == pytest.approx(0.75)
    assert float(layer.moving_variance.value[0]) == pytest.approx(2.0)


def test_normalisation_predicts_like_keras_own(features):
    ours, plain = normalisations()
    before = [weight.copy() for weight in ours.get_weights()]
    np.testing.assert_allclose(ours(features, training=False), plain(features, training=False), rtol=1e-5, atol=1e-5)
    for old, new in zip(before, ours.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_frozen_normalisation_keeps_its_averages(features):
    ours, plain = normalisations()
    ours.trainable = plain.trainable = False
    np.testing.assert_allclose(ours(features, training=True), plain(features, training=True), rtol=1e-5, atol=1e-5)
    for found, expected in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_normalisation_in_bfloat16_is_near_keras_own(features):
    # bfloat16 keeps 8 bits: two roundings of values up to 5 differ by up to 2 * 5 / 2**8 = 0.04.
    ours, plain = normalisations(dtype="mixed_bfloat16")
    found, expected = (keras.ops.cast(each(features, training=True), "float32") for each in (ours, plain))
    np.testing.assert_allclose(found, expected, atol=0.04)
    assert ours(features).dtype == plain(features).dtype


@pytest.mark.parametrize(
    ("keywords", "shape"),
    [
        ({"axis": 1}, (2, 5, 4, 6)),
        ({"scale": False}, (2, 4, 6, 5)),
        ({"center": False}, (2, 4, 6, 5)),
        ({"dtype": "float64"}, (2, 4, 6, 5)),
        ({}, (7, 5)),
    ],
)
def test_normalisation_keeps_to_keras_own_where_the_kernel_does_not_fit(keywords, shape, monkeypatch):
    monkeypatch.setattr(FusedBatchNormalization, "_call_fused", lambda *inputs: pytest.fail("took the fused kernel"))
    ours, plain = normalisations(shape, **keywords)
    inputs = np.random.default_rng(2).normal(size=shape)
    np.testing.assert_array_equal(ours(inputs, training=True), plain(inputs, training=True))


def test_normalisation_keeps_to_keras_own_on_another_backend(features, monkeypatch):
    monkeypatch.setattr(FusedBatchNormalization, "_call_fused", lambda *inputs: pytest.fail("took the fused kernel"))
    ours, plain = normalisations()
    expected = plain(features, training=True)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    np.testing.assert_array_equal(ours(features, training=True), expected)


def as_plain_keras(model):
    """The same graph of Keras' own layers, with the same weights."""

    def plain(layer):
        return PLAIN_LAYERS.get(type(layer), type(layer)).from_config(layer.get_config())

    twin = keras.models.clone_model(model, clone_function=plain)
    twin.set_weights(model.get_weights())
    return twin


def test_every_own_layer_has_a_plain_twin_with_the_same_config_and_weights():
    model = attention_unet((8, 8, 3), filters=2, depth=1)
    twin = as_plain_keras(model)
    assert {type(layer) for layer in model.layers} >= {FusedBatchNormalization, WinogradConvolution}
    assert not {type(layer) for layer in twin.layers} & set(PLAIN_LAYERS)
    assert [(weight.path, weight.shape) for weight in model.weights] == [(w.path, w.shape) for w in twin.weights]


def test_network_trains_like_its_plain_twin(monkeypatch):
    # Two channels are enough for Winograd's method here, so that it takes part. A gradient passes five levels
    # of normalisation, each of which scales the rounding errors with it.
    monkeypatch.setattr("polypseg.models.winograd.LEAST_CHANNELS", 2)
    keras.utils.set_random_seed(0)
    model = attention_unet((16, 16, 3), filters=4, depth=2)
    twin = as_plain_keras(model)
    generator = np.random.default_rng(3)
    images = generator.random((4, 16, 16, 3), np.float32)
    masks = (generator.random((4, 16, 16, 1)) < 0.3).astype(np.float32)
    results = []
    for network in (model, twin):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(keras.losses.binary_crossentropy(masks, network(images, training=True)))
        results.append([loss, *tape.gradient(loss, [weight.value for weight in network.trainable_weights])])
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-3 * float(tf.reduce_max(tf.abs(expected))) + 1e-6)
    for found, expected in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model(images, training=False), twin(images, training=False), atol=1e-5)


def test_double_convolution_keeps_the_sides_and_never_goes_below_zero():
    inputs = keras.Input((6, 10, 3))
    model = keras.Model(inputs, double_convolution(inputs, 4, "level"))
    outputs = model(np.random.default_rng(4).normal(size=(2, 6, 10, 3)), training=True)
    assert outputs.shape == (2, 6, 10, 4)
    assert float(tf.reduce_min(outputs)) == 0.0


def fill(model, weights):
    """Gives each named layer's weights one value each."""
    for name, values in weights.items():
        layer = model.get_layer(name)
        layer.set_weights([np.full(w.shape, value) for w, value in zip(layer.get_weights(), values, strict=True)])


def test_gate_by_hand():
    # One channel everywhere. theta sums the four pixels of x = 1: 4 * 0.25 = 1. phi: g = 2 times -0.5, plus 0.5,
    # is -0.5. relu(1 - 0.5) = 0.5. psi: 2 * 0.5 - 1 = 0, whose sigmoid is 0.5. alpha * x = 0.5.
    skip, gating = keras.Input((2, 2, 1)), keras.Input((1, 1, 1))
    model = keras.Model([skip, gating], attention_gate(skip, gating, 1, "gate", "plain"))
    fill(model, {"gate_theta": [0.25], "gate_phi": [-0.5, 0.5], "gate_psi": [2.0, -1.0]})
    gated = model([np.ones((1, 2, 2, 1)), np.full((1, 1, 1, 1), 2.0)])
    np.testing.assert_allclose(gated, np.full((1, 2, 2, 1), 0.5), atol=1e-6)


def test_normalised_gate_by_hand():
    # theta: 4 * 0.25 = 1; normalised (scale, offset, mean, variance) (1 - 0.5) / 2 * 2 + 0 = 0.5. phi: -0.5 * 2 = -1;
    # (-1 - -2) / 2 * 1 - 0.5 = 0. relu(0.5 + 0) = 0.5. psi: 2 * 0.5 = 1; (1 - 3) / 2 * 2 + 1.5 = -0.5, whose sigmoid is
    # 0.377541. The epsilon, 1e-5 beside variances of 4, is below the tolerance.
    skip, gating = keras.Input((2, 2, 1)), keras.Input((1, 1, 1))
    model = keras.Model([skip, gating], attention_gate(skip, gating, 1, "gate", "normalised"))
    fill(model, {"gate_theta": [0.25], "gate_phi": [-0.5], "gate_psi": [2.0]})
    fill(
        model,
        {
            "gate_theta_normalisation": [2.0, 0.0, 0.5, 4.0],
            "gate_phi_normalisation": [1.0, -0.5, -2.0, 4.0],
            "gate_psi_normalisation": [2.0, 1.5, 3.0, 4.0],
        },
    )
    gated = model([np.ones((1, 2, 2, 1)), np.full((1, 1, 1, 1), 2.0)])
    np.testing.assert_allclose(gated, np.full((1, 2, 2, 1), 0.377541), atol=1e-5)


def test_limits_by_hand():
    np.testing.assert_array_equal(Within(-1.0, 2.0)(np.float32([-3, -1, 0.5, 2, 9])), [-1, -1, 0.5, 2, 2])


def pushed(gates):
    """A gate's coefficients after steps that push its mean down as far as it goes."""
    keras.utils.set_random_seed(0)
    skip, gating = keras.Input((8, 8, 2)), keras.Input((4, 4, 2))
    gate = keras.Model([skip, gating], attention_gate(skip, gating, 2, "gate", gates))
    model = keras.Model(gate.inputs, gate.get_layer("gate_attention").output)
    model.compile(keras.optimizers.Adam(0.1), "mean_absolute_error")
    generator = np.random.default_rng(0)
    inputs = [generator.random(shape, np.float32) for shape in ((8, 8, 8, 2), (8, 4, 4, 2))]
    # 200 steps on the same eight: as one epoch, for each epoch costs as much as a step.
    repeated = [np.tile(each, (200, 1, 1, 1)) for each in inputs]
    model.fit(repeated, np.zeros((1600, 8, 8, 1), np.float32), batch_size=8, shuffle=False, verbose=0)
    return model, model.predict_on_batch(inputs)


def test_plain_gate_can_be_shut_and_a_normalised_one_cannot():
    _, plain = pushed("plain")
    assert plain.max() < 0.01
    model, normalised = pushed("normalised")
    for part, limits in GATE_LIMITS.items():
        scale, offset, *_ = model.get_layer(f"gate_{part}_normalisation").get_weights()
        assert limits.scale[0] <= scale.min() <= scale.max() <= limits.scale[1]
        assert limits.offset[0] <= offset.min() <= offset.max() <= limits.offset[1]
    assert offset == GATE_LIMITS["psi"].offset[0]  # pushed to the limit
    assert normalised.mean() > 0.05
    assert normalised.std() > 0.05  # over the pixels of the batch, which batch normalisation counts


def test_gates_are_told_apart():
    assert [gates_of(attention_unet((8, 8, 3), 2, 1, gates=gates)) for gates in ("plain", "normalised")] == [
        "plain",
        "normalised",
    ]
    assert gates_of(unet((8, 8, 3), 2, 1)) is None
