"""The frames of a project of corrections, and those of them that are labelled as samples.

Decisions:
- A frame's name comes from its path below the images' folder, so that it stays the same whatever is added: its stem,
  after the names of the folders above it and _.
- Frames in folders of their own are groups by folder, where the data set tells no others.
- A fifth of the groups (of the frames, where they have no groups) is held out: it never trains, and a retrained model
  is compared on it. Which they are follows from the trail alone, so that it never changes: of each five in the order
  of their first save one is drawn by the project's time of birth, of the first five it is the second.
- A frame without a polyp is a sample with an empty mask; rejected frames and those that nobody labelled are none.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from polypseg.data.samples import Fault, Sample, pair_samples
from polypseg.errors import PairingError, ProjectError, listed, plural
from polypseg.preprocess import AUTOMATIC, MaskRule, is_image_file, refuse_odd_names, unicode_name
from polypseg.records.project import (
    LABELLED_STATES,
    Correction,
    corrections,
    images_folder,
    is_project,
    latest,
    mask_path,
    read_project,
)

if TYPE_CHECKING:
    from polypseg.data.layouts import Part


HELD_OUT_OF = 5
"""One of so many groups is held out."""


AS_SAVED = MaskRule(values=(255,))
"""What a person drew is not questioned, such as a polyp that fills the frame; a file that was changed since is."""


class ProjectFrame(NamedTuple):
    """A frame of a folder.

    Attributes:
        name: Unique in the folder.
        image_path: The image file.
        group: Its patient, video or folder; None where unknown.
        mask_path: A mask that lies beside the images; None where there is none.
    """

    name: str
    image_path: Path
    group: str | None = None
    mask_path: Path | None = None


def find_frames(images: Path) -> list[ProjectFrame]:
    """The frames of a folder in any layout that is known, or in any folders within; in order of their names.

    Raises:
        PairingError: It is no folder, or there is no image.
        DataError: A file's name is not valid UTF-8, or the file of groups is damaged.
        ProjectError: Two files have one name.
    """
    if not images.is_dir():
        what = "a file; name the folder that it is in" if images.exists() else "no such folder; expected one of images"
        raise PairingError(f"{images}: {what}")
    found = _frames_of_layout(images) or [
        ProjectFrame(_name(path, images), path, _folder_group(path, images)) for path in _walk(images)
    ]
    if not found:
        raise PairingError(f"{images}: no image in this folder; expected frames as .jpg, .png, .tif or .bmp")
    refuse_odd_names([frame.image_path for frame in found])
    _refuse_repeated(images, found)
    return sorted(found)


def labelled_samples(folder: Path) -> tuple[list[Sample], list[Fault]]:
    """The labelled frames of a project in order of their names, and the labels that cannot be used.

    Args:
        folder: Of the project.

    Raises:
        ProjectError: It is damaged, its images are gone, or nothing is labelled yet.
    """
    project = read_project(folder)
    frames = {frame.name: frame for frame in find_frames(images_folder(folder, project))}
    trail = corrections(folder).read().lines
    lines = latest(trail)
    apart = held_out(trail, {name: frame.group for name, frame in frames.items()}, project.created)
    samples: list[Sample] = []
    faults: list[Fault] = []
    for name, line in sorted(lines.items()):
        if line.state not in LABELLED_STATES:
            continue
        mask = mask_path(folder, name)
        if name not in frames:
            faults.append(Fault(name, f"labelled in {folder}, and its image is gone; put it back"))
        elif not mask.is_file():
            faults.append(Fault(str(mask), "the mask is gone; open the project to bring it back: polypseg annotate"))
        else:
            rule = AS_SAVED if _is_as_saved(mask, line.mask) else AUTOMATIC
            frame, is_held_out = frames[name], name in apart
            samples.append(Sample(name, frame.image_path, mask, frame.group, mask_rule=rule, is_held_out=is_held_out))
    if not samples and not faults:
        raise ProjectError(
            f"{folder}: no frame of this project is labelled yet ({plural(len(frames), 'frame')}); "
            f"correct or accept some: polypseg annotate {folder}"
        )
    return samples, faults


def _is_as_saved(mask: Path, digest: str) -> bool:
    with suppress(OSError):
        return hashlib.sha256(mask.read_bytes()).hexdigest() == digest
    return False


def held_out(lines: Iterable[Correction], groups: Mapping[str, str | None], seed: str) -> set[str]:
    """The frames that a project keeps for comparing models.

    Args:
        lines: Of its trail.
        groups: The group of each frame by its name; None where unknown: it is one by itself.
        seed: Of the draw.
    """
    order: dict[str, set[str]] = {}
    for line in lines:
        group = groups.get(line.frame)
        order.setdefault(f"group {group}" if group else f"frame {line.frame}", set()).add(line.frame)
    units = list(order.values())
    chosen: set[str] = set()
    for start in range(0, len(units), HELD_OUT_OF):
        drawn = int(hashlib.sha256(f"{seed} {start}".encode()).hexdigest(), 16) % HELD_OUT_OF if start else 1
        chosen |= units[start + drawn] if start + drawn < len(units) else set()
    return chosen


def projects_within(folder: Path) -> list[Path]:
    """The projects that lie in a folder, in order of their names."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and is_project(path))


def project_within(folder: Path) -> Path | None:
    """The only project in a folder of images; None where there is none.

    Raises:
        ProjectError: There are several.
    """
    found = projects_within(folder)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ProjectError(f"{folder}: holds {len(found)} projects ({names}); name one of their folders")
    return found[0] if found else None


def _frames_of_layout(images: Path) -> list[ProjectFrame]:
    """The frames of a data set whose layout tells where images, masks and groups are; none for other folders."""
    from polypseg.data.layouts import recognise  # layouts asks this module for projects

    try:
        layout = recognise(images, projects=False)
    except PairingError:
        return []
    if layout.name == "images" and layout.parts[0].images == images:
        table = layout.parts[0].table
        return [
            ProjectFrame(name, path, table.groups.get(name, _folder_group(path, images)))
            for path in _walk(images)
            for name in [_name(path, images)]
        ]
    if any(part.annotations is not None for part in layout.parts):
        return []
    return [frame for part in layout.parts for frame in _frames_of_part(part)]


def _frames_of_part(part: "Part") -> Iterator[ProjectFrame]:
    masks: dict[str, Path | None] = {}
    if part.masks is not None and any(is_image_file(path) for path in part.masks.iterdir()):
        masks = {sample.name: sample.mask_path for sample in pair_samples(part.images, part.masks)[0]}
    for path in sorted(part.images.iterdir()):
        if is_image_file(path):
            name = unicode_name(path.stem)
            group = part.prefix + part.table.groups[name] if name in part.table.groups else part.group
            yield ProjectFrame(part.prefix + name, path, group, masks.get(name))


def _walk(folder: Path) -> Iterator[Path]:
    return (path for path in walk_files(folder) if is_image_file(path))


def walk_files(folder: Path) -> Iterator[Path]:
    """The files of a folder and of those within, in order; projects and hidden folders are left out."""
    for where, folders, files in os.walk(folder):
        here = Path(where)
        folders[:] = sorted(
            name for name in folders if not name.startswith((".", "__")) and not is_project(here / name)
        )
        yield from (here / name for name in sorted(files))


def _name(path: Path, images: Path) -> str:
    return unicode_name("_".join(path.relative_to(images).with_suffix("").parts))


def _folder_group(path: Path, images: Path) -> str | None:
    inner = path.relative_to(images).parent.as_posix()
    return None if inner == "." else inner


def _refuse_repeated(images: Path, frames: Sequence[ProjectFrame]) -> None:
    homes: dict[str, list[Path]] = {}
    for frame in frames:
        homes.setdefault(frame.name, []).append(frame.image_path.relative_to(images))
    repeated = [f"{name}: {' and '.join(map(str, paths))}" for name, paths in sorted(homes.items()) if len(paths) > 1]
    if repeated:
        raise ProjectError(
            f"{images}: {plural(len(repeated), 'name stands', 'names stand')} "
            "for several files; rename one of each, so that a mask is of one "
            f"frame:{listed(repeated)}"
        )
