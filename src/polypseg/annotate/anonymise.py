"""Frames, masks and videos without what tells the patient.

Decisions:
- All around the picture is blanked; what is kept is decoded and written again (PNG, for videos H.264), so that nothing
  of the original file but its pixels can remain.
- Names are numbers in a random order. The key lies beside the new folder.
- Text in the picture or over its edge is reported. It is blanked only on request, because a line that was not found
  would stay unseen.
- A project of corrections in a folder is left out and told: it is a data set itself, of some of the images.
- A frame without a picture (a title page, a report) is not written: all of it may be text.
"""

import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from polypseg.annotate.anonymise_dicom import anonymise_dicom
from polypseg.annotate.anonymise_video import anonymise_video
from polypseg.annotate.blanking import Blanked, blank_frame
from polypseg.annotate.dicom_frames import is_dicom
from polypseg.annotate.metadata import metadata_kinds
from polypseg.annotate.records import Anonymised, KeyRow, key_path, write_key, write_report
from polypseg.arrays import Mask
from polypseg.data.annotated import mask_of
from polypseg.data.conversion import read_frames
from polypseg.data.layouts import recognise
from polypseg.data.project_frames import projects_within, walk_files
from polypseg.data.samples import Fault, refuse
from polypseg.errors import DataError, PairingError, PolypsegError
from polypseg.formats.writing import new_folder, write_png
from polypseg.predict.kinds import is_video
from polypseg.preprocess import AUTOMATIC, MaskRule, is_image_file, is_left_out, read_image
from polypseg.progress import Track, silent
from polypseg.records.atomic import write_bytes, write_text
from polypseg.records.digests import file_digests
from polypseg.records.project import is_project


@dataclass(frozen=True)
class FileToAnonymise:
    """One file to anonymise.

    Attributes:
        path: The file.
        mask: Its polyps, (H, W) bool; None where the data have no masks.
        group: Its sequence or patient; empty where unknown.
    """

    path: Path
    mask: Mask | None = None
    group: str = ""


@dataclass
class Done:
    """What anonymising did.

    Attributes:
        rows: One of each new file.
        faults: What was left out.
        key: Where the key lies.
    """

    rows: list[Anonymised] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    key: Path = Path()


def anonymise(
    source: Path,
    out: Path,
    rule: MaskRule = AUTOMATIC,
    blank_text: bool = False,
    skip_bad: bool = False,
    seed: int | None = None,
    track: Track = silent,
) -> Done:
    """Write a folder of frames, masks and videos that tell nothing of the patient but the picture.

    Args:
        source: A data set, a folder of images and videos (folders within included), or one file.
        out: A new or empty folder; the key is written beside it.
        rule: What means polyp in the masks.
        blank_text: Also blank the lines of text that are found in the picture.
        skip_bad: Leave out what cannot be used, and list it.
        seed: Of the order of the names; None for one that nobody can repeat.
        track: Shows progress.

    Raises:
        DataError: A file cannot be used, the folder or the key is there already, or nothing is left to write.
        MissingExtraError: There are videos or DICOM files, and what reads them is not installed.
    """
    key = key_path(out)
    if key.exists():
        raise DataError(f"{key}: a key is there already; it may be the only one: move it, or name another folder")
    items, faults = _items(source, rule, track)
    order = random.SystemRandom() if seed is None else random.Random(seed)
    order.shuffle(items)
    done, keys = Done(faults=faults, key=key), []
    groups, uids = _new_groups(items, order), dict[str, str]()
    with new_folder(out) as folder:
        for number, item in enumerate(track(items, "anonymising", len(items)), 1):
            name = f"{number:06d}"
            try:
                done.rows.append(_anonymise(item, folder, name, uids, blank_text))
            except PolypsegError as error:
                done.faults.append(Fault(str(item.path), str(error)))
                continue
            digest = file_digests([item.path])[item.path]
            keys.append(KeyRow(name, str(item.path), digest, item.group, groups.get(item.group, "")))
        refuse(done.faults, skip_bad)
        if not done.rows:
            raise DataError(f"{source}: holds no frame that can be anonymised")
        write_report(folder, done.rows)
        _write_groups(folder, keys)
        write_key(key, keys)
    return done


def _items(source: Path, rule: MaskRule, track: Track) -> tuple[list[FileToAnonymise], list[Fault]]:
    """What is to be anonymised, and what is left out."""
    if source.is_file():
        return [FileToAnonymise(source)], []
    if not source.is_dir():
        raise DataError(f"{source}: no such file or folder; expected images, videos or a data set")
    if _has_masks(source):
        _, frames, samples, faults = read_frames(source, None, rule, True, track)
        groups = {sample.name: sample.group or "" for sample in samples}
        return [FileToAnonymise(f.image_path, mask_of(f), groups.get(f.name, "")) for f in frames], faults
    files = sorted(path for path in walk_files(source) if path.is_file() and not path.name.startswith("."))
    wanted = [path for path in files if is_image_file(path) or is_dicom(path) or is_video(str(path))]
    others = [path for path in files if path not in wanted and is_left_out(path)]
    faults = [Fault(str(path), "neither an image, a video nor DICOM") for path in others]
    return [FileToAnonymise(path) for path in wanted], [*faults, *map(_left_out_project, projects_within(source))]


def _left_out_project(folder: Path) -> Fault:
    return Fault(str(folder), "a project of corrections: its masks are not taken; name its folder to get them")


def _has_masks(source: Path) -> bool:
    """Whether a folder is a data set that says where polyps are."""
    with suppress(PairingError):
        layout = recognise(source, projects=is_project(source))
        return any(part.masks is not None or part.annotations is not None for part in layout.parts)
    return False


def _anonymise(item: FileToAnonymise, folder: Path, name: str, uids: dict[str, str], blank_text: bool) -> Anonymised:
    """Write one file; errors name it."""
    if is_dicom(item.path):
        return anonymise_dicom(item.path, folder, name, uids, blank_text)
    if is_video(str(item.path)):
        (folder / "videos").mkdir(exist_ok=True)
        return anonymise_video(item.path, folder / "videos" / f"{name}.mp4", blank_text)
    image = read_image(item.path)
    found = blank_frame(image, blank_text)
    (folder / "images").mkdir(exist_ok=True)
    write_png(folder / "images" / f"{name}.png", found.image)
    hidden = 0
    if item.mask is not None:
        (folder / "masks").mkdir(exist_ok=True)
        _write_mask(folder / "masks" / f"{name}.png", item.mask)
        hidden = int(np.count_nonzero(item.mask & ~found.kept))
    return _row(name, found, metadata_kinds(item.path), hidden)


def _row(name: str, found: Blanked, removed: Sequence[str], hidden: int) -> Anonymised:
    height, width = found.kept.shape
    percent = round(100 * float(1 - found.kept.mean()), 2)
    return Anonymised(
        name, "image", height, width, percent, found.bright_px, found.text_blanked, found.text_left, hidden,
        tuple(removed),
    )  # fmt: skip


def _write_mask(path: Path, mask: Mask) -> None:
    content = cv2.imencode(".png", np.where(mask, 255, 0).astype(np.uint8))[1]
    write_bytes(path, content.tobytes())


def _new_groups(items: Sequence[FileToAnonymise], order: random.Random) -> dict[str, str]:
    names = sorted({item.group for item in items if item.group})
    order.shuffle(names)
    return {name: f"g{number:04d}" for number, name in enumerate(names, 1)}


def _write_groups(folder: Path, keys: Sequence[KeyRow]) -> None:
    if any(row.new_group for row in keys):
        lines = [f"{row.name},{row.new_group or f'alone-{row.name}'}\n" for row in keys]
        write_text(folder / "groups.csv", "frame,group\n" + "".join(lines))
