"""Further targets: OpenVINO's own format and LiteRT (TensorFlow Lite), for devices that want them.

What is written is proved as an ONNX file is: opened by the engine that users run (`predict/engines`).

Decisions:
- OpenVINO IR (`.xml` with its `.bin`) is made of the exported ONNX file, in any precision; the facts are its `rt_info`.
- LiteRT (`.tflite`) is made of the Keras model, with the probability as its only output; int8 is
  calibrated with the same images and keeps float input and output. The facts stand beside it, in NAME.json.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from polypseg.arrays import Image
from polypseg.errors import ModelError, UsageError, missing_extra
from polypseg.preprocess import normalise
from polypseg.records.atomic import replacing
from polypseg.records.model_facts import ModelFacts
from polypseg.records.paired_models import ir_entries, seal_ir, second_file

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


def check_installed(target: str, is_exported: bool = False) -> None:
    """Nothing, where all that an export needs is installed.

    Args:
        target: A key of `TARGETS`.
        is_exported: The source is an exported file, which needs no Keras to be written in another precision.

    Raises:
        MissingExtraError: Something is not; the message says how to install it.
    """
    packages = ("scipy",) if is_exported else ("keras", "tensorflow", "tf2onnx")
    needed = dict.fromkeys(packages, "export")
    if target == ".xml":
        needed["openvino"] = "openvino"
    for package, extra in needed.items():
        if find_spec(package) is None:
            raise missing_extra(package, extra)


def to_openvino(onnx_path: Path) -> Any:
    """The `openvino.Model` of an ONNX file."""
    import openvino

    return openvino.Core().read_model(onnx_path)


def write_openvino(model: Any, facts: ModelFacts, out: Path) -> None:
    """Write `.xml` and `.bin`, the weights first, each in one step."""
    import openvino

    for place, text in ir_entries(facts).items():
        model.set_rt_info(text, list(place))
    with replacing(out) as part, replacing(second_file(out)) as weights:  # OpenVINO names the second after the first
        openvino.save_model(model, part, compress_to_fp16=False)
        seal_ir(part, weights)


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
