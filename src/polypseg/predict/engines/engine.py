"""The interface of an engine, which runs a model: what it takes and what it gives.

Decisions:
- Every engine takes what the model sees and gives what it says, both as NumPy arrays; preparing and restoring are the
  predictor's (predictor.py) and the same for all.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from polypseg.records.model_facts import ModelFacts

ENGINES = ("auto", "onnxruntime", "openvino", "keras", "litert")
"""The names that a caller may give; `auto` takes the fastest that is installed and fits the file."""


class Outputs(NamedTuple):
    """What a model says of a batch.

    Attributes:
        probabilities: Shape (N, size, size, 1), float32 in [0, 1].
        attention: By level (1 is the finest gate) the gates' coefficients, shape (N, h, w), float32 in [0, 1]; empty
            where they were not asked for or the model has none.
    """

    probabilities: NDArray[np.float32]
    attention: dict[int, NDArray[np.float32]]

    def of(self, index: int) -> "Outputs":
        """What it says of one image: a batch of one."""
        maps = {level: values[index : index + 1] for level, values in self.attention.items()}
        return Outputs(self.probabilities[index : index + 1], maps)


class Engine(Protocol):
    """Runs one model.

    Attributes:
        name: Of the runtime.
        facts: What the model file says of itself.
        size: Side in pixels of the square that the model sees.
        threshold: A pixel is polyp where its probability is at least this; chosen on validation or 0.5.
    """

    name: str
    facts: ModelFacts
    size: int
    threshold: float

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Batch (N, size, size, 3) float32 in [0, 1] to probabilities (N, size, size, 1) float32."""

    def run_with_attention(self, batch: NDArray[np.float32]) -> Outputs:
        """The same and the gates' coefficients.

        Raises:
            ModelError: The model has no gates, or its file does not carry them.
        """
