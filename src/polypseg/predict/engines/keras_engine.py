"""A `.keras` file or a model in memory, run by Keras in the backend that it is set to."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import ModelError, UsageError, missing_extra
from polypseg.predict.engines.engine import Outputs
from polypseg.preprocess import FieldRule
from polypseg.records.model_facts import DEFAULT_THRESHOLD, ModelFacts

GATE_SUFFIX = "_attention"
"""Layers of that name give a gate's coefficients: `gate_1_attention` is the finest."""


def gate_levels(model: Any) -> dict[int, Any]:
    """The layers that give the gates' coefficients, by level, 1 the finest; empty for a model without gates."""
    found = {
        int(layer.name.removesuffix(GATE_SUFFIX).rpartition("_")[2]): layer
        for layer in model.layers
        if layer.name.endswith(GATE_SUFFIX)
    }
    return dict(sorted(found.items()))


def _taken(model: Any, name: Path | str) -> tuple[int | None, ...]:
    """The shape that a model takes, after what it takes and gives was looked at.

    Raises:
        ModelError: Not one square of three colours to one probability a pixel.
    """
    taken, given = ([tuple(one.shape) for one in ends or ()] for ends in (model.inputs, model.outputs))
    if len(taken) != 1 or len(taken[0]) != 4 or taken[0][1] is None or taken[0][1] != taken[0][2] or taken[0][3] != 3:
        raise ModelError(f"{name}: the model takes {taken}; expected one input (None, size, size, 3)")
    expected = (*taken[0][1:3], 1)
    if (
        len(given) != 1
        or len(given[0]) != 4
        or any(a not in (None, b) for a, b in zip(given[0][1:], expected, strict=True))
    ):
        raise ModelError(
            f"{name}: the model gives {given}; expected one output (None, {expected[0]}, {expected[1]}, 1)"
        )
    return taken[0]


_LARGEST_DIVISOR = 64.0
"""A model of pictures in [0, 1] divides them by less; one of bytes by 255 or 127.5."""


def _refuse_bytes(model: Any, name: Path | str) -> None:
    """Nothing, if a model takes pictures in [0, 1], and does not divide bytes by 255 itself.

    Such a model sees a black picture here, and says "no polyp" of all.

    Raises:
        ModelError: It divides by 255 itself.
    """
    for layer in (node.operation for taken in model.inputs for node in _consumers(model, taken)):
        kind = type(layer).__name__
        scale = np.max(np.abs(layer.scale)) if kind == "Rescaling" else 1.0
        divisors = [value for value in _numbers(layer) if value > 1.0] if kind in ("TrueDivide", "Divide") else []
        means = np.max(np.abs(layer.mean)) if kind == "Normalization" and layer.mean is not None else 0.0
        if scale < 1 / _LARGEST_DIVISOR or max(divisors, default=1.0) > _LARGEST_DIVISOR or means > 2.0:
            raise ModelError(
                f"{name}: the model takes pictures of 0 to 255 (its layer {layer.name!r} scales them); expected one "
                "that takes 0 to 1: save it without that layer"
            )


def _consumers(model: Any, tensor: Any) -> list[Any]:
    """The nodes of a functional or sequential model that take a tensor."""
    nodes = [node for layer in getattr(model, "operations", model.layers) for node in layer._inbound_nodes]
    return [node for node in nodes if any(given is tensor for given in node.input_tensors)]


def _numbers(layer: Any) -> list[float]:
    """The numbers among what an operation was called with."""
    arguments = layer._inbound_nodes[0].arguments
    given = [*arguments.args, *arguments.kwargs.values()]
    return [float(value) for value in given if isinstance(value, int | float)]


class KerasEngine:
    """Implements `Engine` for a `.keras` file, or for a model in memory.

    Args:
        source: The file, or a `keras.Model`.
        threshold: A pixel is polyp from this probability on.
        threads: None; Keras' backend reads its own setting.
        peak_threshold: What one pixel of a component must reach.
        field: What of a frame the model sees.

    Attributes:
        model: The Keras model itself.
    """

    name = "keras"

    def __init__(
        self,
        source: Path | Any,
        threshold: float = DEFAULT_THRESHOLD,
        threads: int | None = None,
        peak_threshold: float = 0.0,
        field: FieldRule = "whole",
    ) -> None:
        try:
            import keras
        except ModuleNotFoundError as error:
            raise missing_extra("keras", "train") from error
        from polypseg.models.checkpoint import load_model

        if threads is not None:
            raise UsageError("--threads is for exported models; Keras' backend reads its own setting when it starts")
        self._keras = keras
        self.model = load_model(source) if isinstance(source, Path) else source
        shape = _taken(self.model, source if isinstance(source, Path) else self.model.name)
        _refuse_bytes(self.model, source if isinstance(source, Path) else self.model.name)
        self._gates = gate_levels(self.model)
        self._run: Any = None
        self._reader: Any = None
        self.facts = ModelFacts(
            size=int(shape[1] or 0),
            field=field,
            threshold=threshold,
            peak_threshold=peak_threshold,
            name=self.model.name,
            attention_levels=tuple(sorted(self._gates)),
            num_parameters=int(self.model.count_params()),
        )
        self.size, self.threshold = self.facts.size, threshold

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `Engine.run`."""
        from polypseg.models.batch_function import batch_function

        self._run = self._run or batch_function(self.model)
        return np.asarray(self._run(batch), np.float32)

    def run_with_attention(self, batch: NDArray[np.float32]) -> Outputs:
        """As `Engine.run_with_attention`."""
        if not self._gates:
            raise ModelError(f"the model {self.model.name!r} has no attention gates; expected an attention_unet")
        from polypseg.models.batch_function import batch_function

        if self._reader is None:  # built once: each new one costs a compilation
            outputs = {"probability": self.model.output}
            outputs |= {str(level): gate.output for level, gate in self._gates.items()}
            self._reader = batch_function(self._keras.Model(self.model.input, outputs))
        found = {key: np.asarray(value, np.float32) for key, value in self._reader(batch).items()}
        return Outputs(found.pop("probability"), {int(key): value[..., 0] for key, value in found.items()})
