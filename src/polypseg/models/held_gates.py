"""A network whose gates can be held: one gate's coefficients are set to one value, everywhere, while it runs.

What a gate is worth is seen by what is lost without it (explain/gates.py).

Decisions:
- One graph for all gates, compiled once: how much of a gate is held, and at what, are variables of a layer behind it.
- The layers and their weights are the model's own; nothing of the model changes.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from polypseg.models.batch_function import batch_function


class HeldOutputs(NamedTuple):
    """What the network says of a batch.

    Attributes:
        probabilities: Shape (N, size, size, 1), float32.
        coefficients: By level, shape (N, h, w), float32: what each gate itself gives, held or not.
    """

    probabilities: NDArray[np.float32]
    coefficients: dict[int, NDArray[np.float32]]


class _Hold(layers.Layer):  # type: ignore[misc]
    """Passes coefficients on, or one value in their place."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(trainable=False, **keywords)
        self.is_held = self.add_weight(shape=(), initializer="zeros", name="is_held")
        self.value = self.add_weight(shape=(), initializer="zeros", name="value")

    def call(self, coefficients: Any) -> Any:
        """Coefficients of the same shape."""
        is_held, value = (ops.cast(variable, coefficients.dtype) for variable in (self.is_held, self.value))
        return coefficients * (1 - is_held) + value * is_held

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's own."""
        return input_shape


class HeldGates:
    """A model whose gates can be held, one at a time.

    Args:
        model: A functional model.
        gates: The level of each layer that gives a gate's coefficients, by the layer's name.
    """

    def __init__(self, model: keras.Model, gates: Mapping[str, int]) -> None:
        self._holds: dict[int, _Hold] = {}
        given: dict[str, keras.KerasTensor] = {}

        def call(layer: keras.layers.Layer, *arguments: Any, **keywords: Any) -> Any:
            output = layer(*arguments, **keywords)
            if layer.name not in gates:
                return output
            level = gates[layer.name]
            given[str(level)] = output
            self._holds[level] = _Hold(name=f"{layer.name}_hold")
            return self._holds[level](output)

        twin = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
        self._run = batch_function(keras.Model(twin.input, {"probability": twin.output, **given}))

    def run(self, batch: NDArray[np.float32], level: int | None = None, value: float = 0.0) -> HeldOutputs:
        """What the network says of a batch.

        Args:
            batch: Shape (N, size, size, 3), float32 in [0, 1].
            level: The gate to hold; None for none.
            value: What its coefficients are then, in [0, 1].
        """
        for each, hold in self._holds.items():
            hold.is_held.assign(float(each == level))
            hold.value.assign(value)
        found = {name: np.asarray(output, np.float32) for name, output in self._run(batch).items()}
        return HeldOutputs(found.pop("probability"), {int(name): found[name][..., 0] for name in sorted(found)})
