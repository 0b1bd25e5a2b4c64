"""An exported file as a source: exported again in another precision, without Keras and without its run.

Decisions:
- The reference is what the file computes in fp32 (in_float.py). Of an int8 file that is not the model that was trained,
  but it without the rounding of its values; the weights stay rounded.
- int8 of an int8 file that is right on every processor is the file itself. One that may saturate keeps its ranges, and
  its weights are rounded again, which needs images.
- Images are those that the model has seen: its own split, where the default settings make it of the folder, else those
  whose digests its file carries, of which every second one proves.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from polypseg.config import Config
from polypseg.data.catalogue import find_samples
from polypseg.data.splits import make_split
from polypseg.errors import DataError
from polypseg.export.source import ExportSource
from polypseg.predict.engines.checking import ATTENTION
from polypseg.predict.engines.model_file import OpenedModel, read_model_file, write_model_file
from polypseg.predict.engines.onnx_engine import OnnxEngine
from polypseg.predict.engines.second_look import model_in_float
from polypseg.records.digests import file_digests
from polypseg.records.model_facts import ModelFacts
from polypseg.records.seen import unpack


class ExportedFile(NamedTuple):
    """An exported file, opened to be exported again.

    Attributes:
        source: With the graph in fp32 as its engine.
        stored: The graph as the file has it, an `onnx.ModelProto` without metadata.
        plain: The same in fp32.
        facts: Of the file.
    """

    source: ExportSource
    stored: Any
    plain: Any
    facts: ModelFacts


def open_exported(path: Path, data: Path | None, attention: bool = True) -> ExportedFile:
    """A file that polypseg exported.

    Args:
        path: The `.onnx` file.
        data: A folder that holds the images that the model has seen; None without.
        attention: Whether the gates' coefficients are kept.

    Raises:
        ModelError: Not an exported model, or damaged.
        DataError: The folder holds none of the images that the model has seen.
    """
    import onnx

    content, facts = read_model_file(path)
    stored = onnx.load_from_string(content)
    del stored.metadata_props[:]
    if not attention:
        for output in [o for o in stored.graph.output if o.name.startswith(ATTENTION)]:
            stored.graph.output.remove(output)
        facts = facts.model_copy(update={"attention_levels": ()})
    opened = model_in_float(OpenedModel(path, stored.SerializeToString(), facts))
    plain = onnx.load_from_string(opened.content)
    source = ExportSource(OnnxEngine(opened), path, without="no folder of data was named (--data)")
    return ExportedFile(_with_images(source, facts, data) if data else source, stored, plain, facts)


def write_in_float(path: Path, out: Path) -> Path:
    """Write what an exported file computes as a file in fp32, unproved, and give its path."""
    opened = model_in_float(OpenedModel(path, *read_model_file(path)))
    write_model_file(out, opened.content, opened.facts)
    return out


def _with_images(source: ExportSource, facts: ModelFacts, data: Path) -> ExportSource:
    """The source with the images of a folder that the model has seen.

    Raises:
        DataError: There is none.
    """
    samples, _ = find_samples(data)
    split = make_split(samples, Config().split)
    if split.digest() == facts.split_digest:
        calibration, validation = (split.select(samples, name) for name in ("train", "validation"))
        return replace(source, data=data, calibration=calibration, validation=validation, without="")
    seen = unpack(facts.seen_images)
    digests = file_digests([sample.image_path for sample in samples])
    known = [sample for sample in samples if sample.mask_path and digests[sample.image_path] in seen]
    if not known:
        raise DataError(
            f"{data}: not the images that the model has seen, or they are not known; name the folder that it was "
            f"trained on ({facts.training_data or 'unknown'}), or export its run"
        )
    return replace(source, data=data, calibration=known[::2], validation=known[1::2], without="")
