"""A project begins: where it lies, and that nothing is in its way."""

import os
from datetime import datetime
from pathlib import Path

from polypseg.data.project_frames import find_frames
from polypseg.errors import ProjectError
from polypseg.records.project import FORMAT, HISTORY, MASKS, ProjectFile, is_project, write_project


def begin_project(images: Path, folder: Path, name: str) -> None:
    """Make the folder of a new project.

    Args:
        images: Where the frames are; they are looked for before anything is written.
        folder: Of the project; it is made, and must not hold anything but the images.
        name: Of the project.

    Raises:
        ProjectError: The folder holds something, or cannot be written.
        PairingError: There are no images.
    """
    refuse_occupied(folder, images)
    find_frames(images)
    created = datetime.now().astimezone().isoformat(timespec="seconds")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        relative = Path(_relative(images.resolve(), folder.resolve())).as_posix()
        for inner in (MASKS, HISTORY):
            (folder / inner).mkdir(exist_ok=True)
        write_project(
            folder, ProjectFile(program="polypseg", format=FORMAT, name=name, images=relative, created=created)
        )
    except OSError as error:
        raise ProjectError(
            f"{folder}: cannot be written ({error.strerror}); name a place that can (--project PATH)"
        ) from error


def refuse_occupied(folder: Path, images: Path | None = None) -> None:
    """Nothing, where a project can be made in a folder.

    Raises:
        ProjectError: It holds something else than the folder of its images.
    """
    if folder.exists() and (not folder.is_dir() or any(path != images for path in folder.iterdir())):
        raise ProjectError(f"{folder}: is there already and is no project; name another one (--project NAME)")


def project_for(place: Path, name: str) -> Path | None:
    """The project that a folder is or holds under a name; None where it has to be begun.

    Args:
        place: A project, or a folder of images.
        name: Of a project in it, or a path to one.

    Raises:
        ProjectError: The folder is a project, and another is named.
    """
    if is_project(place):
        return place
    folder = project_place(place, name)
    return folder if is_project(folder) else None


def project_place(images: Path, name: str) -> Path:
    """Where a project of a name lies: in the folder of images, or where the name is a path, there."""
    return Path(name) if "/" in name or "\\" in name else images / name


def _relative(path: Path, start: Path) -> str:
    try:
        return os.path.relpath(path, start)
    except ValueError:  # another drive of Windows
        return str(path)
