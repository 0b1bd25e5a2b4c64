"""One training on several devices of a machine: `keras.distribution`'s data parallel, on the JAX backend.

Decisions:
- Every device holds all weights and a share of each batch; batch normalisation is of the whole batch, so that the
  result is that of one device up to the order of sums.
- Keras cannot share out a batch that the devices do not divide, as the last one of an epoch often is, and fails where
  an epoch has both kinds. So batches come to all devices whole, and the step shares out those that can be: the others
  are computed by every device alike.
- How many devices there are is no part of a model: a run goes on with another number.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras

from polypseg.config import Config
from polypseg.errors import UsageError


def with_devices(config: Config, devices: int | None) -> Config:
    """The settings with another number of devices; None leaves it as it is."""
    if devices is None:
        return config
    return config.model_copy(update={"train": config.train.model_copy(update={"devices": devices})})


def num_devices(config: Config) -> int:
    """How many devices a training takes.

    Raises:
        UsageError: A backend that cannot, fewer devices than that, or a batch that they do not divide.
    """
    wanted, size = config.train.devices, config.data.batch_size
    if wanted == 1:
        return 1
    backend = keras.backend.backend()
    if backend != "jax":
        raise UsageError(
            f"train.devices {wanted} needs Keras' JAX backend, found {backend}: set KERAS_BACKEND=jax and install it "
            'with pip install "polypseg[gpu]"; on one device take train.devices=1'
        )
    there = keras.distribution.list_devices()
    if wanted > len(there):
        hint = ""
        if there[0].startswith("cpu"):
            hint = f"; XLA_FLAGS=--xla_force_host_platform_device_count={wanted} makes so many of a processor"
        raise UsageError(f"train.devices {wanted}: JAX sees {len(there)} ({', '.join(there)}){hint}")
    found = wanted or len(there)
    if size % found:
        fits = f"{size // found * found} or " if size > found else ""
        raise UsageError(
            f"data.batch_size {size} is not divisible by {found} devices (train.devices); "
            f"take {fits}{size // found * found + found}"
        )
    return found


@contextmanager
def on_devices(config: Config) -> Iterator[None]:
    """For its time, models are made on all devices of the training; on one nothing changes.

    Raises:
        UsageError: As `num_devices`.
    """
    count = num_devices(config)
    if count == 1:
        yield
        return
    with _WholeBatches(devices=keras.distribution.list_devices()[:count]).scope():
        yield


def share_batches(model: keras.Model) -> None:
    """Make the model share out the batches of `fit` among the devices that it was made on."""
    distribution = keras.distribution.distribution()
    if isinstance(distribution, _WholeBatches):
        model.train_step = distribution.shared_out(model.train_step)
        model.test_step = distribution.shared_out(model.test_step)


_Step = Callable[[Any, Any], Any]


class _WholeBatches(keras.distribution.DataParallel):  # type: ignore[misc]
    """Data parallel whose batches come to all devices whole, and are shared out within a step."""

    def get_data_layout(self, data_shape: tuple[int, ...]) -> Any:
        """All of it on every device."""
        return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)

    def shared_out(self, step: _Step) -> _Step:
        """The step of a model, which begins with sharing out its batch."""
        return lambda state, data: step(state, keras.tree.map_structure(self._shared, data))

    def _shared(self, values: Any) -> Any:
        if values is None or values.shape[0] % self.num_model_replicas:
            return values
        layout = super().get_data_layout(values.shape)
        return keras.distribution.distribute_tensor(values, layout)
