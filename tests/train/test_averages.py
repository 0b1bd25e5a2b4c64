"""Averaged weights: judged and kept with statistics of their own, and gone from the training's own weights after."""

import keras
import numpy as np
import pytest

from polypseg.train.callbacks import Averages, ModelCheckpoint
from train.averaged_model import image_batches, nested_model


def started(model, batches=image_batches):
    averages = Averages(batches)
    averages.set_model(model)
    return averages


def averages_of(model):
    return [average.numpy().copy() for average in model.optimizer._model_variables_moving_average]


def equal(ours, theirs):
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


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
