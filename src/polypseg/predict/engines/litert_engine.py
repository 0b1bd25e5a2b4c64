"""A LiteRT file, run on the processor: as a check of what goes to a phone, for it takes one image at a time."""

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import ModelError, missing_extra
from polypseg.predict.engines.engine import Outputs
from polypseg.predict.engines.onnx_engine import first_line
from polypseg.records.paired_models import read_litert


class LiteRtEngine:
    """Implements `Engine` for a `.tflite` file with its `.json`."""

    name = "litert"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        content, self.facts = read_litert(path)
        try:
            self._interpreter = _interpreter(content, threads)
            self._interpreter.allocate_tensors()
            self._input = self._interpreter.get_input_details()[0]["index"]
            self._output = self._interpreter.get_output_details()[0]["index"]
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"{path}: LiteRT cannot open it ({first_line(error)}); is it damaged? Export or copy it again"
            ) from error
        self._one_at_a_time = Lock()
        self.size, self.threshold = self.facts.size, self.facts.threshold

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `Engine.run`."""
        found = []
        with self._one_at_a_time:
            for image in batch:
                self._interpreter.set_tensor(self._input, image[None])
                self._interpreter.invoke()
                found.append(self._interpreter.get_tensor(self._output).astype(np.float32))
        return np.concatenate(found)

    def run_with_attention(self, batch: NDArray[np.float32]) -> Outputs:
        """As `Engine.run_with_attention`.

        Raises:
            ModelError: Always: a LiteRT file carries no attention.
        """
        raise ModelError("a LiteRT file carries no attention; take the run folder, or export it to .onnx")


def _interpreter(content: bytes, threads: int | None) -> Any:
    """LiteRT's own interpreter where it is installed, else TensorFlow's."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        import warnings

        try:
            import tensorflow as tf
        except ModuleNotFoundError as error:
            raise missing_extra("tensorflow", "train") from error
        with warnings.catch_warnings():  # TensorFlow says that LiteRT is to replace it one day
            warnings.simplefilter("ignore")
            return tf.lite.Interpreter(model_content=content, num_threads=threads)
    return Interpreter(model_content=content, num_threads=threads)
