"""Data parallel: four devices that JAX makes of a processor, in a process of their own, train what one trains."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from polypseg.config import config_from
from polypseg.data.synthetic import make_synthetic
from polypseg.errors import UsageError
from polypseg.train.devices import num_devices, with_devices
from polypseg.train.fit import train

TOLERANCE = 1e-4
"""Of losses and Dice after two epochs; devices add the same numbers in another order. Weights: ten times that."""

SETTINGS = {
    # 18 samples in groups of 4: 10 train (batches of 4, 4 and 2: the last cannot be shared out), 4 validate
    "split": {"kind": "ratio", "validation": 0.2, "test": 0.2, "near_duplicate_bits": -1},
    "data": {"size": 32, "batch_size": 4, "augment": "flip"},
    "model": {"filters": 2, "depth": 1, "dropout": 0.2},
    "train": {"epochs": 2, "ema_momentum": 0.8, "tensorboard": False},
}

CODE = """
import json, sys
from pathlib import Path
import jax, keras, numpy as np
from polypseg.config import config_from
from polypseg.errors import UsageError
from polypseg.models.checkpoint import load_model
from polypseg.train.devices import _WholeBatches, num_devices, on_devices
from polypseg.train.fit import resume, train

data, folder, settings = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])

def config(**changes):
    found = {name: dict(table) for name, table in settings.items()}
    for name, value in changes.items():
        found["data" if name == "batch_size" else "train"][name] = value
    return config_from(found)

def figures(run):
    return [[value for key, value in row.items() if key != "seconds"] for row in run.history()]

def weights(run):
    return [np.asarray(weight) for weight in load_model(run.best_path).get_weights()]

def refused(**changes):
    try:
        num_devices(config(**changes))
    except UsageError as error:
        return str(error)

with on_devices(config(devices=0)):
    layer = keras.layers.Dense(1)
    layer.build((None, 1))
    spread = len(layer.kernel.value.devices())
    batches = [np.zeros((size, 2), "float32") for size in (4, 2)]
    parts = [jax.jit(keras.distribution.distribution()._shared)(batch) for batch in batches]
    shares = [part.sharding.shard_shape(part.shape)[0] for part in parts]
left = len(keras.Variable([0.0]).value.devices())
seen, share = [], _WholeBatches._shared
_WholeBatches._shared = lambda self, values: seen.append(values.shape) or share(self, values)
one, four = (train(data, folder / str(n), config(devices=n)) for n in (1, 4))
half = train(data, folder / "half", config(devices=4, epochs=1))
again = resume(half.folder, epochs=2, devices=2)
print(json.dumps({
    "spread": [spread, left],
    "shares": shares,
    "seen": sorted({shape[:2] for shape in seen}),
    "figures": [figures(run) for run in (one, four, again)],
    "differences": [max(float(abs(a - b).max()) for a, b in zip(weights(one), weights(run))) for run in (four, again)],
    "devices": again.config().train.devices,
    "refused": [refused(devices=5), refused(devices=3), refused(devices=4, batch_size=2)],
    "all": num_devices(config(devices=0)),
}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What the process says."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip('needs JAX: pip install "jax[cpu]"')
    folder = tmp_path_factory.mktemp("devices")
    flags = "--xla_force_host_platform_device_count=4"
    environment = {**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": flags, "TF_CPP_MIN_LOG_LEVEL": "3"}
    make_synthetic(folder / "set", 18, seed=2, side_range=(40, 56))
    words = [sys.executable, "-c", CODE, str(folder / "set"), str(folder), json.dumps(SETTINGS)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_four_devices_train_what_one_device_trains(told):
    one, four, _ = told["figures"]
    assert len(four) == 2
    for ours, theirs in zip(one, four, strict=True):
        assert theirs == pytest.approx(ours, abs=TOLERANCE)
    assert told["differences"][0] < 10 * TOLERANCE


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_devices(told):
    one, _, again = told["figures"]
    for ours, theirs in zip(one, again, strict=True):
        assert theirs == pytest.approx(ours, abs=TOLERANCE)
    assert told["differences"][1] < 10 * TOLERANCE
    assert told["devices"] == 2


@pytest.mark.slow
def test_batches_are_shared_out(told):
    """A device of four gets one image of a batch of four, and all of a batch of two, which they do not divide."""
    assert told["spread"] == [4, 1]
    assert told["shares"] == [1, 2]
    assert {(4, 32), (2, 32)} == {tuple(shape) for shape in told["seen"]}  # of every step of the trainings


@pytest.mark.slow
def test_what_does_not_fit_is_told_in_a_line(told):
    too_many, uneven, too_small = told["refused"]
    assert "train.devices 5: JAX sees 4 (cpu:0, cpu:1, cpu:2, cpu:3); XLA_FLAGS=" in too_many
    assert uneven == "data.batch_size 4 is not divisible by 3 devices (train.devices); take 3 or 6"
    assert too_small == "data.batch_size 2 is not divisible by 4 devices (train.devices); take 4"
    assert told["all"] == 4


def test_another_backend_is_told_what_to_set(sample_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "tensorflow")
    with pytest.raises(UsageError, match=r"needs Keras' JAX backend, found tensorflow: set KERAS_BACKEND=jax"):
        train(sample_folder, tmp_path / "run", config_from({"train": {"devices": 2}}))
    assert not (tmp_path / "run").exists()


def test_one_device_asks_nothing_of_the_backend():
    config = config_from({"data": {"batch_size": 7}})
    assert num_devices(config) == 1
    assert with_devices(config, None) == config
    assert with_devices(config, 3).train.devices == 3
