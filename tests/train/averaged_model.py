"""A small model with averaged weights, and the images that its normalisation is measured on."""

import keras
import numpy as np

from polypseg.config import TrainConfig
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
    model.compile(build_optimizer(TrainConfig(ema_momentum=average, learning_rate=0.1), 10), "mse")
    images = np.random.default_rng(0).random((8, 2, 2, 3), np.float32)
    model.fit(images, images[..., :1], batch_size=4, epochs=3, verbose=0)
    for weight in model.trainable_variables:
        weight.assign(weight + 1)  # Keras leaves the averages themselves in the model when its fit ends
    return model
