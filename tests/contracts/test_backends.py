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
