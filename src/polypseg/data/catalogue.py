"""The public data sets, and the samples of a folder in any layout that is known (`layouts`).

Decisions:
- Where a folder holds several sub-sets, each sample's name begins with its sub-set's, so that names stay unique.
- A frame without a mask file counts as free of polyps only where the data set says so (PolypGen's negativeOnly)
  or the caller does (`empty_masks`); a forgotten folder of masks must not become a set of negatives.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from polypseg.data.annotated import annotated_samples, unknown_files
from polypseg.data.layouts import Part, recognise
from polypseg.data.project_frames import labelled_samples
from polypseg.data.samples import Fault, Sample, find_images, left_out, pair_samples
from polypseg.errors import DataError, PairingError, UsageError, listed, plural, unknown_name
from polypseg.formats.finding import TITLES
from polypseg.preprocess import AUTOMATIC, MaskRule, unicode_name


@dataclass(frozen=True)
class PublicDataSet:
    """A public data set.

    Attributes:
        name: As `polypseg data download` takes it.
        title: Its own name.
        content: What is in it.
        url: The archive; None where it cannot be had without asking or signing in.
        sha256: Of the archive, in hex; None until it is known.
        home: The page of its owners.
        terms_of_use: What the owners allow.
        citation: What the owners ask to be cited.
    """

    name: str
    title: str
    content: str
    url: str | None
    sha256: str | None
    home: str
    terms_of_use: str
    citation: str


PUBLIC_DATA_SETS = (
    PublicDataSet(
        name="kvasir-seg",
        title="Kvasir-SEG",
        content="1000 frames with a polyp and their masks, 332x487 to 1920x1072, about 46 MB",
        url="https://datasets.simula.no/downloads/kvasir-seg.zip",
        sha256=None,
        home="https://datasets.simula.no/kvasir-seg/",
        terms_of_use="For research and education only; any commercial use needs the owners' prior written permission.",
        citation='Jha et al., "Kvasir-SEG: A Segmented Polyp Dataset", MultiMedia Modeling (MMM) 2020',
    ),
    PublicDataSet(
        name="cvc-clinicdb",
        title="CVC-ClinicDB",
        content="612 frames of 29 sequences with a polyp and their masks, 384x288",
        url=None,
        sha256=None,
        home="https://polyp.grand-challenge.org/CVCClinicDB/",
        terms_of_use="For research and education only; commercial use is forbidden.",
        citation='Bernal et al., "WM-DOVA maps for accurate polyp highlighting in colonoscopy", CMIG 43, 2015',
    ),
    PublicDataSet(
        name="polypgen",
        title="PolypGen",
        content="3762 frames with masks from six centres (1537 single, 2225 in sequences) and 4275 without a polyp",
        url=None,
        sha256=None,
        home="https://www.synapse.org/Synapse:syn26376615 (free account needed)",
        terms_of_use="CC BY 4.0: any use, with the citation.",
        citation='Ali et al., "A multi-centre polyp detection and segmentation dataset", Scientific Data 10:75, 2023',
    ),
    PublicDataSet(
        name="bkai",
        title="BKAI-IGH NeoPolyp",
        content="1000 frames with a polyp and masks in two colours (neoplastic or not)",
        url=None,
        sha256=None,
        home="https://www.kaggle.com/c/bkai-igh-neopolyp (free account needed)",
        terms_of_use="For research and education, under the owners' terms; ask them before any other use.",
        citation='Lan et al., "NeoUNet: Towards Accurate Colon Polyp Segmentation and Neoplasm Detection", ISVC 2021',
    ),
    PublicDataSet(
        name="cp-child",
        title="CP-CHILD",
        content="close frames of children's colons with and without a polyp, 256x256, without masks",
        url=None,
        sha256=None,
        home="https://doi.org/10.1186/s12880-020-00482-3",
        terms_of_use="Published for research; see the owners' page before any other use.",
        citation='Wang et al., "An improved deep learning approach and its applications on colonic polyp images '
        'detection", BMC Medical Imaging 20:83, 2020',
    ),
)


def public_data_set(name: str) -> PublicDataSet:
    """The public data set of that name.

    Raises:
        UsageError: There is none.
    """
    by_name = {known.name: known for known in PUBLIC_DATA_SETS}
    if name not in by_name:
        raise UsageError(unknown_name("data set", name, by_name))
    return by_name[name]


def find_samples(
    folder: Path | str, empty_masks: bool = False, rule: MaskRule = AUTOMATIC
) -> tuple[list[Sample], list[Fault]]:
    """The samples of a data set's folder, in order of their names, and the files that do not pair.

    Args:
        folder: Kvasir-SEG, CVC-ClinicDB, PolypGen, PraNet's TrainDataset or TestDataset, any images/ + masks/, any
            folder of such folders, images with annotations (COCO, Label Studio, CVAT, LabelMe, VIA, YOLO, Pascal VOC,
            nnU-Net), a project of corrections (its labelled frames), or a folder of images alone.
        empty_masks: Images without a folder of masks show no polyp: the caller says so, nobody guesses.
        rule: What means polyp in the mask files, and which labels of annotations do.

    Returns:
        Samples with unique names; faults of unpaired files.

    Raises:
        PairingError: The folder is none of these, or it has images without masks and `empty_masks` is False.
        DataError: The file that tells the groups is damaged, or does not know every image; an annotation file is
            damaged, or has labels that are not known.
    """
    samples: list[Sample] = []
    faults: list[Fault] = []
    for part in recognise(Path(folder)).parts:
        found, unpaired = _part_samples(part, empty_masks, rule)
        faults += unpaired
        samples += [
            replace(sample, name=part.prefix + sample.name, centre=part.table.centres.get(sample.name, part.centre))
            for sample in with_groups(found, part)
        ]
    return sorted(samples, key=lambda sample: sample.name), faults


def with_groups(samples: Sequence[Sample], part: Part) -> list[Sample]:
    """The samples of a part of a data set, each with the group that the part's layout or its file of groups tells.

    Raises:
        DataError: The file of groups does not know every image.
    """
    ungrouped = [
        sample.image_path.name for sample in samples if part.table.groups and sample.name not in part.table.groups
    ]
    if ungrouped:
        folder = part.images if part.annotations else part.images.parent
        raise DataError(
            f"{folder}: {part.table.source} does not tell the group of {len(ungrouped)} of "
            f"{plural(len(samples), 'image')}; add them, or remove the file:{listed(ungrouped)}"
        )
    if part.project is not None:
        return list(samples)
    return [replace(sample, group=_group(part, sample.name)) for sample in samples]


def _group(part: Part, name: str) -> str | None:
    return part.prefix + part.table.groups[name] if name in part.table.groups else part.group


def _part_samples(part: Part, empty_masks: bool, rule: MaskRule) -> tuple[list[Sample], list[Fault]]:
    if part.project is not None:
        return labelled_samples(part.project)
    if part.masks is not None:
        return pair_samples(part.images, part.masks, rule or part.rule)
    if part.annotations is not None:
        return annotated_samples(part.annotations, rule, empty_masks)
    if not (part.is_negative or empty_masks):
        others = unknown_files([part.images, part.images.parent])
        if others:
            raise PairingError(
                f"{part.images}: images, but no folder of masks beside them, and {others[0]} is of no known annotation "
                f"format ({', '.join(TITLES.values())}); export it in one of these, or as masks/"
            )
        raise PairingError(
            f"{part.images}: images, but no folder of masks beside them; expected masks/ there, or, if none of these "
            "images shows a polyp, say so: polypseg data check --empty-masks, polypseg train --negatives DIR"
        )
    return [Sample(unicode_name(path.stem), path, None) for path in find_images(part.images)], left_out(part.images)
