"""Further targets: OpenVINO's own format and LiteRT (TensorFlow Lite), for devices that want them.

polypseg itself runs ONNX files; what is written here is opened once by its own runtime, to be proved.

Decisions:
- OpenVINO IR (`.xml` with its `.bin`) is made of the exported ONNX file, in any precision; the facts are its `rt_info`.
- LiteRT (`.tflite`) is made of the Keras model, with the probability as its only output; int8 is
  calibrated with the same images and keeps float input and output. The facts stand beside it, in NAME.json.
"""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Image
from polypseg.errors import ModelError, UsageError, missing_extra
from polypseg.predict.engines.engine import Outputs
from polypseg.predict.engines.onnx_engine import PROBABILITY
from polypseg.preprocess import normalise
from polypseg.records.atomic import replacing, write_bytes
from polypseg.records.model_facts import ModelFacts, to_metadata

TARGETS = {".onnx": "ONNX", ".xml": "OpenVINO IR", ".tflite": "LiteRT"}
"""What an export may be, by the ending of its file."""


def target_of(out: Path) -> str:
    """The ending that says what is written.

    Raises:
        UsageError: Not one that is known.
    """
    ending = out.suffix.lower()
    if ending not in TARGETS:
        known = ", ".join(f"{known} ({title})" for known, title in TARGETS.items())
        raise UsageError(f"-o {out}: expected a file that ends in one of: {known}")
    return ending


def check_installed(target: str) -> None:
    """Nothing, where all that an export needs is installed.

    Args:
        target: A key of `TARGETS`.

    Raises:
        MissingExtraError: Something is not; the message says how to install it.
    """
    needed = {"keras": "export", "tensorflow": "export", "onnx": "export", "tf2onnx": "export"}
    if target == ".xml":
        needed["openvino"] = "openvino"
    for package, extra in needed.items():
        if find_spec(package) is None:
            raise missing_extra(package, extra)


class OpenVinoModel:
    """Runs an OpenVINO model; implements the part of `Engine` that a proof needs."""

    name = "openvino"

    def __init__(self, model: Any, facts: ModelFacts) -> None:
        import openvino

        self._compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self.facts, self.size, self.threshold = facts, facts.size, facts.threshold

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `Engine.run`."""
        return np.asarray(self._compiled(batch)[PROBABILITY], np.float32)

    def run_with_attention(self, batch: NDArray[np.float32]) -> Outputs:
        """As `Engine.run_with_attention`; only the probabilities."""
        return Outputs(self.run(batch), {})


class LiteRtModel:
    """Runs a LiteRT model, image by image; implements the part of `Engine` that a proof needs."""

    name = "litert"

    def __init__(self, content: bytes, facts: ModelFacts) -> None:
        self._interpreter = _interpreter(content)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self.facts, self.size, self.threshold = facts, facts.size, facts.threshold

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `Engine.run`."""
        found = []
        for image in batch:
            self._interpreter.set_tensor(self._input, image[None])
            self._interpreter.invoke()
            found.append(self._interpreter.get_tensor(self._output).astype(np.float32))
        return np.concatenate(found)

    def run_with_attention(self, batch: NDArray[np.float32]) -> Outputs:
        """As `Engine.run_with_attention`; only the probabilities."""
        return Outputs(self.run(batch), {})


def to_openvino(onnx_path: Path) -> Any:
    """The `openvino.Model` of an ONNX file."""
    import openvino

    return openvino.Core().read_model(onnx_path)


def write_openvino(model: Any, facts: ModelFacts, out: Path) -> None:
    """Write `.xml` and `.bin`, the weights first, each in one step."""
    import openvino

    for key, value in to_metadata(facts).items():
        model.set_rt_info(value, key.split("."))
    with replacing(out) as part, replacing(out.with_suffix(".bin")):  # OpenVINO names the second after the first
        openvino.save_model(model, part, compress_to_fp16=False)


def to_litert(model: Any, precision: str, squares: Sequence[Image]) -> bytes:
    """The LiteRT file of a Keras model.

    Args:
        model: The Keras model.
        precision: `fp32`, `fp16` (weights in half precision) or `int8`.
        squares: Calibration images for int8, each (size, size, 3) uint8.

    Raises:
        ModelError: The model cannot be converted.
    """
    import tensorflow as tf

    with TemporaryDirectory() as folder:
        try:
            model.export(folder, format="tf_saved_model", verbose=False)
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            if precision != "fp32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if precision == "fp16":
                converter.target_spec.supported_types = [tf.float16]
            if precision == "int8":
                converter.representative_dataset = lambda: ([normalise(square[None])] for square in squares)
            return bytes(converter.convert())
        except Exception as error:  # the converter raises whatever comes
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"the model {model.name!r} cannot be converted to LiteRT: {reason}") from error


def write_litert(content: bytes, facts: ModelFacts, out: Path) -> None:
    """Write the file, and its facts beside it as JSON, each in one step."""
    text = json.dumps(facts.model_dump(mode="json", by_alias=True), indent=1).encode()
    write_bytes(out.with_suffix(".json"), text)
    write_bytes(out, content)


def _interpreter(content: bytes) -> Any:
    """LiteRT's own interpreter where it is installed, else TensorFlow's."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        import warnings

        import tensorflow as tf

        with warnings.catch_warnings():  # TensorFlow says that LiteRT is to replace it one day
            warnings.simplefilter("ignore")
            return tf.lite.Interpreter(model_content=content)
    return Interpreter(model_content=content)
