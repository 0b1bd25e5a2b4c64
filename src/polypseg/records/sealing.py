"""The end of an exported model: a digest of all bytes before it, and what was stored in the file after its export.

    graph │ facts │ what is stored later │ polypseg.digest

Decisions:
- The last entry of the metadata is SHA-256 of every byte before it: whatever was cut off, flipped or edited is found.
- What is stored later (`STORED`) says something of the model and does not change it. It stands right before the digest,
  so that to take it out gives back the file as it was exported, byte by byte; the model's digest (`model_digest`) is
  that of this file.
"""

import hashlib
from collections.abc import Mapping

from polypseg.records.model_facts import CALIBRATION_KEY, PREFIX, RECALIBRATION_KEY
from polypseg.records.onnx_metadata import entries_of, metadata_entry

DIGEST_KEY = f"{PREFIX}digest"
STORED = (f"{PREFIX}{RECALIBRATION_KEY}", f"{PREFIX}{CALIBRATION_KEY}")
"""Keys of what is stored after the export."""


def sealed(content: bytes) -> bytes:
    """The bytes of a file, their digest behind them."""
    return content + _digest_entry(content)


def is_sealed(content: bytes) -> bool:
    """Whether the bytes of a file end with a digest, fitting or not."""
    return content[-_LENGTH:-_DIGEST_LENGTH] == _digest_entry(b"")[:-_DIGEST_LENGTH]


def is_intact(content: bytes) -> bool:
    """Whether the digest at the end fits the bytes before it."""
    return content[-_LENGTH:] == _digest_entry(content[:-_LENGTH])


def with_stored(content: bytes, values: Mapping[str, str | None]) -> bytes:
    """A sealed file in which texts are stored, by the keys of `STORED`; None takes one out.

    >>> file = sealed(b"")
    >>> changed = with_stored(file, {STORED[0]: "{}"})
    >>> changed == file, with_stored(changed, {STORED[0]: None}) == file, model_digest(changed) == model_digest(file)
    (False, True, True)
    """
    entries = [entry for entry in entries_of(content) if entry.key in STORED]
    texts = {entry.key: entry.value for entry in entries} | dict(values)
    kept, place = b"", 0
    for entry in entries:
        kept, place = kept + content[place : entry.begin], entry.end
    kept += content[place:-_LENGTH]
    added = (metadata_entry(key, text) for key in STORED if (text := texts.get(key)) is not None)
    return sealed(kept + b"".join(added))


def model_digest(content: bytes) -> str:
    """SHA-256 of an exported file without what was stored in it later."""
    if is_sealed(content) and any(key.encode() in content for key in STORED):
        content = with_stored(content, dict.fromkeys(STORED))
    return hashlib.sha256(content).hexdigest()


def _digest_entry(content: bytes) -> bytes:
    return metadata_entry(DIGEST_KEY, hashlib.sha256(content).hexdigest())


_DIGEST_LENGTH = 64
_LENGTH = len(_digest_entry(b""))
