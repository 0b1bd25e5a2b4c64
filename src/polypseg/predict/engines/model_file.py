"""The bytes of an exported model: the graph, its facts, and a digest of both that ends the file (records/sealing.py).

An ONNX file is a protocol buffer, in which fields may stand in any order and repeated ones anywhere. The facts are
therefore written behind the graph as entries of `metadata_props`, and last of all the digest. A damaged file is found
by hashing it once, without a library and before a runtime sees it.
"""

from pathlib import Path
from typing import NamedTuple

from polypseg.errors import ModelError
from polypseg.records.atomic import write_bytes
from polypseg.records.model_facts import PREFIX, RECALIBRATION_KEY, ModelFacts, to_metadata
from polypseg.records.onnx_metadata import MODEL, metadata_entry, read_facts
from polypseg.records.reading import check_regular
from polypseg.records.sealing import DIGEST_KEY as DIGEST_KEY
from polypseg.records.sealing import is_intact, sealed, with_stored
from polypseg.records.sealing import is_sealed as is_sealed


class OpenedModel(NamedTuple):
    """An exported model in memory.

    Attributes:
        path: Of the file that it comes from, for messages.
        content: The bytes of the graph, of that file or made of it.
        facts: What the file says of itself.
    """

    path: Path
    content: bytes
    facts: ModelFacts


def seal(graph: bytes, facts: ModelFacts) -> bytes:
    """The file of a graph and its facts.

    Args:
        graph: A serialised `onnx.ModelProto` without metadata.
        facts: What the file is to say of itself.
    """
    texts = to_metadata(facts)
    recalibration = texts.pop(PREFIX + RECALIBRATION_KEY, None)
    content = sealed(graph + b"".join(metadata_entry(key, value) for key, value in texts.items()))
    if recalibration is None:
        return content
    return with_stored(content, {PREFIX + RECALIBRATION_KEY: recalibration})


def write_model_file(path: Path, graph: bytes, facts: ModelFacts) -> None:
    """Write the file of a graph and its facts in one step; arguments as `seal`."""
    write_bytes(path, seal(graph, facts))


def read_model_file(path: Path) -> tuple[bytes, ModelFacts]:
    """The bytes of an exported model and its facts, after its digest was checked.

    Raises:
        ModelError: It cannot be read, is no ONNX file, is damaged, or is none of ours (the message says which of the
            metadata are missing).
    """
    try:
        check_regular(path, MODEL)
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot read the model: {error.strerror}") from error
    if not content:
        raise ModelError(f"{path}: the file is empty (0 bytes); expected an exported model: copy it again")
    if is_sealed(content) and not is_intact(content):
        raise ModelError(
            f"{path}: damaged or changed after it was exported: its content does not fit its {DIGEST_KEY}; copy it "
            "again, or export it again"
        )
    facts = read_facts(path)
    if not is_sealed(content):
        raise ModelError(
            f"{path}: does not end with its {DIGEST_KEY}: its end is damaged, or another program wrote it again; copy "
            "it again, or export it again"
        )
    return content, facts
