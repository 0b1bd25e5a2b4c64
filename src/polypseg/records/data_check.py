"""The file of `polypseg data check --json`: what there is to know about one or several data sets."""

from polypseg.records.evaluation_record import LeftOutImage
from polypseg.records.reading import Saved


class PlannedSplitRecord(Saved):
    """How a training on several folders would split them.

    Attributes:
        made_by: The rules, in words.
        images: By source, the number of its images on each side.
        refused: Why they cannot be trained on together; None where they can.
    """

    made_by: str = ""
    images: dict[str, dict[str, int]] | None = None
    refused: str | None = None


class NearDuplicate(Saved):
    """Two images that show the same.

    Attributes:
        where: Whether they are across splits or data sets, or within one.
        first: Path of the one.
        first_split: Its split; None where unknown.
        second: Path of the other.
        second_split: Its split.
        similarity: Correlation after alignment.
        orientation: Of the second to the first.
        is_identical: Whether they have the same bytes or pixels.
    """

    where: str
    first: str
    first_split: str | None
    second: str
    second_split: str | None
    similarity: float
    orientation: str
    is_identical: bool


class DataCheck(Saved):
    """What was found.

    Attributes:
        num_samples: Pairs of image and mask.
        splits: Number of samples by split, where a manifest tells.
        planned_split: Of several folders without a manifest.
        sizes: Number of images by height and width.
        polyp_areas: Number of polyps by class of area.
        without_polyp: Names of samples.
        soft_masks: Number of masks with grey levels.
        polyp_values: Number of masks by the value or colour that means polyp.
        notes: What a user should know besides.
        faults: What would stop a training.
        near_duplicates: Those that cross a border first.
        groups_in_several_splits: Splits by group.
    """

    num_samples: int
    splits: dict[str, int]
    planned_split: PlannedSplitRecord | None = None
    sizes: dict[str, int]
    polyp_areas: dict[str, int]
    without_polyp: tuple[str, ...]
    soft_masks: int
    polyp_values: dict[str, int]
    notes: tuple[str, ...]
    faults: tuple[LeftOutImage, ...]
    near_duplicates: tuple[NearDuplicate, ...]
    groups_in_several_splits: dict[str, tuple[str, ...]]
