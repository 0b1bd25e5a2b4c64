"""An exported model, run by OpenVINO on the processor."""

from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import ModelError, missing_extra
from polypseg.predict.engines.checking import ATTENTION, PROBABILITY, Port, check_ports, refuse_external_weights
from polypseg.predict.engines.engine import Outputs
from polypseg.predict.engines.model_file import read_model_file
from polypseg.predict.engines.onnx_engine import carried_levels, first_line
from polypseg.predict.engines.openvino_graph import speed_up
from polypseg.records.paired_models import read_ir


class OpenVinoEngine:
    """Implements `Engine` for an `.onnx` file, or for an IR (`.xml` with its `.bin`)."""

    name = "openvino"

    def __init__(self, path: Path, threads: int | None = None, streams: int = 1) -> None:
        try:
            import openvino
        except ModuleNotFoundError as error:
            raise missing_extra("openvino", "openvino") from error
        settings: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if streams > 1:
            settings |= {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": streams}
            threads = streams
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
            settings["ENABLE_CPU_PINNING"] = False  # else engines side by side are all pinned to the same first cores
        if path.suffix.lower() == ".xml":
            self.facts = read_ir(path)
        else:
            content, self.facts = read_model_file(path)
            refuse_external_weights(content, str(path))
        try:
            core = openvino.Core()
            read = core.read_model(path)
            check_ports(_ports(read.inputs), _ports(read.outputs), self.facts.attention_levels, str(path))
            speed_up(read)
            self._compiled = core.compile_model(read, "CPU", settings)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"{path}: OpenVINO cannot open it ({first_line(error)}); is it damaged? Export or copy it again"
            ) from error
        self._idle: SimpleQueue[Any] = SimpleQueue()  # a request answers one thread at a time
        for _ in range(streams):
            self._idle.put(self._compiled.create_infer_request())
        self.size, self.threshold = self.facts.size, self.facts.threshold

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `Engine.run`."""
        return np.asarray(self._run(batch)[PROBABILITY], np.float32)

    def run_with_attention(self, batch: NDArray[np.float32]) -> Outputs:
        """As `Engine.run_with_attention`."""
        levels = carried_levels(self.facts)
        found = self._run(batch)
        attention = {level: np.asarray(found[f"{ATTENTION}{level}"], np.float32)[..., 0] for level in levels}
        return Outputs(np.asarray(found[PROBABILITY], np.float32), attention)

    def _run(self, batch: NDArray[np.float32]) -> Any:
        request = self._idle.get()
        try:
            return request.infer([batch], share_inputs=True)
        finally:
            self._idle.put(request)


def _ports(found: list[Any]) -> list[Port]:
    """Inputs or outputs of a graph."""
    ports = []
    for each in found:
        shape = each.partial_shape
        last = shape[len(shape) - 1] if shape.rank.is_static and len(shape) else None
        length = last.get_length() if last is not None and last.is_static else None
        name = each.any_name if each.names else ""
        ports.append(Port(name, each.element_type.get_type_name(), length))
    return ports
