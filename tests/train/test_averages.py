"""Averaged weights: judged and kept with statistics of their own, and gone from the training's own weights after."""

import keras
import numpy as np
import pytest

from polypseg.config import TrainConfig
from polypseg.data.batches import BatchPlan, SampleReader, tf_batches
from polypseg.data.catalogue import find_samples
from polypseg.train.callbacks import Averages, ModelCheckpoint, measure_normalisation
from polypseg.train.normalisation import calibration_batches
from polypseg.train.optimizers import build_optimizer


def image_batches():
    """Two batches of two images (2, 2, 3): one all 0 and 0.2, the other all 0.6 and 1."""
    levels = ((0.0, 0.2), (0.6, 1.0))
    return iter([np.stack([np.full((2, 2, 3), level, np.float32) for level in pair]) for pair in levels])


def nested_model(average=0.9):
    """A normalisation at the top and one inside a nested model, as an encoder of `keras.applications` holds them."""
    keras.utils.set_random_seed(0)
    inner_input = keras.Input((2, 2, 3))
    inner = keras.Model(inner_input, keras.layers.BatchNormalization(name="inner")(inner_input), name="encoder")
    image = keras.Input((2, 2, 3))
    features = keras.layers.BatchNormalization(name="outer")(image)
    outputs = keras.layers.Conv2D(1, 1, name="head")(keras.layers.Add()([features, inner(image)]))
    model = keras.Model(image, outputs)
    model.compile(build_optimizer(TrainConfig(average=average, learning_rate=0.1), 10), "mse")
    images = np.random.default_rng(0).random((8, 2, 2, 3), np.float32)
    model.fit(images, images[..., :1], batch_size=4, epochs=3, verbose=0)
    for weight in model.trainable_variables:
        weight.assign(weight + 1)  # Keras leaves the averages themselves in the model when its fit ends
    return model


def started(model, batches=image_batches):
    averages = Averages(batches)
    averages.set_model(model)
    return averages


def averages_of(model):
    return [average.numpy().copy() for average in model.optimizer._model_variables_moving_average]


def equal(ours, theirs):
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", ["outer", "inner"])
def test_normalisation_is_the_mean_over_the_batches(name):
    model = nested_model()
    measure_normalisation(model, image_batches())
    layer = model.get_layer(name) if name == "outer" else model.get_layer("encoder").get_layer(name)
    # Means 0.1 and 0.8, on average 0.45; variances 0.1^2 and 0.2^2, on average (0.01 + 0.04) / 2.
    np.testing.assert_allclose(layer.moving_mean, [0.45] * 3, atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, [0.025] * 3, atol=1e-6)
    assert layer.momentum == 0.99  # as before


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


def test_averages_are_in_the_model_in_validation_and_the_weights_come_back():
    model = nested_model()
    before, expected = model.get_weights(), averages_of(model)
    assert not equal([w.numpy() for w in model.trainable_variables], expected)
    averages = started(model)
    averages.on_test_begin()
    assert equal([w.numpy() for w in model.trainable_variables], expected)
    np.testing.assert_allclose(model.get_layer("outer").moving_mean, [0.45] * 3, atol=1e-6)
    averages.on_test_end()
    assert equal(model.get_weights(), before)


def test_weights_come_back_after_an_error():
    model = nested_model()
    before = model.get_weights()
    with pytest.raises(RuntimeError, match="full disk"), started(model).in_place():
        raise RuntimeError("full disk")
    assert equal(model.get_weights(), before)


def test_without_averages_nothing_changes_and_no_image_is_read():
    def unread():
        raise AssertionError("read")

    model = nested_model(average=0.0)
    before = model.get_weights()
    averages = started(model, unread)
    averages.on_test_begin()
    assert equal(model.get_weights(), before)
    averages.on_test_end()
    with averages.in_place():
        assert equal(model.get_weights(), before)


def test_best_model_is_the_averaged_one_with_its_statistics(tmp_path):
    model = nested_model()
    before, expected = model.get_weights(), averages_of(model)
    averages = started(model)
    checkpoint = ModelCheckpoint(tmp_path / "best.keras", averages=averages)
    checkpoint.set_model(model)
    checkpoint.on_train_begin()
    averages.on_test_begin()
    averages.on_test_end()
    checkpoint.on_epoch_end(0, {"val_loss": 1.0})
    best = keras.saving.load_model(tmp_path / "best.keras")
    assert equal([w.numpy() for w in best.trainable_variables], expected)
    np.testing.assert_allclose(best.get_layer("outer").moving_mean, [0.45] * 3, atol=1e-6)
    assert equal(model.get_weights(), before)
