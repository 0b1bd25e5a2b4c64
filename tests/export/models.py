"""Small Keras models with weights in which nothing is trivial, and a run whose Dice can be followed by hand."""

import keras
import numpy as np
from keras import layers

from evaluate.conftest import make_run, rectangle, write_image, write_mask
from polypseg.models.attention_unet import attention_unet
from polypseg.models.blocks import FusedBatchNormalization
from polypseg.models.checkpoint import save_model
from polypseg.models.winograd import WinogradConvolution

SIDE = 32
SPLITS = {f"s{n:02d}": ("train", "validation", "test")[n % 3] for n in range(12)}


def stirred(model, seed=0):
    """The model with statistics and biases as training leaves them, and logits that reach from low to high."""
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.moving_mean.shape
            layer.moving_mean.assign(generator.normal(0, 0.1, shape))
            layer.moving_variance.assign(generator.uniform(0.5, 1.5, shape))
            layer.beta.assign(generator.normal(0, 0.1, shape))
    head = model.get_layer("head_logits")
    head.kernel.assign(generator.normal(0, 1, head.kernel.shape))
    images = generator.random((2, *model.input_shape[1:]), np.float32)
    logits = keras.ops.convert_to_numpy(keras.Model(model.input, head.output)(images, training=False))
    head.kernel.assign(2 / logits.std() * head.kernel)
    head.bias.assign(-2 / logits.std() * (logits.mean((0, 1, 2)) - head.bias))
    return model


def small_attention_unet(size=SIDE):
    keras.utils.set_random_seed(0)
    return stirred(attention_unet((size, size, 3), filters=4, depth=2))


def small_polyp_lite(size=64):
    keras.utils.set_random_seed(0)
    return stirred(attention_unet((size, size, 3), filters=4, encoder="efficientnet-lite0"))


def red_model(size=SIDE):
    """Probability sigmoid(40 r - 20), r the mean of the red of 3x3 pixels: polyp where it is above one half."""
    image = keras.Input((size, size, 3), name="image")
    features = WinogradConvolution(4, 3, padding="same", use_bias=False, name="mean")(image)
    features = layers.ReLU(name="relu")(FusedBatchNormalization(name="normalisation", epsilon=1e-6)(features))
    logits = layers.Conv2D(1, 1, name="head_logits")(features)
    model = keras.Model(image, layers.Activation("sigmoid", name="head_probability")(logits), name="red")
    kernel = np.zeros((3, 3, 3, 4), np.float32)
    kernel[:, :, 0, :] = 1 / 9
    model.get_layer("mean").kernel.assign(kernel)
    model.get_layer("head_logits").kernel.assign(np.full((1, 1, 4, 1), 10.0))
    model.get_layer("head_logits").bias.assign([-20.0])
    return model


def red_data(folder):
    """Twelve samples: a red square of known place on noise that is not red, and its mask."""
    for number in range(12):
        height, width = 40 + number, 60 - number
        mask = rectangle(height, width, (8, 24 + number % 5), (10, 30))
        noise = np.random.default_rng(number).integers(0, 90, (height, width))
        write_image(folder / "images" / f"s{number:02d}.png", np.where(mask, 200, noise))
        write_mask(folder / "masks" / f"s{number:02d}.png", mask)
    return folder


def make_red_run(folder):
    """A run of `red_model` on `red_data`: four samples a split."""
    run = make_run(folder / "runs" / "red", red_data(folder / "data"), SPLITS)
    save_model(red_model(), run.best_path)
    return run
