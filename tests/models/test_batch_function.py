import subprocess
import sys

import keras
import numpy as np
import pytest

from polypseg.models.batch_function import batch_function


def sum_of_colours(weight=1.0):
    """A model that gives weight * (red + green + blue) + 0.5 at each pixel."""
    image = keras.Input((2, 2, 3))
    convolution = keras.layers.Conv2D(1, 1, bias_initializer=keras.initializers.Constant(0.5))
    model = keras.Model(image, convolution(image))
    convolution.kernel.assign(np.full((1, 1, 3, 1), weight))
    return model


def batch(count, value=0.1):
    return np.full((count, 2, 2, 3), value, np.float32)


@pytest.mark.parametrize("count", [1, 4])
def test_a_batch_of_any_number(count):
    given = batch_function(sum_of_colours())(batch(count))
    assert isinstance(given, np.ndarray)
    np.testing.assert_allclose(given, np.full((count, 2, 2, 1), 0.8), atol=1e-6)  # 3 * 0.1 + 0.5


def test_the_structure_of_the_outputs_is_kept():
    model = sum_of_colours()
    named = keras.Model(model.input, {"sum": model.output, "given": model.input})
    found = batch_function(named)(batch(2))
    assert {name: array.shape for name, array in found.items()} == {"sum": (2, 2, 2, 1), "given": (2, 2, 2, 3)}


def test_weights_that_change_later_count():
    model = sum_of_colours()
    run = batch_function(model)
    run(batch(1))
    model.layers[1].kernel.assign(np.full((1, 1, 3, 1), 2.0))
    np.testing.assert_allclose(run(batch(1)), np.full((1, 2, 2, 1), 1.1), atol=1e-6)  # 2 * 3 * 0.1 + 0.5


def test_layers_are_in_inference_mode():
    image = keras.Input((2, 2, 3))
    model = keras.Model(image, keras.layers.Dropout(0.9)(keras.layers.BatchNormalization(epsilon=0.0)(image)))
    np.testing.assert_allclose(batch_function(model)(batch(3, 0.25)), batch(3, 0.25))  # mean 0, variance 1: unchanged


# In a process of its own: TensorFlow says it once, and other tests may have heard it.
WARNINGS = """
import logging, sys
import keras, numpy as np
from polypseg.models.batch_function import batch_function

said = []
handler = logging.Handler()
handler.emit = lambda record: said.append(record.getMessage())
logging.getLogger("tensorflow").addHandler(handler)
for _ in range(6):  # TensorFlow warns from 5 tracings within 10 calls on
    image = keras.Input((2, 2, 3))
    model = keras.Model(image, keras.layers.Conv2D(1, 1)(image))
    run = batch_function(model) if sys.argv[1] == "ours" else model.predict_on_batch
    for count in (1, 2):
        run(np.zeros((count, 2, 2, 3), np.float32))
print(sum("retracing" in line for line in said))
"""


@pytest.mark.parametrize(("way", "warns"), [("ours", False), ("keras", True)])
def test_many_models_in_one_process_warn_of_nothing(way, warns):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the warning is TensorFlow's")
    done = subprocess.run([sys.executable, "-c", WARNINGS, way], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert (int(done.stdout) > 0) == warns
