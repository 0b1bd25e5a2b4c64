"""Batch normalisation measured again: the mean over batches of images as the training changes them."""

import keras
import numpy as np
import pytest

from polypseg.data.batches import SampleReader, tf_batches
from polypseg.data.catalogue import find_samples
from polypseg.data.epochs import BatchPlan
from polypseg.models.blocks import Within
from polypseg.train.normalisation import (
    calibration_batches,
    freeze_normalisation,
    measure_normalisation,
    settle_normalisation,
)
from train.averaged_model import image_batches, nested_model


@pytest.mark.parametrize("name", ["outer", "inner"])
def test_normalisation_is_the_mean_over_the_batches(name):
    model = nested_model()
    measure_normalisation(model, image_batches())
    layer = model.get_layer(name) if name == "outer" else model.get_layer("encoder").get_layer(name)
    # Means 0.1 and 0.8, on average 0.45; variances 0.1^2 and 0.2^2, on average (0.01 + 0.04) / 2.
    np.testing.assert_allclose(layer.moving_mean, [0.45] * 3, atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, [0.025] * 3, atol=1e-6)
    assert layer.momentum == 0.99  # as before


def folded_model():
    """A convolution of one input to 2 x + 3, a normalisation that passes it on, ReLU, and the same to 10 x."""
    image = keras.Input((2, 2, 3))
    features = keras.layers.Conv2D(1, 1, use_bias=False, name="first")(image)
    features = keras.layers.BatchNormalization(name="first_normalisation", epsilon=1e-3)(features)
    features = keras.layers.ReLU()(features)
    features = keras.layers.Conv2D(1, 1, use_bias=False, name="second")(features)
    model = keras.Model(image, keras.layers.BatchNormalization(name="second_normalisation", epsilon=1e-3)(features))
    model.get_layer("first").kernel.assign(np.array([2.0, 0.0, 0.0]).reshape(1, 1, 3, 1))
    model.get_layer("second").kernel.assign(np.full((1, 1, 1, 1), 10.0))
    for name, offset in (("first", 3.0), ("second", 0.0)):
        layer = model.get_layer(f"{name}_normalisation")
        layer.moving_variance.assign([1 - 1e-3])
        layer.beta.assign([offset])
    return model


def test_folded_normalisation_gets_the_statistics_of_its_inputs_and_predicts_the_same():
    model = folded_model()
    images = np.concatenate(list(image_batches()))
    before = np.asarray(model(images, training=False))
    np.testing.assert_allclose(before[:, 0, 0, 0], [30, 34, 42, 50], rtol=1e-5)  # 10 (2 x + 3) of 0, 0.2, 0.6 and 1
    settle_normalisation(model, image_batches())
    np.testing.assert_allclose(model(images, training=False), before, rtol=1e-4)
    # Into the first come 0, 0.4, 1.2 and 2: mean 0.9, variance (0.81 + 0.25 + 0.09 + 1.21) / 4 = 0.59. Into the second
    # 30, 34, 42 and 50: mean 39, variance (81 + 25 + 9 + 121) / 4 = 59. Scales are their roots, offsets what was added
    # to the means: 0.9 + 3 and 39.
    for name, mean, variance, offset in (("first", 0.9, 0.59, 3.9), ("second", 39, 59, 39)):
        layer = model.get_layer(f"{name}_normalisation")
        np.testing.assert_allclose(layer.moving_mean, [mean], rtol=1e-5)
        np.testing.assert_allclose(layer.moving_variance, [variance], rtol=1e-4)
        np.testing.assert_allclose(layer.gamma, [np.sqrt(variance)], rtol=2e-3)
        np.testing.assert_allclose(layer.beta, [offset], rtol=1e-5)


def test_settled_model_says_in_training_what_it_predicts():
    model = folded_model()
    images = np.concatenate(list(image_batches()))
    predicted = np.asarray(model(images, training=False))
    assert np.abs(np.asarray(model(images, training=True)) - predicted).max() > 20  # folded: another network
    model = folded_model()
    settle_normalisation(model, [images])
    np.testing.assert_allclose(model(images, training=True), predicted, rtol=2e-3)


def test_frozen_model_says_in_training_what_it_predicts_and_keeps_its_normalisation():
    model = folded_model()
    images = np.concatenate(list(image_batches()))
    assert len(model.trainable_variables) == 6  # two kernels, two scales, two offsets
    freeze_normalisation(model)
    assert [variable.name for variable in model.trainable_variables] == ["kernel", "kernel"]
    found = np.asarray(model(images, training=True))
    np.testing.assert_allclose(found[:, 0, 0, 0], [30, 34, 42, 50], rtol=1e-5)  # 10 (2 x + 3), as without training
    np.testing.assert_array_equal(model.get_layer("first_normalisation").moving_mean, [0.0])


def test_statistics_are_of_images_as_the_training_changes_them(sample_folder):
    samples, _ = find_samples(sample_folder)
    plan = BatchPlan(4, "strong", True, seed=3)
    reader = SampleReader(samples[:10], 32, keep=False)
    trained_on = [images.numpy() for images, _ in tf_batches(reader, plan)]
    assert [len(images) for images in trained_on] == [4, 4, 2]
    measured_on = list(calibration_batches(reader, plan))
    assert len(measured_on) == 2  # the last batch is not whole
    for ours, theirs in zip(measured_on, trained_on, strict=False):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_fewer_images_than_a_batch_are_measured_on_all_the_same(sample_folder):
    samples, _ = find_samples(sample_folder)
    reader = SampleReader(samples[:3], 32, keep=False)
    assert [len(images) for images in calibration_batches(reader, BatchPlan(4, "none", True, seed=0))] == [3]


def test_normalisations_with_limits_keep_them():
    # As above the first normalisation would get scale sqrt(0.59) = 0.77 and offset 3.9; it may have 1 to 4 and -2 to 2.
    model = folded_model()
    first = model.get_layer("first_normalisation")
    first.gamma_constraint, first.beta_constraint = Within(1.0, 4.0), Within(-2.0, 2.0)
    settle_normalisation(model, image_batches())
    assert (float(first.gamma[0]), float(first.beta[0])) == (1.0, 2.0)
    np.testing.assert_allclose(first.moving_mean, [0.9], rtol=1e-5)
