"""`polypseg data`: get, make and check data sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polypseg.cli.console import console, messages, one_line_errors, track
from polypseg.cli.conversion import anonymise, convert
from polypseg.cli.dicom import dicom_frames, dicom_seg
from polypseg.cli.mask_options import MaskChannel, PolypColours, PolypLabels, PolypValues
from polypseg.errors import plural

if TYPE_CHECKING:
    from polypseg.data.catalogue import PublicDataSet
    from polypseg.data.checks import CheckFindings

SHOWN_PAIRS = 12
SHOWN_FAULTS = 20
SHOWN_SIZES = 6

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Download, draw, check, convert and anonymise data sets.",
)


@app.command()
@one_line_errors
def download(
    name: Annotated[
        str, typer.Argument(help="kvasir-seg; for cvc-clinicdb, polypgen, bkai and cp-child, print where to get them.")
    ],
    to: Annotated[
        Path | None, typer.Option(help="Target folder; must be new or empty.", show_default="data/NAME")
    ] = None,
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="Accept the owners' terms without a question.")
    ] = False,
    sha256: Annotated[str | None, typer.Option(help="Expected SHA-256 of the archive.")] = None,
    mirror: Annotated[
        str | None, typer.Option(envvar="POLYPSEG_MIRROR", help="Download the archive from this address instead.")
    ] = None,
) -> None:
    """Download a public data set and unpack it.

    Shows the owners' terms first. After an interruption, run the same command
    again to continue. The SHA-256 of the archive is checked, or printed if it
    is not known. The folder appears only when it is complete.

    [bold]Examples[/bold]

    polypseg data download kvasir-seg

    polypseg data download kvasir-seg --to elsewhere/kvasir --accept-terms
    """
    from polypseg.data.catalogue import public_data_set
    from polypseg.data.download import download as fetch_data_set

    known = public_data_set(name)
    target = to if to is not None else Path("data") / known.name
    if known.url is not None:
        _show_terms(known, accept_terms)
    got = fetch_data_set(known, target, sha256, mirror, track)
    console.print(f"{known.title} is in {got.folder}")
    console.print(f"SHA-256 of the archive: {got.sha256}" + ("" if got.was_checked else " (not known before)"))
    console.print(f"next: polypseg data check {got.folder}")


@app.command()
@one_line_errors
def check(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Data sets; several are also compared with each other.")
    ],
    negatives: Annotated[
        list[Path] | None, typer.Option(help="Folder of frames without a polyp and without masks; can be repeated.")
    ] = None,
    splits: Annotated[Path | None, typer.Option(help="Check leaks across this split (splits.json of a run).")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Write a picture of each pair of near-duplicates to this folder.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all findings to this JSON file.")] = None,
    empty_masks: Annotated[
        bool, typer.Option("--empty-masks", help="Accept data in which no mask contains a polyp.")
    ] = False,
    polyp_values: PolypValues = "",
    polyp_colours: PolypColours = "",
    mask_channel: MaskChannel = "",
    polyp_labels: PolypLabels = "",
    bits: Annotated[
        int,
        typer.Option(
            min=-1,
            max=32,
            help="Also compare pairs whose 64-bit perceptual hashes differ in at most this many bits; -1: no search.",
        ),
    ] = 4,
    strict: Annotated[bool, typer.Option("--strict", help="End with exit code 1 if there are leaks.")] = False,
) -> None:
    """Check data sets: sizes, polyp areas, unusable files, near-duplicates and leaks.

    Recognises Kvasir-SEG, CVC-ClinicDB, PolypGen, PraNet's TrainDataset and
    TestDataset, any folder with images/ and masks/, and images with annotations
    (COCO, Label Studio, CVAT, LabelMe, VIA, YOLO, Pascal VOC, nnU-Net).

    A leak is a pair of images that show the same frame or scene (also resized,
    compressed, cropped, rotated or mirrored) in two splits or two data sets, or
    a group (video sequence) in two splits. Without --splits, Kvasir-SEG is
    checked against its official split 880/120.

    A mask is black and one other value or colour. If the files hold more, say which values or colours are polyp
    (--polyp-values, --polyp-colours) or which channel holds the mask (--mask-channel); train and evaluate have the same
    options.

    For several folders, the sizes of the splits are shown by folder, as polypseg train makes them by default.

    The exit code is 1 if a file cannot be used, or if there are other files among the images.

    [bold]Examples[/bold]

    polypseg data check data/kvasir-seg

    polypseg data check DATA --splits runs/kvasir/splits.json --pictures leaks

    polypseg data check data/kvasir-seg data/cvc-clinicdb --json findings.json

    polypseg data check data/kvasir-seg data/bkai --negatives data/cp-child

    polypseg data check data/bkai --polyp-colours "#ff0000,#00ff00"
    """
    from polypseg.data.checks import inspect
    from polypseg.data.leak_pictures import write_pictures
    from polypseg.preprocess import mask_rule
    from polypseg.records.atomic import write_text
    from polypseg.records.reading import as_json
    from polypseg.records.split import load_split

    split = load_split(splits) if splits is not None else None
    rule = mask_rule(polyp_values, polyp_colours, mask_channel, polyp_labels)
    findings = inspect(folders, split, empty_masks, bits, track, rule, negatives or [])
    _show_samples(findings)
    _show_planned(findings)
    _show_faults(findings)
    if bits >= 0:
        _show_leaks(findings)
    if pictures is not None:
        written = write_pictures(findings.leaks, pictures, track)
        console.print(f"wrote {len(written)} pictures to {pictures}")
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        write_text(json_file, as_json(findings.record()) + "\n")
        console.print(f"wrote {json_file}")
    leaking = any(leak.crosses for leak in findings.leaks) or bool(findings.split_groups)
    if findings.faults or (strict and leaking):
        raise typer.Exit(1)


app.command()(convert)
app.command()(anonymise)
app.command("dicom-frames")(dicom_frames)
app.command("dicom-seg")(dicom_seg)


@app.command()
@one_line_errors
def synth(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Target folder; must be new or empty.")],
    num_images: Annotated[int, typer.Option(min=1, help="Number of frames, in sequences of 4.")] = 120,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    smallest: Annotated[int, typer.Option(min=16, help="Smallest height and width in pixels.")] = 224,
    largest: Annotated[int, typer.Option(min=16, help="Largest height and width in pixels.")] = 352,
    empty_share: Annotated[float, typer.Option(min=0, max=1, help="Share of the sequences without a polyp.")] = 0.0,
    procedure: Annotated[
        bool, typer.Option("--procedure", help="Draw whole procedures instead of single frames.")
    ] = False,
    num_procedures: Annotated[int, typer.Option(min=1, help="With --procedure: number of procedures.")] = 2,
    seconds: Annotated[float, typer.Option(min=1, help="With --procedure: length of each.")] = 60.0,
    frame_rate: Annotated[float, typer.Option(min=1, help="With --procedure: frames per second.")] = 25.0,
    num_lesions: Annotated[int, typer.Option(min=0, max=50, help="With --procedure: polyps in each.")] = 3,
    side: Annotated[int, typer.Option(min=16, help="With --procedure: height and width in pixels.")] = 256,
) -> None:
    """Draw a synthetic data set: colonoscopy-like frames with exact masks, made by formulas.

    Writes OUT/images, OUT/masks and OUT/sequences.csv. Use it to try things: a
    figure on these frames says nothing about patients.

    [bold]Example[/bold]

    polypseg data synth demo/data --num-images 160 --empty-share 0.1

    polypseg data synth demo/procedures --procedure --seconds 120

    With --procedure: a camera moves through a tube, and polyps come, turn, hide behind folds and leave. Writes
    OUT/videos, OUT/masks (the grey level is the polyp's number) and OUT/lesions.json (COCO boxes with lesion ids).
    """
    refuse_other_kind(context, procedure)
    if procedure:
        from polypseg.data.procedure import ProcedureRequest, make_procedures

        request = ProcedureRequest(seconds, frame_rate, side, num_lesions)
        names = make_procedures(out, num_procedures, seed, request, track)
        console.print(f"wrote {len(names)} procedures of {seconds:g} s, their masks and lesions.json to {out}")
        return
    from polypseg.data.synthetic import make_synthetic

    samples = make_synthetic(out, num_images, seed, (smallest, largest), empty_share, track)
    sequences = len({sample.group for sample in samples})
    console.print(f"wrote {plural(len(samples), 'frame')} of {plural(sequences, 'sequence')} and their masks to {out}")


FOR_FRAMES = ("num_images", "smallest", "largest", "empty_share")
FOR_PROCEDURES = ("num_procedures", "seconds", "frame_rate", "num_lesions", "side")


def refuse_other_kind(context: typer.Context, is_procedure: bool) -> None:
    """Nothing, if no option was typed that would not act on what is drawn.

    Raises:
        UsageError: One was.
    """
    from polypseg.cli.console import typed
    from polypseg.errors import UsageError

    if options := typed(context, FOR_FRAMES if is_procedure else FOR_PROCEDURES):
        told = "single frames; leave it out with --procedure" if is_procedure else "whole procedures; add --procedure"
        raise UsageError(f"{', '.join(options)}: for {told}")


def _show_terms(known: "PublicDataSet", accepted: bool) -> None:
    """Print the terms; stop unless they are accepted."""
    from polypseg.errors import UsageError

    console.print(f"[bold]{known.title}[/bold]: {known.content}")
    console.print(f"owners' page: {known.home}")
    console.print(f"terms: {known.terms_of_use}")
    console.print(f"cite: {known.citation}")
    if accepted:
        return
    if not messages.is_terminal:
        raise UsageError("the owners' terms have to be accepted: add --accept-terms")
    if not typer.confirm("Do you accept these terms?", default=False, err=True):
        raise UsageError("the terms were not accepted; nothing was downloaded")


def _show_samples(findings: "CheckFindings") -> None:
    """Counts, sizes, areas and splits."""
    from collections import Counter

    from rich.table import Table

    from polypseg.records.split import SPLIT_NAMES

    sources = Counter(found.source for found in findings.samples)
    for source, count in sources.items():
        splits = Counter(s.split for s in findings.samples if s.source == source and s.split is not None)
        told = ", ".join(f"{name} {splits[name]}" for name in SPLIT_NAMES if splits[name])
        console.print(f"[bold]{_escaped(source)}[/bold]: {plural(count, 'sample')}" + (f" ({told})" if told else ""))
    groups = {(found.source, found.sample.group) for found in findings.samples if found.sample.group is not None}
    if groups:
        console.print(f"groups (sequences): {len(groups)}")
    sizes = findings.sizes()
    if sizes:
        common = ", ".join(f"{height}x{width} ({number})" for (height, width), number in sizes.most_common(SHOWN_SIZES))
        more = f" and {len(sizes) - SHOWN_SIZES} more sizes" if len(sizes) > SHOWN_SIZES else ""
        console.print(f"sizes, height x width: {common}{more}")
    areas = findings.areas()
    most = max(number for _, number in areas)
    if most:
        table = Table("polyp area", "images", "", box=None, pad_edge=False)
        for label, number in areas:
            table.add_row(label, str(number), "█" * round(30 * number / most))
        console.print(table)
    console.print(f"without a polyp: {len(findings.empty)}")
    soft = sum(found.is_soft for found in findings.samples)
    if soft:
        console.print(f"masks with other values than 0 and 255: {soft}")
    values = findings.polyp_values()
    if values and list(values) != ["255"]:
        console.print(
            "polyp is: "
            + ", ".join(f"{_escaped(value)} in {plural(number, 'mask')}" for value, number in values.items())
        )
    for note in findings.notes[:SHOWN_FAULTS]:
        console.print(f"[yellow]note:[/yellow] {_escaped(note)}")


def _show_planned(findings: "CheckFindings") -> None:
    """The sizes of the splits by source, of several folders."""
    from rich.table import Table

    from polypseg.data.planned_split import SIDES

    planned = findings.planned
    if planned is None:
        return
    if planned.refusal:
        console.print(f"[yellow]note:[/yellow] not trained on together as they are: {_escaped(planned.refusal)}")
        return
    table = Table("as polypseg train splits them", box=None, pad_edge=False)
    for side in SIDES:
        table.add_column(side, justify="right")
    for name, counts in planned.counts.items():
        table.add_row(_escaped(name), *(str(counts[side]) for side in SIDES))
    table.add_row("all", *(str(sum(counts[side] for counts in planned.counts.values())) for side in SIDES))
    console.print(table)


def _show_faults(findings: "CheckFindings") -> None:
    faults = findings.faults
    if not faults:
        console.print("[green]every file can be used[/green]")
        return
    console.print(f"[bold red]cannot be used: {len(faults)}[/bold red]")
    for fault in faults[:SHOWN_FAULTS]:
        console.print(f"  {_escaped(fault.name)}: {_escaped(fault.reason)}")
    if len(faults) > SHOWN_FAULTS:
        console.print(f"  … and {len(faults) - SHOWN_FAULTS} more (all of them with --json)")


def _show_leaks(findings: "CheckFindings") -> None:
    """Near-duplicates by where they lie; the crossing ones by name."""
    from collections import Counter

    identical = sum(leak.pair.is_identical for leak in findings.leaks)
    console.print(
        f"near-duplicates: {plural(len(findings.leaks), 'pair')}, {identical} of them identical in every pixel"
    )
    for where, number in Counter(leak.where for leak in findings.leaks).items():
        style = "[bold yellow]" if where.startswith("across") else "[default]"
        console.print(f"  {style}{where}: {number}[/]")
    crossing = [leak for leak in findings.leaks if leak.crosses]
    for leak in crossing[:SHOWN_PAIRS]:
        ends = (f"{end.source}/{end.sample.name}" + (f" ({end.split})" if end.split else "") for end in leak[:2])
        console.print(f"    {leak.pair.similarity:.2f}  {_escaped(' = '.join(ends))}")
    if len(crossing) > SHOWN_PAIRS:
        console.print(f"    … and {len(crossing) - SHOWN_PAIRS} more (all of them with --json or --pictures)")
    for group, splits in findings.split_groups.items():
        console.print(f"  [bold yellow]group {_escaped(group)} is in {' and '.join(splits)}[/]")


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
