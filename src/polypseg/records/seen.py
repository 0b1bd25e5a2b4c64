"""Which images a model has seen, as a model file carries it: five bytes of each image's digest.

Decisions:
- Five bytes of SHA-256 recognise an image's file, and tell nothing of it. That one of 1,000 other files is taken for
  one of 4,000 seen has a chance of 4 in a million.
- Images that chose the checkpoint count as seen, as those that were trained on do.
"""

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from polypseg.records.split import Split

NUM_BYTES = 5
SEEN = ("train", "validation")


@dataclass(frozen=True)
class SeenImages:
    """A set of image files by the beginnings of their digests.

    Attributes:
        prefixes: The first `NUM_BYTES` bytes of each SHA-256.
    """

    prefixes: frozenset[bytes]

    def __len__(self) -> int:
        return len(self.prefixes)

    def __contains__(self, digest: object) -> bool:
        """Whether the file of that digest (SHA-256 in hex) is one of them."""
        return isinstance(digest, str) and bytes.fromhex(digest[: 2 * NUM_BYTES]) in self.prefixes

    def pack(self) -> str:
        """As a text: base64 of the sorted beginnings, one after another; empty for none."""
        return base64.b64encode(b"".join(sorted(self.prefixes))).decode("ascii")


def seen_of(digests: Iterable[str]) -> SeenImages:
    """The images of those digests (SHA-256 in hex).

    >>> "00ff00ff00" + 54 * "a" in seen_of(["00ff00ff00" + 54 * "0"])
    True
    """
    return SeenImages(frozenset(bytes.fromhex(digest[: 2 * NUM_BYTES]) for digest in digests))


def seen_of_split(split: Split, sides: Sequence[str] = SEEN) -> SeenImages:
    """The images of some sides of a split: by default all but those that a run is tested on."""
    return seen_of(entry.image_digest for entry in split.entries.values() if entry.split in sides)


def unpack(text: str) -> SeenImages:
    """The images of a packed text; none for a damaged one, which then warns of nothing.

    >>> len(unpack(seen_of(["ab" * 32, "cd" * 32]).pack()))
    2
    """
    try:
        content = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return SeenImages(frozenset())
    starts = range(0, len(content) // NUM_BYTES * NUM_BYTES, NUM_BYTES)
    return SeenImages(frozenset(content[start : start + NUM_BYTES] for start in starts))
