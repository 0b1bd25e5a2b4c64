"""`polypseg robustness`: the corruption benchmark for a model, or for another program's maps."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polypseg.cli.prediction_options import Threshold
from polypseg.errors import plural

if TYPE_CHECKING:
    from polypseg.data.samples import Sample
    from polypseg.records.robustness import Robustness


def robustness(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="A run folder, a model file or an included model.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of images and masks.")] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Folder of another program's maps: one folder per set, as smoke-3, named as --write does."),
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="Write the corrupted images to this folder, for other programs, and stop.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="corruptions.json of the model to which errors are relative.")
    ] = None,
    names: Annotated[Path | None, typer.Option(help="Use only the names in this text file, one per line.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of images, spread evenly over the folder.")
    ] = None,
    threshold: Threshold = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for corruptions.json.")] = None,
) -> None:
    """Measure a model on corrupted images: 15 corruptions (blur, smoke, blood, overlays, …) of 5 strengths.

    Every model sees the same corrupted images. The mean corruption error is relative to a baseline: measure the
    baseline first, then name its corruptions.json.

    [bold]Examples[/bold]

    polypseg robustness runs/unet --data data/kvasir-seg --names test.txt -o robustness/unet

    polypseg robustness runs/attention --data data/kvasir-seg --names test.txt --baseline robustness/unet

    polypseg robustness --data data/cvc-clinicdb --write corrupted/

    polypseg robustness --data data/cvc-clinicdb --predictions maps/ --baseline robustness/unet -o robustness/other
    """
    from polypseg.cli.console import console, import_keras_for, track
    from polypseg.errors import UsageError
    from polypseg.evaluate.robustness import by_maps, by_model, measure_robustness, write_corrupted
    from polypseg.predict.engines.packaged import resolve
    from polypseg.predict.predictor import PredictOptions, load
    from polypseg.records.robustness import read_robustness, write_robustness

    if data is None:
        raise UsageError("name --data: a folder of images and masks")
    if sum(given is not None for given in (model, predictions, write)) != 1:
        raise UsageError("name one of: a model, --predictions FOLDER, or --write FOLDER")
    if write is not None and (baseline is not None or threshold is not None or out is not None):
        raise UsageError("--write only writes images; leave out --baseline, --threshold and --out")
    samples = _samples(data, names, limit)
    if write is not None:
        console.print(f"wrote {len(list(write_corrupted(samples, write, track)))} folders of images to {write}")
        return
    if predictions is not None:
        segment, title = by_maps(predictions, 0.5 if threshold is None else threshold), predictions.name
    else:
        path = resolve(model)
        import_keras_for(path)
        segment, title = by_model(load(path, options=PredictOptions(threshold))), path.stem
    against = None if baseline is None else read_robustness(baseline)
    record = measure_robustness(title, samples, segment, track, against)
    _show(record)
    console.print(f"wrote {write_robustness(out or Path('robustness') / title, record)}", markup=False)


def _samples(data: Path, names: Path | None, limit: int | None) -> "list[Sample]":
    """The images of a folder, or those of them that a file names; of these so many, spread evenly."""
    from polypseg.data.catalogue import find_samples
    from polypseg.data.samples import refuse
    from polypseg.evaluate.selection import keep_named

    samples, faults = find_samples(data)
    refuse(faults, skip_bad=False)
    samples = keep_named(samples, names)
    return samples[:: max(1, len(samples) // limit)][:limit] if limit else samples


def _show(record: "Robustness") -> None:
    from rich.table import Table

    from polypseg.cli.console import console

    table = Table("corruption", *(f"{strength}" for strength in range(1, 6)), "error", box=None, pad_edge=False)
    for corruption, values in record.dice.items():
        error = "" if record.corruption_error is None else f"{record.corruption_error[corruption]:.3f}"
        table.add_row(corruption, *(f"{value:.3f}" for value in values), error)
    console.print(table)
    console.print(
        f"mean Dice of {plural(record.num_images, 'image')}: {record.clean:.4f} as they are, "
        f"{record.mean_dice:.4f} corrupted"
    )
    if record.mean_corruption_error is not None:
        console.print(f"mean corruption error {record.mean_corruption_error:.4f}, relative to {record.baseline}")
