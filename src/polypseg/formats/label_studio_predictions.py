"""What a model proposes, as Label Studio takes it from a machine learning backend: brushes of a labelling interface.

Decisions:
- The label that means polyp is the one of that name, or the only one; which of several others is meant, nobody can say.
- Each polyp is a region of its own, pixel for pixel.

Reference:
    https://labelstud.io/guide/ml_create (requests and answers), https://labelstud.io/tags/brushlabels (regions).
"""

from typing import NamedTuple

from pydantic import BaseModel

from polypseg.arrays import Mask
from polypseg.errors import DataError
from polypseg.formats.annotations import POLYP, annotation_file
from polypseg.formats.label_studio_runs import encode
from polypseg.formats.outlines import component_masks
from polypseg.formats.xml import parse_xml

KIND = annotation_file("labelling interface of Label Studio (XML)")
NAME = "the labelling interface"


class Brush(NamedTuple):
    """Where brushes go in a labelling interface.

    Attributes:
        name: Of the control (`from_name`).
        image: Of the object that it labels (`to_name`).
        key: Of a task's data, which holds the image's address.
        label: That means polyp.
    """

    name: str
    image: str
    key: str
    label: str


class BrushValue(BaseModel):
    """The pixels of a region."""

    format: str = "rle"
    rle: list[int]
    brushlabels: list[str]


class BrushRegion(BaseModel):
    """A region of a prediction."""

    id: str
    type: str = "brushlabels"
    from_name: str
    to_name: str
    original_width: int
    original_height: int
    image_rotation: int = 0
    value: BrushValue


def brush_of(interface: str) -> Brush:
    """Where brushes go in a labelling interface.

    Args:
        interface: Its XML.

    Raises:
        DataError: It is damaged, or has no brush of a label that can mean polyp.
    """
    root = parse_xml(interface, NAME, KIND)
    images = {tag.get("name", ""): tag.get("value", "").removeprefix("$") for tag in root.iter("Image")}
    found = [tag for tag in root.iter("BrushLabels") if tag.get("toName") in images]
    if not found:
        raise DataError(
            f'{NAME}: has no brush for an image; add <BrushLabels name="brush" toName="image"><Label value="{POLYP}"/>'
            "</BrushLabels>"
        )
    for tag in found:
        labels = [label.get("value", "") for label in tag.iter("Label")]
        meant = [label for label in labels if label.casefold() == POLYP] or (labels if len(labels) == 1 else [])
        if meant:
            image = tag.get("toName", "")
            return Brush(tag.get("name", ""), image, images[image], meant[0])
    raise DataError(f"{NAME}: which label means polyp? Expected one called {POLYP}, or a single one")


def brush_regions(mask: Mask, brush: Brush) -> list[BrushRegion]:
    """The polyps of a mask (H, W) bool, a region each."""
    height, width = mask.shape
    return [
        BrushRegion(
            id=f"polyp-{number}",
            from_name=brush.name,
            to_name=brush.image,
            original_width=width,
            original_height=height,
            value=BrushValue(rle=encode(polyp), brushlabels=[brush.label]),
        )
        for number, polyp in enumerate(component_masks(mask), 1)
    ]
