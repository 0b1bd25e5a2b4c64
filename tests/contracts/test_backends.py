"""One set of weights gives one output, whichever backend runs it."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

TOLERANCE = 1e-4

BUILD = """
import sys, keras, numpy as np
from polypseg.models.attention_unet import attention_unet
from polypseg.models.checkpoint import save_model
from polypseg.train.coefficients import DiceCoefficient, IoUCoefficient
from polypseg.train.losses import BinaryCrossentropyDice
keras.utils.set_random_seed(0)
model = attention_unet((32, 32, 3), filters=4, depth=2)
model.compile(keras.optimizers.Adam(1e-2), BinaryCrossentropyDice(), metrics=[DiceCoefficient(), IoUCoefficient()])
generator = np.random.default_rng(0)
images, masks = generator.random((8, 32, 32, 3), np.float32), (generator.random((8, 32, 32, 1)) > 0.6)
model.fit(images, masks.astype("float32"), epochs=3, verbose=0)  # away from the start: moving averages count too
save_model(model, sys.argv[1] + "/model.keras")
np.savez(sys.argv[1] + "/batch.npz", images=images, masks=masks)
"""

RUN = """
import sys, keras, numpy as np, polypseg
batch = np.load(sys.argv[1] + "/batch.npz")
model = keras.models.load_model(sys.argv[1] + "/model.keras")
output = keras.ops.convert_to_numpy(model.predict_on_batch(batch["images"]))
loss = model.evaluate(batch["images"], batch["masks"].astype("float32"), verbose=0)
step = model.train_on_batch(batch["images"], batch["masks"].astype("float32"))
np.savez(sys.argv[1] + "/" + keras.backend.backend() + ".npz", output=output, loss=loss, step=step)
"""

CODE = {"build": BUILD, "run": RUN}


def on(backend, what, folder):
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", CODE[what], str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backends")
    on("tensorflow", "build", folder)
    on("tensorflow", "run", folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_backends_agree(trained, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed (make backends)")
    on(backend, "run", trained)
    reference, other = np.load(trained / "tensorflow.npz"), np.load(trained / f"{backend}.npz")
    for name in ("output", "loss", "step"):
        np.testing.assert_allclose(other[name], reference[name], atol=TOLERANCE, err_msg=name)


GRADIENT = """
import sys, keras, numpy as np
from polypseg.explain.gradient import gradient_map
from polypseg.models.checkpoint import load_model
from pathlib import Path
batch = np.load(sys.argv[1] + "/batch.npz")
model = load_model(Path(sys.argv[1] + "/model.keras"))
found = [gradient_map(model, batch["images"][i], batch["masks"][i, ..., 0]) for i in range(2)]
image = keras.Input((4, 4, 3))
small = keras.Model(image, keras.layers.Conv2D(1, 1, name="mix")(image))
small.get_layer("mix").set_weights([np.array([2.0, -3.0, 0.5]).reshape(1, 1, 3, 1), np.zeros(1)])
mask = np.zeros((4, 4), bool)
mask[1, 1:3] = True
one = gradient_map(small, np.ones((4, 4, 3), np.float32), mask)
np.savez(sys.argv[1] + "/gradient-" + keras.backend.backend() + ".npz", maps=np.stack(found), one=one, mask=mask)
"""
CODE["gradient"] = GRADIENT


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_gradient_map_is_that_of_tensorflow(trained, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: make backends")
    if not (trained / "gradient-tensorflow.npz").is_file():
        on("tensorflow", "gradient", trained)
    on(backend, "gradient", trained)
    expected, found = (np.load(trained / f"gradient-{name}.npz") for name in ("tensorflow", backend))
    # by hand: only the two pixels of the mask have a gradient, and the same one
    np.testing.assert_allclose(found["one"], found["mask"], atol=1e-6)
    assert expected["maps"].max(axis=(1, 2)) == pytest.approx(1)
    np.testing.assert_allclose(found["maps"], expected["maps"], atol=1e-3)
