"""An exported model, run by ONNX Runtime on the processor."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import ModelError
from polypseg.predict.engines.checking import ATTENTION, IMAGE, PROBABILITY, Port, check_ports, refuse_external_weights
from polypseg.predict.engines.engine import Outputs
from polypseg.predict.engines.model_file import OpenedModel, read_model_file
from polypseg.records.model_facts import ModelFacts


class OnnxEngine:
    """Implements `Engine` for an `.onnx` file, or for one in memory.

    Args:
        model: The file, or what was read of it.
        threads: Processor cores to use at most; None leaves it to the runtime.
        streams: As of `open_engine`.
        spins: Whether its threads keep a core busy for a while when they have nothing to do, so that the next image
            begins at once; not beside another engine, which they would slow.
    """

    name = "onnxruntime"

    def __init__(
        self, model: Path | OpenedModel, threads: int | None = None, streams: int = 1, spins: bool = True
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if streams > 1:
            threads = 1  # of each caller: they run side by side
        if threads is not None:
            options.intra_op_num_threads = threads
        if not spins:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        opened = model if isinstance(model, OpenedModel) else OpenedModel(model, *read_model_file(model))
        path, content, self.facts = opened
        refuse_external_weights(content, str(path))
        try:
            self._session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own exceptions share no class
            raise ModelError(
                f"{path}: ONNX Runtime cannot open it ({first_line(error)}); is it damaged? Export it again, or copy "
                "it again"
            ) from error
        inputs, outputs = map(_ports, (self._session.get_inputs(), self._session.get_outputs()))
        check_ports(inputs, outputs, self.facts.attention_levels, str(path))
        self.size, self.threshold = self.facts.size, self.facts.threshold

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `Engine.run`."""
        return np.asarray(self._session.run([PROBABILITY], {IMAGE: batch})[0], np.float32)

    def run_with_attention(self, batch: NDArray[np.float32]) -> Outputs:
        """As `Engine.run_with_attention`."""
        levels = carried_levels(self.facts)
        wanted = [PROBABILITY, *(f"{ATTENTION}{level}" for level in levels)]
        probabilities, *maps = self._session.run(wanted, {IMAGE: batch})
        attention = {level: np.asarray(found, np.float32)[..., 0] for level, found in zip(levels, maps, strict=True)}
        return Outputs(np.asarray(probabilities, np.float32), attention)


def _ports(found: list[Any]) -> list[Port]:
    """Inputs or outputs of a session."""
    return [Port(each.name, each.type, _length(each.shape[-1]) if each.shape else 0) for each in found]


def _length(axis: object) -> int | None:
    return axis if isinstance(axis, int) else None


def carried_levels(facts: ModelFacts) -> tuple[int, ...]:
    """The levels of the gates whose coefficients a file gives.

    Raises:
        ModelError: It gives none.
    """
    if not facts.attention_levels:
        raise ModelError(
            f"the model {facts.name!r} gives no attention: it has no gates, or was exported without their coefficients"
        )
    return facts.attention_levels


def first_line(error: Exception) -> str:
    """The first line of what a runtime says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
