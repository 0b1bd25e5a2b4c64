"""Keras models of other programs: what a user of Keras would save, and polypseg must not feed."""

import keras
import numpy as np
import pytest
from keras import layers

from polypseg.errors import ModelError
from polypseg.predict.engines.opening import open_engine


def saved(path, scale):
    """A model that begins with `scale(image)`; gives its path."""
    image = keras.Input((16, 16, 3))
    keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(scale(image))).save(path)
    return path


def normalisation(mean):
    return layers.Normalization(mean=[mean] * 3, variance=[1.0] * 3)


@pytest.mark.parametrize(
    "scale",
    [
        layers.Rescaling(1 / 255),
        layers.Rescaling(1 / 127.5, offset=-1),
        lambda image: image / 255.0,
        lambda image: keras.ops.divide(image, 127.5),
        normalisation(110.0),
    ],
    ids=["rescaling", "to -1..1", "division", "operation", "normalisation"],
)
def test_a_model_of_bytes_is_refused(tmp_path, scale):
    path = saved(tmp_path / "bytes.keras", scale)
    with pytest.raises(ModelError, match=r"bytes\.keras: the model takes pictures of 0 to 255 \(its layer '.*' scales"):
        open_engine(path, "keras")


@pytest.mark.parametrize(
    "scale",
    [layers.Rescaling(255.0), layers.Rescaling(2.0, offset=-1), lambda image: image / 0.5, normalisation(0.45)],
    ids=["to bytes", "to -1..1", "division", "normalisation"],
)
def test_a_model_of_shares_is_taken(tmp_path, scale):
    engine = open_engine(saved(tmp_path / "shares.keras", scale), "keras")
    assert engine.run(np.zeros((2, 16, 16, 3), np.float32)).shape == (2, 16, 16, 1)


def test_a_sequential_model_of_bytes_is_refused(tmp_path):
    model = [keras.Input((16, 16, 3)), layers.Rescaling(1 / 255), layers.Conv2D(1, 1, activation="sigmoid")]
    keras.Sequential(model).save(tmp_path / "bytes.keras")
    with pytest.raises(ModelError, match=r"takes pictures of 0 to 255"):
        open_engine(tmp_path / "bytes.keras", "keras")
