"""`polypseg export`: one file for other programs, proved to be its source."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    source: Annotated[
        str,
        typer.Argument(metavar="RUN|MODEL", help="A run folder, a .keras or .onnx file, or an included model."),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Output file: .onnx, .xml (OpenVINO IR) or .tflite (LiteRT)."),
    ],
    precision: Annotated[
        str,
        typer.Option(metavar="NAME", help="fp32, fp16 (half the file size) or int8 (fastest, calibrated)."),
    ] = "fp32",
    attention: Annotated[
        bool, typer.Option("--attention/--no-attention", help="Add the attention of each level as outputs.")
    ] = True,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run's images, if it was moved; for a .keras file: images and masks, no test data; for "
            "an .onnx file or an included model: the images that it was trained on."
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="NAME", help="Quantiser for int8: onnxruntime, nncf, or auto (the faster one).")
    ] = "auto",
    any_size: Annotated[
        bool,
        typer.Option("--any-size", help="Accept other heights and widths, for other programs (ONNX and OpenVINO)."),
    ] = False,
    name: Annotated[str, typer.Option(help="Name of the model.", show_default="the run's")] = "",
    model_version: Annotated[str, typer.Option(help="Version of the model.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the weights.", show_default="not stated")] = "",
    second_look: Annotated[
        bool,
        typer.Option(
            "--second-look/--no-second-look",
            help="For int8 in .onnx: images on which 8 bits may decide otherwise are predicted again in float.",
        ),
    ] = True,
) -> None:
    """Export a model as one self-describing file, and check it against its source.

    The file contains input size, normalisation, threshold, training data, split, figures and terms. polypseg predict,
    evaluate, benchmark and serve run it without a training framework.

    The file is checked before it is written: fp32 probabilities may differ from Keras by at most 1e-4, on synthetic and
    validation images; fp16 and int8 may change the mean Dice of the validation images by at most 0.002, in each engine
    and on AVX2 too. Otherwise nothing is written. The test split is not used. int8 weights are rounded so that the
    integers are the same on every processor; where that costs too much, some layers stay in float, and the file says
    how many.

    [bold]Examples[/bold]

    polypseg export runs/kvasir -o kvasir.onnx

    polypseg export runs/kvasir -o kvasir-int8.onnx --precision int8

    polypseg export best.keras -o best.xml --precision fp16

    polypseg export polyp-lite -o polyp-lite-fp32.onnx

    polypseg export polyp-lite -o fast.onnx --precision int8 --no-second-look
    """
    from polypseg.cli.console import console, import_keras_quietly, messages, track
    from polypseg.cli.models import engine_words
    from polypseg.export.targets import check_installed, target_of
    from polypseg.predict.engines.packaged import resolve

    path = resolve(source)
    target = target_of(out)
    is_exported = path.suffix.lower() == ".onnx"
    check_installed(target, is_exported)
    if not is_exported:
        import_keras_quietly("export")
    from polypseg.export.onnx import ExportOptions, export_model

    options = ExportOptions(precision, attention, any_size, method, name, model_version, licence, second_look)
    exported = export_model(path, out, options, data, track)
    facts = exported.facts
    for note in exported.notes:
        messages.print(f"[yellow]note:[/yellow] {note}")
    console.print(
        f"{facts.name}: {facts.size} px, {facts.precision}, threshold {facts.threshold:.4g} ({facts.threshold_source})",
        markup=False,
    )
    if facts.largest_difference is not None:
        dice = "" if facts.dice_change is None else f", change of the mean Dice {facts.dice_change:+.4f}"
        console.print(
            f"proved on {facts.proved_on}: largest difference from its source {facts.largest_difference:.2g}{dice}",
            markup=False,
        )
    for words, figures in facts.dice_by_engine.items():
        console.print(f"mean Dice, {words}: {engine_words(figures)}", markup=False)
    console.print(f"wrote {exported.path} ({exported.num_bytes / 1e6:.1f} MB)", markup=False)
