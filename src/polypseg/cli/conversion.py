"""`polypseg data convert`: a data set in another format."""

from pathlib import Path
from typing import Annotated

import typer

from polypseg.cli.console import console, one_line_errors, track
from polypseg.cli.mask_options import MaskChannel, PolypColours, PolypLabels, PolypValues


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
    """Convert a data set: masks and the annotations of labelling tools, each into the other.

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
    from polypseg.data.conversion import convert as convert_data
    from polypseg.preprocess import mask_rule

    rule = mask_rule(polyp_values, polyp_colours, mask_channel, polyp_labels)
    done = convert_data(source, out, to, images, rule, (empty_masks, skip_bad), track)
    console.print(
        f"{done.source}: wrote {done.num_frames} frames with {done.num_polyps} polyps to {out} ({to}); "
        f"{done.num_empty} frames show none",
        markup=False,
    )
    for note in done.notes:
        console.print(f"note: {note}", markup=False)
