"""The metadata of an ONNX file, read from its bytes: no runtime starts, and the weights are passed over.

An ONNX file is a protocol buffer: fields one after another, each a key (number and kind), then a number, or a length
and so many bytes. `ModelProto.metadata_props` is field 14, a message of two texts, key and value.
"""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from polypseg.errors import ModelError
from polypseg.records.model_facts import ModelFacts, from_metadata
from polypseg.records.reading import FileKind, check_regular

MODEL = FileKind("model", ModelError, "expected an .onnx or a .keras file")

METADATA_FIELD = 14
LARGEST_ENTRY = 1 << 24
"""Bytes of a longer entry are no text of ours."""


class MetadataEntry(NamedTuple):
    """One entry of the metadata.

    Attributes:
        key: As `polypseg.size`.
        value: Text.
        begin: Place of its first byte in the file.
        end: Place after its last.
    """

    key: str
    value: str
    begin: int
    end: int


_NUMBER, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


def read_facts(path: Path) -> ModelFacts:
    """What an exported model says of itself.

    Raises:
        ModelError: It cannot be read, is damaged, or polypseg did not export it.
    """
    return from_metadata(read_metadata(path), str(path))


def read_metadata(path: Path) -> dict[str, str]:
    """Value by key.

    Raises:
        ModelError: It cannot be read, or is no ONNX file.
    """
    try:
        size = check_regular(path, MODEL)
        with path.open("rb") as opened:
            found = _metadata(opened, size)
    except OSError as error:
        raise ModelError(f"{path}: cannot read the model: {error.strerror}") from error
    except (EOFError, ValueError) as error:
        raise ModelError(f"{path}: not an ONNX file, or damaged ({error}); copy or export it again") from error
    return found


def entries_of(content: bytes) -> list[MetadataEntry]:
    """The entries of the metadata of a file's bytes, in their order.

    Raises:
        EOFError: They are cut short.
        ValueError: They are no ONNX file.
    """
    return list(_entries(BytesIO(content), len(content)))


def metadata_entry(key: str, value: str) -> bytes:
    """The bytes of one entry: a field that holds a message of two texts."""
    texts = _bytes_field(1, key.encode()) + _bytes_field(2, value.encode())
    return _bytes_field(METADATA_FIELD, texts)


def _metadata(opened: BinaryIO, size: int) -> dict[str, str]:
    if size == 0:
        raise EOFError("it is empty")
    return {entry.key: entry.value for entry in _entries(opened, size)}


def _entries(opened: BinaryIO, size: int) -> Iterator[MetadataEntry]:
    while (begin := opened.tell()) < size:
        key = _number(opened)
        number, kind = key >> 3, key & 7
        length = _length(opened, kind)
        if opened.tell() + length > size:
            raise EOFError("it is cut short")
        if number == METADATA_FIELD and kind == _BYTES and length <= LARGEST_ENTRY:
            name, value = _entry(opened, opened.tell() + length)
            yield MetadataEntry(name, value, begin, opened.tell())
        else:
            opened.seek(length, 1)


def _bytes_field(number: int, content: bytes) -> bytes:
    """A field whose content has a length (kind 2)."""
    return _varint((number << 3) | _BYTES) + _varint(len(content)) + content


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


def _length(opened: BinaryIO, kind: int) -> int:
    """How many bytes a field of that kind goes on after its key (and its length)."""
    if kind == _BYTES:
        return _number(opened)
    if kind == _NUMBER:
        _number(opened)
        return 0
    lengths = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}
    if kind not in lengths:
        raise ValueError(f"a field of kind {kind}")
    return lengths[kind]


def _entry(opened: BinaryIO, end: int) -> tuple[str, str]:
    """Key and value of the message that ends at `end`."""
    texts = {1: "", 2: ""}
    while opened.tell() < end:
        key = _number(opened)
        length = _length(opened, key & 7)
        content = opened.read(length)
        if opened.tell() > end or len(content) < length:
            raise EOFError("an entry is cut short")
        texts[key >> 3] = content.decode("utf-8")
    return texts[1], texts[2]


def _number(opened: BinaryIO) -> int:
    """A whole number in groups of seven bits, the lowest first."""
    value = 0
    for shift in range(0, 70, 7):
        byte = opened.read(1)
        if not byte:
            raise EOFError("it is cut short")
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError("a number is too long")
