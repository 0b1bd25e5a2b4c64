"""Who is at work in a folder: one process at a time, and the second is told which is the first.

Decisions:
- The lock is the operating system's, on a small hidden file: it ends with its process, however that ends, so that what
  a killed run left behind locks nobody out. Linux passes it on over NFS. The file names its holder for whoever is
  refused, and is removed in the end.
- filelock was looked at: it does not name the holder, and leaves its file behind.
- Where a file system knows no locks, the process that the file names is looked for instead.
"""

import errno
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from polypseg.errors import BusyError

LOCK_NAME = ".polypseg.lock"

_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL)
_LARGEST = 1 << 12


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Nobody else works in this folder until the block ends.

    Args:
        folder: It exists.

    Raises:
        BusyError: Somebody does.
        OSError: The lock file cannot be written.
    """
    with _held(folder / LOCK_NAME, folder):
        yield


@contextmanager
def alone_at(path: Path, patience_seconds: float = 0.0) -> Iterator[None]:
    """Nobody else writes this file until the block ends; its folder exists.

    Args:
        path: The file; it need not be there.
        patience_seconds: For which to wait, where the other one is done in a moment.

    Raises:
        BusyError: Somebody does.
        OSError: The lock file cannot be written.
    """
    with _held(path.with_name(f".{path.name}.lock"), path, patience_seconds):
        yield


@contextmanager
def _held(lock: Path, place: Path, patience_seconds: float = 0.0) -> Iterator[None]:
    descriptor = _waited_for(lock, place, time.monotonic() + patience_seconds)
    try:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(_holder()).encode())
        yield
    finally:
        with suppress(OSError):  # while it is held: nobody else can hold this name
            lock.unlink()
        os.close(descriptor)


def _waited_for(lock: Path, place: Path, until: float) -> int:
    while True:
        try:
            return _taken(lock, place)
        except BusyError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.02)


def _taken(lock: Path, place: Path) -> int:
    """The lock file, open and held."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            is_ours = _try(descriptor, lock)
            if not is_ours:
                raise BusyError(
                    f"{place}: {_told(_patiently(lock))} is at work here; wait for it, or name another place"
                )
            with suppress(OSError):  # it was removed meanwhile, and perhaps made again, by the one before
                if os.path.samestat(os.fstat(descriptor), os.stat(lock)):  # noqa: PTH116
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _try(descriptor: int, lock: Path) -> bool:
    """Whether the lock could be taken."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, _LARGEST, os.SEEK_SET)  # beyond the words, which others must be able to read
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno in _NO_LOCKS:
            return not _lives(_read(lock))
        raise
    return True


def _holder() -> dict[str, str | int]:
    """What a lock file says of this process."""
    return {
        "pid": os.getpid(),
        "host": platform.node(),
        "begun": _begun(os.getpid()),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]]),
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _read(lock: Path) -> dict[str, str | int]:
    try:
        found = json.loads(lock.read_bytes()[:_LARGEST])
    except (OSError, ValueError, RecursionError):
        return {}  # it is just being written, or gone
    return found if isinstance(found, dict) else {}


def _patiently(lock: Path) -> dict[str, str | int]:
    """As `_read`, of a holder that may have taken the lock this moment and not yet said who it is."""
    for _ in range(20):
        if found := _read(lock):
            return found
        time.sleep(0.025)
    return {}


def _told(holder: dict[str, str | int]) -> str:
    """The words for a holder."""
    if not holder:
        return "another process"
    where = "" if holder.get("host") == platform.node() else f" on {holder.get('host')}"
    return f"process {holder.get('pid')}{where} ({holder.get('command')}, since {holder.get('since')})"


def _lives(holder: dict[str, str | int]) -> bool:
    """Whether the process of a lock file is still there; one of another machine is taken to be."""
    if not holder:
        return False
    if holder.get("host") != platform.node():
        return True
    try:
        pid = int(holder.get("pid", 0))
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, ValueError, TypeError):
        return False
    return pid != os.getpid() and _begun(pid) == holder.get("begun")


def _begun(pid: int) -> str:
    """When a process began, in the kernel's own ticks: a number that is given again is another process."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    return ""
