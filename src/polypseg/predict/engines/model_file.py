"""The bytes of an exported model: the graph, its facts, and a digest of both that ends the file.

An ONNX file is a protocol buffer, in which fields may stand in any order and repeated ones anywhere. The facts are
therefore written behind the graph as entries of `metadata_props`, and last of all an entry `polypseg.digest`: SHA-256
of every byte before it. Whatever was cut off, flipped or edited is found by hashing the file once, without a
library and before a runtime sees it.
"""

import hashlib
from pathlib import Path

from polypseg.errors import ModelError
from polypseg.records.atomic import write_bytes
from polypseg.records.model_facts import PREFIX, ModelFacts, to_metadata
from polypseg.records.onnx_metadata import METADATA_FIELD, MODEL, read_facts
from polypseg.records.reading import check_regular

DIGEST_KEY = f"{PREFIX}digest"


def seal(graph: bytes, facts: ModelFacts) -> bytes:
    """The file of a graph and its facts.

    Args:
        graph: A serialised `onnx.ModelProto` without metadata.
        facts: What the file is to say of itself.
    """
    content = graph + b"".join(_entry(key, value) for key, value in to_metadata(facts).items())
    return content + _digest_entry(content)


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
    if is_sealed(content) and content[-_LENGTH:] != _digest_entry(content[:-_LENGTH]):
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


def is_sealed(content: bytes) -> bool:
    """Whether the bytes of a file end with a digest, fitting or not."""
    return content[-_LENGTH:-_DIGEST_LENGTH] == _digest_entry(b"")[:-_DIGEST_LENGTH]


def _digest_entry(content: bytes) -> bytes:
    return _entry(DIGEST_KEY, hashlib.sha256(content).hexdigest())


def _entry(key: str, value: str) -> bytes:
    """One entry of `metadata_props`: a message of two texts."""
    texts = _field(1, key.encode()) + _field(2, value.encode())
    return _field(METADATA_FIELD, texts)


def _field(number: int, content: bytes) -> bytes:
    """A field whose content has a length (kind 2)."""
    return _varint((number << 3) | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """A whole number in groups of seven bits, the lowest first.

    >>> _varint(300).hex()
    'ac02'
    """
    groups = []
    while number > 127:
        groups.append((number & 127) | 128)
        number >>= 7
    return bytes([*groups, number])


_DIGEST_LENGTH = 64
_LENGTH = len(_digest_entry(b""))
