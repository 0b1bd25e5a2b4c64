"""`polypseg data dicom-frames` and `dicom-seg`: DICOM in, and masks out as DICOM SEG."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from polypseg.cli.console import console, one_line_errors, track
from polypseg.cli.mask_options import MaskChannel, PolypColours, PolypLabels, PolypValues
from polypseg.errors import plural


class DrawnBy(StrEnum):
    """Who drew the masks (`annotate.dicom_segmentation.Origin`)."""

    automatic = "automatic"
    semiautomatic = "semiautomatic"
    manual = "manual"


@one_line_errors
def dicom_frames(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A DICOM file, or a folder of them.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Target folder; must be new or empty.")],
    polyp_labels: PolypLabels = "",
) -> None:
    """Write the frames of DICOM files as images, with masks where there are segmentations.

    Reads endoscopy images, multi-frame images and videos: uncompressed, RLE,
    JPEG, JPEG-LS, JPEG 2000, MPEG-2, H.264 and HEVC. Writes OUT/images, OUT/masks
    for frames that a DICOM SEG refers to, groups.csv (a file is a group), and
    dicom.csv, which dicom-seg needs. The names are numbers, but dicom.csv holds
    UIDs and paths: use data anonymise before you pass frames on.

    [bold]Example[/bold]

    polypseg data dicom-frames study frames
    """
    from polypseg.annotate.dicom_study import extract_frames
    from polypseg.preprocess import mask_rule

    done = extract_frames(source, out, mask_rule(labels=polyp_labels), track)
    console.print(
        f"wrote {plural(done.num_frames, 'frame')} to {out}, {done.num_masks} of them with a mask", markup=False
    )
    for line in done.passed_over:
        console.print(f"note: {line}", markup=False)


@one_line_errors
def dicom_seg(
    masks: Annotated[Path, typer.Argument(metavar="MASKS", help="Folder of masks, named as the frames.")],
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="dicom.csv, as dicom-frames wrote it.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Target folder; must be new or empty.")],
    drawn_by: Annotated[
        DrawnBy, typer.Option(help="automatic: by a model; semiautomatic: corrected; manual: by a person.")
    ] = DrawnBy.automatic,
    model: Annotated[str, typer.Option(help="Name of the model that made the masks.")] = "polyp-lite",
    polyp_values: PolypValues = "",
    polyp_colours: PolypColours = "",
    mask_channel: MaskChannel = "",
) -> None:
    """Write masks as DICOM SEG objects that refer to the frames they were drawn on.

    Each region is a segment, coded as polyp of colon (SNOMED CT 68496003).
    Patient and study are copied from the originals, which must still be where
    dicom-frames found them. A mask without a polyp gives no file.

    [bold]Examples[/bold]

    polypseg predict polyp-lite frames/images -o predicted

    polypseg data dicom-seg predicted/masks frames/dicom.csv seg
    """
    from polypseg import __version__
    from polypseg.annotate.dicom_segmentation import Maker, write_segmentations
    from polypseg.preprocess import mask_rule

    rule = mask_rule(polyp_values, polyp_colours, mask_channel)
    name = "" if drawn_by is DrawnBy.manual else model
    maker = Maker(drawn_by.name.upper(), name, __version__)  # type: ignore[arg-type]
    num_written, num_empty = write_segmentations(masks, table, out, maker, rule, track)
    console.print(
        f"wrote {plural(num_written, 'DICOM SEG file')} to {out}; {plural(num_empty, 'mask shows', 'masks show')} "
        f"no polyp",
        markup=False,
    )
