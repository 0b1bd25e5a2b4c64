"""Exported models that are two files: an OpenVINO IR (`.xml` and `.bin`) and LiteRT (`.tflite` and `.json`).

Decisions:
- The facts stand in the file that is text: the IR's `rt_info`, or the JSON. The same file holds a digest, so that a
  damaged file, or one of another export, is found before a runtime sees it (as `sealing` does for one file).
- The digest of an IR is a comment behind its XML, over every byte before it and the weights; that of LiteRT is an entry
  of the JSON, over the model and all other entries.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from polypseg.errors import ModelError
from polypseg.records.atomic import write_bytes
from polypseg.records.model_facts import PREFIX, ModelFacts, from_metadata, to_metadata
from polypseg.records.onnx_metadata import MODEL, read_facts
from polypseg.records.reading import parse_json, read_bytes
from polypseg.records.sealing import DIGEST_KEY

BESIDE = {".xml": ".bin", ".tflite": ".json"}
"""The ending of the second file, by that of the first."""


def second_file(path: Path) -> Path:
    """The file that belongs to a model of two files."""
    return path.with_suffix(BESIDE[path.suffix.lower()])


def seal_ir(text_file: Path, weights_file: Path) -> None:
    """Write the digest of an IR behind its XML; nobody reads the files yet."""
    comment = _comment(text_file.read_bytes(), weights_file.read_bytes())
    with text_file.open("ab") as opened:
        opened.write(comment)


def read_ir(path: Path) -> ModelFacts:
    """The facts of an IR, after its digest was checked.

    Raises:
        ModelError: One of its files is missing or damaged, or it is none of ours.
    """
    text, weights = _read(path)
    end = text.rfind(b"<!--")
    if text[end:] != _comment(text[:end], weights):
        if DIGEST_KEY.encode() not in text[end:]:
            raise ModelError(
                f"{path}: not an OpenVINO IR that polypseg exported; make one: polypseg export RUN -o model.xml"
            )
        raise ModelError(_damaged(path))
    found = ElementTree.fromstring(text).find(f"rt_info/{PREFIX.rstrip('.')}")  # nothing is read that was not sealed
    entries = [] if found is None else list(found)
    return from_metadata({PREFIX + entry.tag: entry.get("value", "") for entry in entries}, str(path))


def ir_entries(facts: ModelFacts) -> dict[tuple[str, ...], str]:
    """The text of each fact by its place in `rt_info`."""
    return {tuple(key.split(".")): text for key, text in to_metadata(facts).items()}


def write_litert(content: bytes, facts: ModelFacts, path: Path) -> None:
    """Write a LiteRT file, and its facts beside it as JSON, each in one step."""
    values: dict[str, object] = facts.model_dump(mode="json", by_alias=True)
    text = json.dumps({**values, _DIGEST: _litert_digest(content, values)}, indent=1)
    write_bytes(second_file(path), text.encode())
    write_bytes(path, content)


def read_litert(path: Path) -> tuple[bytes, ModelFacts]:
    """The bytes of a LiteRT file and its facts, after its digest was checked; errors as `read_ir`."""
    content, text = _read(path)
    values = parse_json(text, dict[str, object], second_file(path), MODEL)
    if _DIGEST not in values:
        raise ModelError(f"{path}: not a LiteRT file that polypseg exported: polypseg export RUN -o model.tflite")
    if values.pop(_DIGEST) != _litert_digest(content, values):
        raise ModelError(_damaged(path))
    return content, ModelFacts.model_validate(values)


def exported_facts(path: Path) -> ModelFacts:
    """What an exported model of any ending says of itself; errors as `read_ir`."""
    if path.suffix.lower() == ".xml":
        return read_ir(path)
    return read_litert(path)[1] if path.suffix.lower() == ".tflite" else read_facts(path)


_DIGEST = "digest"


def _litert_digest(content: bytes, values: Mapping[str, object]) -> str:
    """SHA-256 of a file and of what is said of it, in hex."""
    return hashlib.sha256(content + json.dumps(values, indent=1).encode()).hexdigest()


def _comment(text: bytes, weights: bytes) -> bytes:
    digest = hashlib.sha256(text)
    digest.update(weights)
    return f"<!-- {DIGEST_KEY} {digest.hexdigest()} -->\n".encode()


def _read(path: Path) -> tuple[bytes, bytes]:
    second = second_file(path)
    if path.is_file() and not second.is_file():
        raise ModelError(f"{path}: its second file is missing; expected {second.name} beside it: copy both")
    return read_bytes(path, MODEL), read_bytes(second, MODEL)


def _damaged(path: Path) -> str:
    return (
        f"{path}: it or {second_file(path).name} is damaged, or was changed after the export; copy both again, or "
        "export the model again"
    )
