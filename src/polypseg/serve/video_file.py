"""A video as it is received: written to a file, bounded, and refused where it does not begin like one.

FFmpeg opens play lists too, and those name other files of this machine; nothing that begins like one gets to it.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from polypseg.errors import RequestError
from polypseg.serve.uploads import too_large

BYTES_A_LOOK = 8_000_000
"""After so many bytes it is looked whether there still is room."""


class FileSink:
    """Writes one video into a file, bounded; the operating system takes it from there.

    Args:
        path: Of the file; it must not exist.
        max_bytes: Of the video.
        check_room: Raises where all videos together take too much.
    """

    def __init__(self, path: Path, max_bytes: int, check_room: Callable[[], None] = lambda: None) -> None:
        self._max_bytes, self._num_bytes, self._begin = max_bytes, 0, b""
        self._check_room, self._next_look = check_room, 0
        try:
            self._file: Any = path.open("xb", buffering=1 << 20)
        except OSError as error:
            raise no_room() from error

    def write(self, data: bytes) -> None:
        """As `uploads.Sink.write`.

        Raises:
            RequestError: 413; 507 where the disk is full, or the videos take too much of it.
        """
        self._num_bytes += len(data)
        if self._num_bytes > self._max_bytes:
            raise too_large(self._max_bytes)
        if self._num_bytes > self._next_look:
            self._next_look = self._num_bytes + BYTES_A_LOOK
            self._check_room()
        self._begin = (self._begin + data)[:512] if len(self._begin) < 512 else self._begin
        try:
            self._file.write(data)
        except OSError as error:
            raise no_room() from error

    def close(self) -> None:
        """End the file.

        Raises:
            RequestError: 507 where the disk is full.
        """
        try:
            self._file.close()
        except OSError as error:
            raise no_room() from error

    def check(self) -> None:
        """Nothing, if the file begins like a video.

        Raises:
            RequestError: 400.
        """
        if not begins_like_a_video(self._begin):
            raise RequestError(400, "Not a video", "expected MP4, MOV, MKV, WebM, AVI, MPEG, WMV, FLV, Ogg or Y4M")


def begins_like_a_video(begin: bytes) -> bool:
    """Whether these are the first bytes of a container of video.

    >>> begins_like_a_video(b"OggS and so on"), begins_like_a_video(b"#EXTM3U")
    (True, False)
    """
    is_atom = begin[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"pnot")
    is_avi = begin[:4] == b"RIFF" and begin[8:12] == b"AVI "
    is_stream = begin[:1] == b"G" and begin[188:189] == b"G"
    magic = (b"\x1a\x45\xdf\xa3", b"\x00\x00\x01\xba", b"\x30\x26\xb2\x75", b"FLV\x01", b"OggS", b"YUV4MPEG2 ")
    return is_atom or is_avi or is_stream or begin.startswith(magic)


def bytes_in(folder: Path) -> int:
    """Bytes of all files in a folder and its folders; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def no_room() -> RequestError:
    """The error of a disk that takes no more."""
    return RequestError(507, "No room", "the server cannot store the video")
