"""How the folders of data sets look: which holds the images, which the masks, and what belongs together.

Decisions:
- A folder is recognised from the names of its folders and files, and from its annotation files; no image is opened.
- Masks come before annotations: Kvasir-SEG has boxes in a JSON file beside them.
- A project of corrections (`project_frames`) is a data set of its labelled frames; so is the folder of images that it
  lies in, where that has no masks of its own.
- Groups come from the layout (PolypGen's sequences), from a sequences.csv or groups.csv beside the images, or,
  for CVC-ClinicDB, from the table in its own read-me file.
- BKAI-IGH NeoPolyp is known by train/, train_gt/ and its file names: red (neoplastic) and green (not) are polyp in its
  masks; so is white, which some copies have. What the user says of masks comes first.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from polypseg.data.group_table import NO_GROUPS, GroupTable, read_groups
from polypseg.data.official import is_kvasir_seg
from polypseg.data.project_frames import project_within
from polypseg.data.samples import MASK_NAME_SUFFIXES
from polypseg.errors import PairingError
from polypseg.formats.finding import TITLES, FoundAnnotations, find_annotations, frame_names
from polypseg.formats.images import ImageFiles
from polypseg.preprocess import AUTOMATIC, MaskRule, is_image_file, refuse_odd_names, unicode_name
from polypseg.records.project import MASKS, images_folder, is_project, read_project

IMAGE_FOLDERS = (
    "images", "image", "imgs", "img", "original", "originals", "frames", "bbdd", "etis-laribpolypdb",
)  # fmt: skip
MASK_FOLDERS = (
    "masks", "mask", "ground truth", "ground_truth", "groundtruth", "gt", "gtpolyp", "labels", "label", "annotations",
    "segmentations",
)  # fmt: skip
"""Names of folders, in lower case, the first that is there counts: CVC-EndoSceneStill (CVC-300, CVC-612) has bbdd and
gtpolyp, ETIS-Larib a folder of its own name and Ground Truth."""

SUN_FOLDERS = ("frame", "gt")
"""Of SUN-SEG, in lower case."""

BKAI_FOLDERS = ("train", "train_gt")
BKAI_STEM = re.compile(r"[0-9a-f]{32}")
BKAI_RULE = MaskRule(colours=("#ff0000", "#00ff00", "#ffffff"))
"""As its owner distributes it: train/train/*.jpeg and train_gt/train_gt/*.jpeg, or without the inner folders."""

MAX_DEPTH = 2
"""A data set may lie in an only folder of an only folder of the one that was named."""

CLINICDB_LAST_FRAMES = (
    25, 50, 67, 78, 103, 126, 151, 177, 199, 205, 227, 252, 277, 297, 317, 342, 363, 383, 408, 428, 447, 466, 478, 503,
    528, 546, 571, 591, 612,
)  # fmt: skip
"""The last frame of each of CVC-ClinicDB's 29 sequences, from the read-me file of its archive."""


class Part(NamedTuple):
    """One sub-set of a data set.

    Attributes:
        images: Folder of the images.
        masks: Folder of the masks; None where there is none.
        prefix: What its samples' names begin with; empty where there is only one part.
        group: Of all its samples; None if unknown.
        centre: Of all its samples; None if unknown.
        is_negative: Whether the data set itself says that no image of it shows a polyp.
        table: The group of each image, where a file or the data set's documentation tells.
        annotations: What says where the polyps are, in place of masks; None where there is none.
        project: The folder of a project of corrections, whose labelled frames count; None where it is none.
        rule: What means polyp in its masks, where the user does not say it.
    """

    images: Path
    masks: Path | None
    prefix: str = ""
    group: str | None = None
    centre: str | None = None
    is_negative: bool = False
    table: GroupTable = NO_GROUPS
    annotations: FoundAnnotations | None = None
    project: Path | None = None
    rule: MaskRule = AUTOMATIC


class Layout(NamedTuple):
    """How a folder was understood.

    Attributes:
        name: kvasir-seg, cvc-clinicdb, polypgen, bkai, sun-seg, pairs, subsets, images, project, or an annotation
            format.
        title: The same in words.
        parts: Its sub-sets, at least one.
    """

    name: str
    title: str
    parts: tuple[Part, ...]


def recognise(folder: Path, projects: bool = True) -> Layout:
    """How the folder is laid out.

    Args:
        folder: Of a data set.
        projects: Whether projects of corrections count; they are passed over where not.

    Raises:
        PairingError: It is no folder, or none of the known layouts; what was looked for and found is said.
        DataError: The file that tells the groups or one of annotations is damaged.
        ProjectError: It holds several projects, or a damaged one.
    """
    if not folder.is_dir():
        raise PairingError(
            f"{folder}: no such folder; expected a data set, for example a folder with images/ and masks/"
        )
    layout = _project_layout(folder) if projects else None
    layout = layout or _layout(folder, MAX_DEPTH)
    if layout is None:
        raise PairingError(
            f"{folder}: not recognised as a data set; looked for images/ + masks/ (or alike), Original/ + "
            "Ground Truth/ (CVC-ClinicDB), data_C1/ to data_C6/ (PolypGen), Frame/ + GT/ (SUN-SEG), train/ + "
            "train_gt/ (BKAI), folders of such "
            f"folders (TestDataset), annotations ({', '.join(TITLES.values())}), or images; found {_found(folder)}"
        )
    return layout


def _project_layout(folder: Path) -> Layout | None:
    """A project, or images without masks around one."""
    place = folder if is_project(folder) else project_within(folder)
    if place is None:
        return None
    if place != folder:
        layout = _layout(folder, MAX_DEPTH)
        if layout is not None and layout.name != "images":
            return None
    project = read_project(place)
    part = Part(images_folder(place, project), place / MASKS, project=place)
    return Layout("project", f"project {project.name}", (part,))


def _layout(folder: Path, depth: int) -> Layout | None:
    folders = _folders(folder)
    if {"traindataset", "testdataset"} <= folders.keys():
        raise PairingError(
            f"{folder}: holds both TrainDataset and TestDataset; name one of them, to train or to test on"
        )
    if "polypgen" in folder.name.lower() or any(re.fullmatch(r"data_c\d", name) for name in folders):
        parts = tuple(_polypgen_parts(folder))
        if parts:
            return Layout("polypgen", f"PolypGen, {len(parts)} centres and sequences", parts)
    if folders.keys() >= set(SUN_FOLDERS):
        parts = tuple(_sun_parts(*(folders[name] for name in SUN_FOLDERS)))
        if parts:
            return Layout("sun-seg", f"SUN-SEG, {len(parts)} clips", parts)
    if folders.keys() >= set(BKAI_FOLDERS):
        images, masks = (_within_itself(folders[name]) for name in BKAI_FOLDERS)
        if _image_files(images) and _image_files(masks):
            return recognise_pair(folder, images, masks)
    pair = image_and_mask_folders(folder)
    if pair and _image_files(pair[1]):
        return recognise_pair(folder, *pair)
    annotations = find_annotations(folder)
    if annotations is not None:
        table = read_groups(folder, frame_names(annotations, ImageFiles(folder)).values())
        return Layout(
            annotations.format, annotations.title, (Part(folder, None, table=table, annotations=annotations),)
        )
    if pair:
        return recognise_pair(folder, *pair)
    subsets = tuple(_subsets(folders.values()))
    if len(subsets) == 1:
        return _layout(subsets[0].images.parent, depth)
    if subsets:
        names = ", ".join(part.images.parent.name for part in subsets)
        return Layout("subsets", f"{len(subsets)} sub-sets: {names}", subsets)
    alone = _recognise_images(folder, folders)
    if alone is None and len(folders) == 1 and depth > 0:  # what an archive's outer folder holds
        return _layout(next(iter(folders.values())), depth - 1)
    return alone


def recognise_pair(folder: Path, images: Path, masks: Path) -> Layout:
    """What a folder of images and a folder of masks are, and the groups that `folder` tells.

    Raises:
        DataError: The file of groups is damaged.
    """
    stems = [unicode_name(path.stem) for path in _image_files(images)]
    part = Part(images, masks, table=read_groups(folder, stems))
    if is_kvasir_seg(stems):
        return Layout("kvasir-seg", "Kvasir-SEG", (part,))
    frames = CLINICDB_LAST_FRAMES[-1]
    if len(stems) == frames and set(stems) == {str(number + 1) for number in range(frames)}:
        return Layout(
            "cvc-clinicdb", "CVC-ClinicDB", (part if part.table.groups else part._replace(table=_clinicdb_groups()),)
        )
    if masks.name == BKAI_FOLDERS[1] and all(BKAI_STEM.fullmatch(stem) for stem in stems):
        return Layout("bkai", "BKAI-IGH NeoPolyp", (part._replace(rule=BKAI_RULE),))
    return Layout("pairs", f"{images.name}/ and {masks.name}/", (part,))


def image_and_mask_folders(folder: Path) -> tuple[Path, Path] | None:
    """The folder of images and the folder of masks within a folder, where it has both."""
    folders = _folders(folder)
    return _pair(folders) or _pair_with_suffix(folders)


def _subsets(folders: Iterable[Path]) -> Iterator[Part]:
    """The parts of those folders that hold images and masks, or images alone, in folders of their own."""
    for folder in folders:
        inner = _folders(folder)
        pair = _pair(inner)
        if pair:
            yield recognise_pair(folder, *pair).parts[0]._replace(prefix=f"{folder.name}_")
        elif (alone := _images_folder(inner)) is not None:
            yield Part(alone, None, prefix=f"{folder.name}_", table=read_groups(folder, _stems(alone)))


def _recognise_images(folder: Path, folders: Mapping[str, Path]) -> Layout | None:
    images = _images_folder(folders) or (folder if _image_files(folder) else None)
    if images is None:
        return None
    beside = [path.name for path in _image_files(images) if path.stem.lower().endswith(MASK_NAME_SUFFIXES)]
    if beside:
        raise PairingError(
            f"{images}: masks lie among the images ({beside[0]}); expected them in a folder of their own: "
            "move them to masks/, beside images/"
        )
    part = Part(images, None, table=read_groups(folder, _stems(images)))
    return Layout("images", f"images without masks in {images.name}/", (part,))


def _polypgen_parts(folder: Path) -> Iterator[Part]:
    """Centres C1 to C6, positive and negative sequences: every sequence is one group."""
    for child in sorted(folder.glob("data_C[0-9]")):
        pair = _pair_with_suffix(_folders(child))
        if pair:
            centre = child.name.removeprefix("data_")
            yield Part(*pair, prefix=f"{centre}_", centre=centre)
    for child in sorted(folder.glob("sequenceData/positive/*/")):
        pair = _pair_with_suffix(_folders(child))
        if pair:
            yield Part(*pair, prefix=f"{child.name}_", group=child.name)
    for child in sorted(folder.glob("sequenceData/negativeOnly/*/")):
        if _image_files(child):
            yield Part(child, None, prefix=f"{child.name}_", group=child.name, is_negative=True)


def _sun_parts(frames: Path, masks: Path) -> Iterator[Part]:
    """The clips of SUN-SEG: Frame/case1_3 and GT/case1_3; all clips of a case are one group."""
    for clip in sorted(path for path in frames.iterdir() if path.is_dir()):
        if (masks / clip.name).is_dir() and _image_files(clip):
            yield Part(clip, masks / clip.name, prefix=f"{clip.name}_", group=clip.name.partition("_")[0])


def _pair_with_suffix(folders: Mapping[str, Path]) -> tuple[Path, Path] | None:
    """images_C1/ and masks_C1/ of PolypGen, whatever the suffix."""
    images = next((path for name, path in folders.items() if re.match(r"images?(_|$)", name)), None)
    masks = next((path for name, path in folders.items() if re.match(r"masks?(_|$)", name)), None)
    return (images, masks) if images and masks else None


def _images_folder(folders: Mapping[str, Path]) -> Path | None:
    return next((folders[name] for name in IMAGE_FOLDERS if name in folders and _image_files(folders[name])), None)


def _pair(folders: Mapping[str, Path]) -> tuple[Path, Path] | None:
    images = next((folders[name] for name in IMAGE_FOLDERS if name in folders), None)
    masks = next((folders[name] for name in MASK_FOLDERS if name in folders), None)
    return (images, masks) if images and masks else None


def _folders(folder: Path) -> dict[str, Path]:
    """The folders within, by their names in lower case."""
    inner = sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith((".", "__")) and not is_project(path)
    )
    refuse_odd_names(inner)
    return {path.name.lower(): path for path in inner}


def _within_itself(folder: Path) -> Path:
    """The folder of its own name that a folder holds; the folder itself where there is none."""
    inner = folder / folder.name
    return inner if inner.is_dir() else folder


def _image_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if is_image_file(path)]


def _stems(folder: Path) -> list[str]:
    return [unicode_name(path.stem) for path in _image_files(folder)]


def _found(folder: Path) -> str:
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "") if names else "nothing"


def _clinicdb_groups() -> GroupTable:
    bounds = pairwise((0, *CLINICDB_LAST_FRAMES))
    groups = {
        str(frame): str(sequence)
        for sequence, (before, last) in enumerate(bounds, start=1)
        for frame in range(before + 1, last + 1)
    }
    return GroupTable(groups, "the read-me file of CVC-ClinicDB")
