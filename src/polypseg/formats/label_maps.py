"""Label maps with a table of labels: Pascal VOC and nnU-Net.

Decisions:
- Pascal VOC: a place in the palette is a label, 255 (void, the border of an object) is background. With a labelmap.txt
  (CVAT) the colours tell the label; a label without a colour has that of its place in VOC's palette.
  SegmentationObject keeps several polyps of a frame apart.
- nnU-Net: dataset.json names the labels; only formats of single images are read, not NIfTI. Its label `ignore` is
  background.
- A region of one label that falls into several parts is several polyps, where no other file tells them apart.
"""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from polypseg.errors import DataError, ImageError, plural
from polypseg.formats.annotations import POLYP, AnnotatedFrame, AnnotatedRegion, Annotations, Unusable, annotation_file
from polypseg.formats.outlines import component_masks, run_lengths
from polypseg.formats.written import Written
from polypseg.preprocess import IMAGE_SUFFIXES, MAX_PIXELS, is_image_file
from polypseg.preprocess.files import file_content
from polypseg.preprocess.reading import decode_exact
from polypseg.records.atomic import write_bytes, write_text
from polypseg.records.reading import Saved, read_json, read_text

LABEL_MAP = annotation_file("labelmap.txt")
DATASET = annotation_file("dataset.json of nnU-Net")

CLASSES, OBJECTS, FRAMES = "SegmentationClass", "SegmentationObject", "JPEGImages"
VOID = 255

Colour = tuple[int, int, int]


class _DataSet(Saved):
    labels: dict[str, int | list[int]]
    file_ending: str


def is_voc(folder: Path) -> bool:
    """Whether a folder is laid out as Pascal VOC."""
    return (folder / CLASSES).is_dir()


def is_nnunet(folder: Path) -> bool:
    """Whether a folder is laid out as a raw data set of nnU-Net."""
    return (folder / "dataset.json").is_file() and (folder / "imagesTr").is_dir()


def voc_colours() -> list[Colour]:
    """The palette of Pascal VOC: the bits of a place are spread over red, green and blue, the highest first.

    >>> voc_colours()[1], voc_colours()[15], voc_colours()[255]
    ((128, 0, 0), (192, 128, 128), (224, 224, 192))
    """
    return [
        tuple(  # type: ignore[misc]
            sum(((place >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(8)) for channel in range(3)
        )
        for place in range(256)
    ]


def read_voc(folder: Path) -> Annotations:
    """What the label maps of Pascal VOC say; one that cannot be read is named among the unusable ones.

    Raises:
        DataError: labelmap.txt is damaged.
    """
    colours, names = _label_map(folder)
    frames: list[AnnotatedFrame] = []
    unusable: list[Unusable] = []
    for path in sorted(path for path in (folder / CLASSES).iterdir() if is_image_file(path)):
        try:
            classes = _label_image(path, colours)
            objects = folder / OBJECTS / path.name
            parts = _objects(objects, classes) if objects.is_file() else _parts(classes)
        except ImageError as error:
            unusable.append(Unusable.of(path, error))
            continue
        size = classes.shape[0], classes.shape[1]
        frames.append(AnnotatedFrame(f"{FRAMES}/{path.stem}", size, _named(parts, names, {0, VOID}), True))
    return Annotations(frames, unusable, [])


def _label_map(folder: Path) -> tuple[dict[Colour, int] | None, dict[int, str]]:
    """The labels by their colours, and their names; None where each file's palette tells the labels."""
    path = folder / "labelmap.txt"
    if not path.is_file():
        return None, {}
    colours, names = {voc_colours()[VOID]: VOID}, {}
    lines = [line for line in read_text(path, LABEL_MAP).splitlines() if line.strip() and not line.startswith("#")]
    value = 0
    for line, usual in zip(lines, voc_colours(), strict=False):
        name, _, rest = line.partition(":")
        colour = rest.split(":")[0].strip()
        try:
            red, green, blue = (int(part) for part in colour.split(",")) if colour else usual
        except ValueError as error:
            raise LABEL_MAP.damaged(path, f"{line!r}: expected name:red,green,blue::") from error
        place = 0 if (red, green, blue) == (0, 0, 0) else (value := value + 1)
        colours[red, green, blue], names[place] = place, name
    return colours, names


def _label_image(path: Path, colours: Mapping[Colour, int] | None) -> NDArray[np.int64]:
    """The label of each pixel.

    Raises:
        ImageError: It cannot be read, loses values, or has a colour that no label has.
    """
    stored = decode_exact(file_content(path), str(path), MAX_PIXELS)
    if stored.is_lossy:
        raise ImageError(f"{path}: a format that changes values; expected labels as PNG")
    picture = stored.picture
    if (picture.mode in ("L", "P", "1") and colours is None) or picture.mode.startswith("I"):
        return np.asarray(picture).astype(np.int64)
    known = colours or {colour: place for place, colour in enumerate(voc_colours())}
    rgb = np.asarray(picture.convert("RGB")).astype(np.int64)
    packed = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
    labels = np.full(packed.shape, -1, np.int64)
    for (red, green, blue), place in known.items():
        labels[packed == (red << 16 | green << 8 | blue)] = place
    if (labels < 0).any():
        stranger = int(packed[labels < 0][0])
        raise ImageError(f"{path}: has the colour #{stranger:06x}, which no label has")
    return labels


def _objects(path: Path, classes: NDArray[np.int64]) -> list[tuple[int, NDArray[np.bool_]]]:
    """The label and the pixels of each object.

    Raises:
        ImageError: It cannot be read, is of another size, or an object is of several labels.
    """
    picture = decode_exact(file_content(path), str(path), MAX_PIXELS).picture
    if picture.mode in ("L", "P", "1"):
        objects = np.asarray(picture).astype(np.int64)
    else:
        rgb = np.asarray(picture.convert("RGB")).astype(np.int64)
        objects = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
    if objects.shape != classes.shape:
        raise ImageError(f"{path}: its size is not that of {CLASSES}/{path.name}")
    found = []
    for name in np.unique(objects[(classes != 0) & (classes != VOID)]):
        here = (objects == name) & (classes != VOID)
        labels = np.unique(classes[here])
        if len(labels) > 1 or name == 0:
            raise ImageError(f"{path}: object {name} has the labels {', '.join(map(str, labels))}; expected one")
        found.append((int(labels[0]), here))
    return found


def _parts(labels: NDArray[np.int64]) -> list[tuple[int, NDArray[np.bool_]]]:
    """The label and the pixels of each connected part."""
    values = [int(value) for value in np.unique(labels) if value]
    return [(value, part) for value in values for part in component_masks(labels == value)]


def _named(
    parts: Sequence[tuple[int, NDArray[np.bool_]]], names: Mapping[int, str], background: set[int]
) -> tuple[AnnotatedRegion, ...]:
    return tuple(
        AnnotatedRegion(names.get(value, str(value)), (), tuple(run_lengths(np.ascontiguousarray(part))), value)
        for value, part in parts
        if value not in background
    )


def read_nnunet(folder: Path) -> Annotations:
    """What the labels of a raw data set of nnU-Net say; one that cannot be read is named among the unusable ones.

    Raises:
        DataError: dataset.json is damaged, or the images are of a format that is not read here.
    """
    described = read_json(folder / "dataset.json", _DataSet, DATASET)
    if described.file_ending.lower() not in IMAGE_SUFFIXES:
        raise DataError(
            f"{folder}: its images end in {described.file_ending}; expected .png, .bmp or .tif: convert them"
        )
    lists = [name for name, value in described.labels.items() if isinstance(value, list)]
    if lists:
        raise DataError(
            f"{folder}/dataset.json: the label {lists[0]!r} joins several values; give each a label of its own"
        )
    names = {value: name for name, value in described.labels.items() if isinstance(value, int)}
    background = {value for value, name in names.items() if name in ("background", "ignore")}
    frames: list[AnnotatedFrame] = []
    unusable: list[Unusable] = []
    for path in sorted((folder / "labelsTr").glob(f"*{described.file_ending}")):
        try:
            labels = _label_image(path, None)
        except ImageError as error:
            unusable.append(Unusable.of(path, error))
            continue
        stem, size = path.name.removesuffix(described.file_ending), (labels.shape[0], labels.shape[1])
        several = (folder / "imagesTr" / f"{stem}_0001{described.file_ending}").is_file()
        fault = "its channels are in files of their own; join them to one image" if several else ""
        frames.append(
            AnnotatedFrame(f"imagesTr/{stem}_0000", size, _named(_parts(labels), names, background), True, fault)
        )
    return Annotations(frames, unusable, [])


def write_voc(out: Path, frames: Sequence[Written]) -> list[str]:
    """Write SegmentationClass/, SegmentationObject/, ImageSets/ and labelmap.txt beside JPEGImages/.

    Raises:
        DataError: A frame has more polyps than a palette has places.
    """
    sets = out / "ImageSets" / "Segmentation"
    for folder in (out / CLASSES, out / OBJECTS, sets):
        folder.mkdir(parents=True)
    hidden = []
    for frame in frames:
        if len(frame.regions) >= VOID:
            raise DataError(f"{frame.file}: has {len(frame.regions)} polyps; Pascal VOC holds at most {VOID - 1}")
        objects = np.zeros(frame.size, np.uint8)
        for place, region in enumerate(frame.regions, 1):
            pixels = region.pixels(frame.size)
            hidden += [frame.file] if objects[pixels].any() else []
            objects[pixels] = place
        _write_palette(out / OBJECTS / f"{frame.stem}.png", objects)
        _write_palette(out / CLASSES / f"{frame.stem}.png", (objects > 0).astype(np.uint8))
    write_text(sets / "train.txt", "".join(f"{frame.stem}\n" for frame in frames))
    write_text(out / "labelmap.txt", f"# label:color_rgb:parts:actions\nbackground:0,0,0::\n{POLYP}:128,0,0::\n")
    return _overlap_note(hidden, "Pascal VOC")


def write_nnunet(out: Path, frames: Sequence[Written]) -> list[str]:
    """Write labelsTr/ and dataset.json beside imagesTr/."""
    (out / "labelsTr").mkdir()
    several = 0
    for frame in frames:
        labels = np.zeros(frame.size, np.uint8)
        for region in frame.regions:
            labels[region.pixels(frame.size)] = 1
        several += len(frame.regions) > 1
        case = frame.stem.removesuffix("_0000")
        write_bytes(out / "labelsTr" / f"{case}.png", _png(PillowImage.fromarray(labels)))
    described = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, POLYP: 1},
        "numTraining": len(frames),
        "file_ending": ".png",
    }
    write_text(out / "dataset.json", json.dumps(described, indent=2) + "\n")
    return (
        [f"{plural(several, 'frame has', 'frames have')} several polyps, which nnU-Net cannot keep apart"]
        if several
        else []
    )


def write_masks(out: Path, frames: Sequence[Written]) -> list[str]:
    """Write masks/ beside images/: 0 and 255."""
    (out / "masks").mkdir()
    several = 0
    for frame in frames:
        mask = np.zeros(frame.size, np.uint8)
        for region in frame.regions:
            mask[region.pixels(frame.size)] = 255
        several += len(frame.regions) > 1
        write_bytes(out / "masks" / f"{frame.stem}.png", _png(PillowImage.fromarray(mask)))
    return (
        [
            f"{plural(several, 'frame has', 'frames have')} "
            "several polyps; a mask keeps only those apart that do not touch"
        ]
        if several
        else []
    )


def _overlap_note(hidden: Sequence[str], name: str) -> list[str]:
    return (
        [f"{len(hidden)} polyps overlap, which {name} cannot hold; the later one covers: {hidden[0]}"] if hidden else []
    )


def _write_palette(path: Path, places: NDArray[np.uint8]) -> None:
    picture = PillowImage.frombytes("P", (places.shape[1], places.shape[0]), places.tobytes())
    picture.putpalette([value for colour in voc_colours() for value in colour])
    write_bytes(path, _png(picture))


def _png(picture: PillowImage.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()
