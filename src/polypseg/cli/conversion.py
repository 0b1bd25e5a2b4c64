"""`polypseg data convert` and `anonymise`: a data set in another format, or without what identifies the patient."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polypseg.cli.console import console, one_line_errors, track
from polypseg.cli.mask_options import MaskChannel, PolypColours, PolypLabels, PolypValues
from polypseg.errors import plural

if TYPE_CHECKING:
    from polypseg.annotate.anonymise import Done

SHOWN_NAMES = 10


@one_line_errors
def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="A data set in any layout that data check knows, or a JSON or XML file."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Target folder; must be new or empty.")],
    to: Annotated[
        str,
        typer.Option(metavar="FORMAT", help="coco, cvat, label-studio, labelme, masks, nnunet, voc or yolo."),
    ],
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The images of an annotation file, if not beside it.")
    ] = None,
    empty_masks: Annotated[
        bool, typer.Option("--empty-masks", help="Images without a mask or a region show no polyp.")
    ] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Skip what cannot be used, and list it.")] = False,
    polyp_values: PolypValues = "",
    polyp_colours: PolypColours = "",
    mask_channel: MaskChannel = "",
    polyp_labels: PolypLabels = "",
) -> None:
    """Convert a data set between masks and the annotation formats of labelling tools.

    Reads masks in any layout that data check knows, COCO, Label Studio (JSON),
    CVAT (XML), LabelMe, VGG Image Annotator 2, YOLO polygons, Pascal VOC and
    nnU-Net. The images are copied, and groups are kept in groups.csv.

    Every region becomes a polyp; other labels than polyp must be named
    (--polyp-labels). What the new format cannot hold is printed.

    [bold]Examples[/bold]

    polypseg data convert data/kvasir-seg kvasir-coco --to coco

    polypseg data convert export.json labelled --to masks --images frames

    polypseg data convert cvat-export labelled --to yolo --polyp-labels "adenoma,hyperplastic"
    """
    from polypseg.data.conversion import ConversionOptions
    from polypseg.data.conversion import convert as convert_data
    from polypseg.preprocess import mask_rule

    rule = mask_rule(polyp_values, polyp_colours, mask_channel, polyp_labels)
    done = convert_data(source, out, to, ConversionOptions(images, rule, empty_masks, skip_bad), track)
    console.print(
        f"{done.source}: wrote {plural(done.num_frames, 'frame')} with {plural(done.num_polyps, 'polyp')} "
        f"to {out} ({to}); "
        f"{plural(done.num_empty, 'frame shows', 'frames show')} none",
        markup=False,
    )
    for note in done.notes:
        console.print(f"note: {note}", markup=False)


@one_line_errors
def anonymise(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="A data set, a folder of images and videos, or one file.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Target folder; must be new or empty.")],
    blank_text: Annotated[
        bool, typer.Option("--blank-text", help="Also blank the lines of text that are found inside the picture.")
    ] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Skip what cannot be used, and list it.")] = False,
    polyp_values: PolypValues = "",
    polyp_colours: PolypColours = "",
    mask_channel: MaskChannel = "",
    polyp_labels: PolypLabels = "",
) -> None:
    """Remove what identifies the patient: text around the picture, metadata, names, sound.

    Blanks everything outside the endoscope's picture, writes the pixels alone
    (PNG; videos as H.264 without sound, tags and chapters), and gives every file
    a random number for a name. Masks and groups are kept. OUT/report.csv says
    what was removed from each file; OUT.key.csv, beside the folder, says which
    file became which: keep it apart.

    Text inside the picture or over its edge is reported, not removed, unless you
    add --blank-text. Only bright lines of four letters or more are found: look at
    the frames before you pass them on.

    [bold]Example[/bold]

    polypseg data anonymise recordings shared --blank-text
    """
    from polypseg.annotate.anonymise import anonymise as anonymise_data
    from polypseg.preprocess import mask_rule

    rule = mask_rule(polyp_values, polyp_colours, mask_channel, polyp_labels)
    done = anonymise_data(source, out, rule, blank_text, skip_bad, track=track)
    console.print(
        f"wrote {plural(len(done.rows), 'file')} to {out}; what was removed: {out / 'report.csv'}", markup=False
    )
    _show_removed(done)
    console.print(f"the key: {done.key}; keep it apart from the folder", markup=False)


def _show_removed(done: "Done") -> None:
    from collections import Counter

    kinds = Counter(kind for row in done.rows for kind in row.removed)
    if kinds:
        told = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common(12))
        console.print(f"metadata removed: {told}", markup=False)
    blanked = sum(row.text_blanked > 0 for row in done.rows)
    console.print(f"lines of text blanked in {plural(blanked, 'file')}")
    for column, what in (
        ("text_left", "text is left inside the picture or over its edge; look at them, or use --blank-text"),
        ("polyp_blanked_px", "a part of a polyp was blanked; look at them"),
    ):
        names = [row.name for row in done.rows if getattr(row, column)]
        if names:
            shown = ", ".join(names[:SHOWN_NAMES]) + (", …" if len(names) > SHOWN_NAMES else "")
            console.print(f"[bold yellow]{plural(len(names), 'file')}: {what}[/]: {shown}")
