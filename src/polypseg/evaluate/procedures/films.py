"""The pictures of procedures: folders of frames and video files, read one frame after another."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polypseg.arrays import Image
from polypseg.errors import ScoreError
from polypseg.evaluate.procedures.frames import Frames, natural
from polypseg.evaluate.procedures.references import procedure_folders
from polypseg.predict.kinds import is_video
from polypseg.preprocess import MAX_PIXELS
from polypseg.preprocess.files import file_content
from polypseg.preprocess.reading import decode_stored, to_eight_bits


class Film(NamedTuple):
    """A procedure: a video file, or a folder's frames in natural order.

    Attributes:
        name: The file's name without its ending, or the folder's.
        files: The frames of a folder, or the one video.
        is_video: Which of the two.
    """

    name: str
    files: tuple[Path, ...]
    is_video: bool


class FilmFrame(NamedTuple):
    """A frame: its name, its time (None in a folder) and its picture (None where it cannot be decoded)."""

    key: str
    seconds: float | None
    image: Image | None


def find_films(folder: Path) -> list[Film]:
    """The procedures in a folder, or the one that a video file is, in natural order.

    Raises:
        ScoreError: None, or two of one name.
    """
    if folder.is_file() and is_video(str(folder)):
        return [Film(folder.stem, (folder,), True)]
    if not folder.is_dir():
        raise ScoreError(f"{folder}: no such folder; expected a folder of videos, or of folders of frames")
    videos = [entry for entry in folder.iterdir() if entry.is_file() and is_video(str(entry))]
    films = [Film(video.stem, (video,), True) for video in videos]
    films += [
        Film(name, tuple(files), False)
        for name, files in procedure_folders(folder).items()
        if not (videos and name == folder.name)
    ]
    if not films:
        raise ScoreError(f"{folder}: no procedure; expected video files, or folders that hold the frames of one each")
    films.sort(key=lambda film: natural(film.name))
    names = [film.name for film in films]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ScoreError(f"{folder}: two procedures are named {twice[0]}; rename one")
    return films


def film_frames(film: Film, known: Frames | None) -> Iterator[FilmFrame]:
    """The frames of a procedure.

    Args:
        film: From `find_films`.
        known: Frames of the references, whose names end in the numbers of a video's frames; None where there are none.
    """
    if not film.is_video:
        for path in film.files:
            yield FilmFrame(path.stem, None, read_film_frame(path))
        return
    from polypseg.predict.video.frames import frames_of

    named = keys_by_number(known.keys_of(film.name)) if known is not None and film.name in known.names else {}
    with frames_of(film.files[0]) as (_, frames):
        for frame in frames:
            key = named.get(frame.number, str(frame.number))
            yield FilmFrame(key, float(frame.seconds), frame.image)


def read_film_frame(path: Path) -> Image:
    """A frame of a folder, (H, W, 3) uint8; black ones too, which a film has and a set of images should not.

    Raises:
        ImageError: It cannot be read.
    """
    stored = decode_stored(file_content(path), str(path), MAX_PIXELS)
    return np.asarray(to_eight_bits(stored.picture, str(path)).convert("RGB"))


def keys_by_number(keys: list[str]) -> Mapping[int, str]:
    """The names by the number that they end with.

    >>> keys_by_number(["p1_0007", "8"])
    {7: 'p1_0007', 8: '8'}
    """
    ends = {key: re.search(r"(\d+)$", key) for key in keys}
    return {int(match[1]): key for key, match in ends.items() if match is not None}
