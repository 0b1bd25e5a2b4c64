"""Single frames of a video as images: what a person corrects, at the frame's own size, without loss.

A server that anonymises takes them from the anonymous copy of the video, as its job does.
The video is sent again for it: a source that stayed after its job would break the promise that it goes with the job.
"""

import zipfile
from collections.abc import Collection
from pathlib import Path
from threading import Event

import cv2

from polypseg.errors import RequestError
from polypseg.predict.video.frames import frames_of
from polypseg.serve.videos import check_size, put_anonymous_copy

MAX_FRAMES = 100
"""Of one answer."""

SOON = (cv2.IMWRITE_PNG_COMPRESSION, 1)
"""How frames are packed: a tenth larger than by the best way, in a fifth of the time."""


def read_numbers(text: str) -> list[int]:
    """The numbers of frames, in order, each once.

    Raises:
        RequestError: 422, too many.

    >>> read_numbers("50,0,25,0")
    [0, 25, 50]
    """
    numbers = sorted({int(number) for number in text.split(",")})
    if len(numbers) > MAX_FRAMES:
        raise RequestError(422, "Too many frames", f"{len(numbers)} frames; at most {MAX_FRAMES} in one request")
    return numbers


def write_frames(
    source: Path, target: Path, numbers: Collection[int], max_pixels: int, stopped: Event, anonymise: bool = False
) -> int:
    """How many frames were written to a ZIP file, as `frame_000025.png`, numbered from 0 as `VideoFrame.frame` is.

    Args:
        source: The video.
        target: The ZIP file.
        numbers: Of the frames; one that cannot be decoded is left out.
        max_pixels: Of a frame.
        stopped: Set by whoever wants no more.
        anonymise: Whether all but the picture is blanked first, and text in it; the video as it came is removed.

    Raises:
        PolypsegError: As `FrameReader.frames` and `put_anonymous_copy`; RequestError 404 where not one of the frames is
            there, 413 where they are too large.
    """
    check_size(source, max_pixels)
    if anonymise:
        put_anonymous_copy(source)
    wanted, last = frozenset(numbers), max(numbers)
    num_written = 0
    with frames_of(source, stopped) as (_, frames), zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for frame in frames:
            if frame.number in wanted and frame.image is not None:
                packed = cv2.imencode(".png", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR), SOON)[1]
                archive.writestr(f"frame_{frame.number:06d}.png", packed.tobytes())
                num_written += 1
            if frame.number >= last:
                break
    if not num_written:
        raise RequestError(404, "No such frame", "the video holds none of these frames, or none can be decoded")
    return num_written
