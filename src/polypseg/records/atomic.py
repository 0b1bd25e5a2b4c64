"""The one way in which a file is written: whole, or not at all.

Decisions:
- A temporary file beside the target is written, flushed to the disk and renamed: a kill or a power failure at any
  moment leaves the old file or the new one. What fails removes the temporary file.
- The temporary file is hidden and keeps the target's ending, which some writers choose their format by.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it takes the place of `path` when the block ends, and is removed if it fails.

    Args:
        path: The file to replace; its folder exists.

    For example:

        with replacing(Path("curves.npz")) as temporary:
            np.savez(temporary, dice=dice)
    """
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8, with its line ends as they are."""
    write_bytes(path, text.encode("utf-8"))
