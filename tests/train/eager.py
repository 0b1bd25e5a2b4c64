"""Trainings without a graph: TensorFlow traces a graph for ten seconds that a small test then uses for two steps."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import pytest


@contextmanager
def eagerly() -> Iterator[None]:
    """What runs in the block trains, validates and predicts step by step: the same up to rounding."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "run_eagerly", property(lambda model: True, lambda model, value: None))
        yield
