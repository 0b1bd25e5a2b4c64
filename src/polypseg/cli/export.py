"""`polypseg export`: one file for other programs, proved to be its source."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    source: Annotated[Path, typer.Argument(metavar="RUN|MODEL.keras", help="A run folder, or a Keras file.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="The file; its ending says what: .onnx, .xml (OpenVINO IR), .tflite (LiteRT)."
        ),
    ],
    precision: Annotated[
        str,
        typer.Option(metavar="NAME", help="fp32; fp16: weights of half the size; int8: the fastest, calibrated."),
    ] = "fp32",
    attention: Annotated[
        bool, typer.Option("--attention/--no-attention", help="Give the gates' coefficients as outputs too.")
    ] = True,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Where the run's images are now; of a Keras file: images and masks that nothing is tested on."
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="NAME", help="Of int8: onnxruntime, nncf, or auto for the faster of both.")
    ] = "auto",
    any_size: Annotated[
        bool, typer.Option("--any-size", help="Other heights and widths too, for other programs (ONNX and OpenVINO).")
    ] = False,
    name: Annotated[str, typer.Option(help="Of the model.", show_default="the run's")] = "",
    model_version: Annotated[str, typer.Option(help="Of the model.")] = "",
    licence: Annotated[str, typer.Option(help="Of the weights.", show_default="not stated")] = "",
) -> None:
    """Write a model as one file that says all of itself, after proving that it still is that model.

    The file holds input size, normalisation, threshold and where it comes from, training data, split, figures and
    terms. polypseg predict, evaluate, benchmark and serve run it without a training framework.

    fp32 must give the probabilities of Keras to 1e-4, on synthetic and on the run's validation images; fp16 and int8
    must keep the mean Dice over the validation images to 0.002, as they are and perturbed. Else nothing is written. The
    test split is never opened.

    [bold]Examples[/bold]

    polypseg export runs/kvasir -o kvasir.onnx

    polypseg export runs/kvasir -o kvasir-int8.onnx --precision int8

    polypseg export best.keras -o best.xml --precision fp16
    """
    from polypseg.cli.console import console, import_keras_quietly, messages, track
    from polypseg.export.targets import check_installed, target_of

    check_installed(target_of(out))
    import_keras_quietly("export")
    from polypseg.export.onnx import ExportOptions, export_model

    options = ExportOptions(precision, attention, any_size, method, name, model_version, licence)
    exported = export_model(source, out, options, data, track)
    facts = exported.facts
    for note in exported.notes:
        messages.print(f"[yellow]note:[/yellow] {note}")
    console.print(
        f"{facts.name}: {facts.size} px, {facts.precision}, threshold {facts.threshold:.4g} ({facts.threshold_source})",
        markup=False,
    )
    dice = "" if facts.dice_change is None else f", change of the mean Dice {facts.dice_change:+.4f}"
    console.print(
        f"proved on {facts.proved_on}: largest difference from Keras {facts.largest_difference:.2g}{dice}", markup=False
    )
    console.print(f"wrote {exported.path} ({exported.num_bytes / 1e6:.1f} MB)", markup=False)
