"""The one way in which a file is written: whole, or not at all.

Decisions:
- A temporary file beside the target is written, flushed to the disk and renamed: a kill or a power failure at any
  moment leaves the old file or the new one. What fails removes the temporary file.
- The temporary file is hidden and keeps the target's ending, which some writers choose their format by. Its name is
  fixed, so that the next write replaces what a killed process left.
- What is written bit by bit and must outlive a kill (a video, scores) has a name of its own choice, and is renamed by
  `put_in_place`.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it takes the place of `path` when the block ends, and is removed if it fails.

    Args:
        path: The file to replace; its folder exists.

    For example:

        with replacing(Path("curves.npz")) as temporary:
            np.savez(temporary, dice=dice)
    """
    temporary = temporary_of(path)
    try:
        yield temporary
        put_in_place(temporary, path)
    except BaseException:
        with suppress(OSError):  # the first failure is what is told
            temporary.unlink(missing_ok=True)
        raise


def temporary_of(path: Path) -> Path:
    """Where a file lies while it is written, and where a killed process leaves it.

    >>> temporary_of(Path("checkpoints/best.keras")).as_posix()
    'checkpoints/.best.part.keras'
    """
    return path.with_name(f".{path.stem}.part{path.suffix}")


def put_in_place(temporary: Path, path: Path) -> None:
    """Flush a file to the disk and rename it; what `path` named before is replaced."""
    with temporary.open("rb+") as written:
        os.fsync(written.fileno())
    temporary.replace(path)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically; its folder exists."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8, with its line ends as they are; its folder exists."""
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def building(folder: Path, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder to fill; it gets the name `folder` when the block ends, and is removed if it fails.

    Args:
        folder: The folder to make; the one that holds it exists. Its hidden name is made for this call alone: processes
            of several machines may build the same folder.
        overwrite: Whether a folder of that name is replaced; else it stays, and what was built is removed.
    """
    temporary = folder.with_name(f".{folder.name}.{uuid4().hex}.part")
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with file.open("rb+") as written:
                    os.fsync(written.fileno())
        if overwrite:
            remove_folder(folder)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
        _flush_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_folder(folder: Path) -> bool:
    """Remove a folder, of which nobody ever sees a part; whether there was one."""
    hidden = folder.with_name(f".{folder.name}.{uuid4().hex}.part")
    try:
        folder.rename(hidden)
    except FileNotFoundError:
        return False
    shutil.rmtree(hidden, ignore_errors=True)
    return True


def _flush_folder(folder: Path) -> None:
    """Bring the names of a folder to the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
