"""How a training computes: mixed precision and determinism, for as long as it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from polypseg.config import TrainConfig


@contextmanager
def numerics(settings: TrainConfig) -> Iterator[None]:
    """Mixed precision and determinism for the time of a training."""
    policy: Any = keras.config.dtype_policy()
    if settings.mixed_precision:
        keras.config.set_dtype_policy("mixed_float16" if has_gpu() else "mixed_bfloat16")
    if settings.deterministic:
        _make_deterministic()
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def has_gpu() -> bool:
    """Whether the backend sees a GPU (Keras' own list of devices is missing on PyTorch)."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))
    if keras.backend.backend() == "torch":
        import torch

        return bool(torch.cuda.is_available())
    return any("GPU" in str(device).upper() for device in keras.distribution.list_devices())


def _make_deterministic() -> None:
    """Ask the backend for the same numbers each time (JAX on a CPU gives them as it is)."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    if keras.backend.backend() == "torch":
        import torch

        torch.use_deterministic_algorithms(True)
