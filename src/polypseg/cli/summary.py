"""`polypseg summary`: a network's layers as a table and as a picture."""

from pathlib import Path
from typing import Annotated

import typer


def summary(
    model: Annotated[
        str,
        typer.Argument(
            help="A preset (attention-unet-16, attention-unet-32, unet-16, unet-32, polyp-lite, polyp-strong), a run "
            "or a .keras file."
        ),
    ] = "attention-unet-16",
    size: Annotated[int, typer.Option(min=8, help="Input size of a preset in pixels.")] = 256,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the figures.")] = Path(),
) -> None:
    """Print model.summary() and draw the whole graph (encoder, decoder, gates) as PNG and SVG.

    Also prints the multiply-adds of one image. The graph is drawn with Graphviz (Keras' plot_model) if it is installed,
    otherwise by polypseg itself.

    [bold]Examples[/bold]

    polypseg summary attention-unet-32 --out figures

    polypseg summary runs/kvasir
    """
    from polypseg.cli.console import console, import_keras_quietly

    import_keras_quietly()
    from polypseg.models.checkpoint import load_model
    from polypseg.models.graph import draw_model
    from polypseg.models.multiply_adds import multiply_adds
    from polypseg.models.registry import build_model, preset

    path = Path(model)
    if path.is_dir():
        built = load_model(path / "checkpoints" / "best.keras")
    elif path.suffix.lower() == ".keras":
        built = load_model(path)
    else:
        built = build_model(preset(model), size)
    built.summary(line_length=120, print_fn=typer.echo)
    sides = built.input_shape[1:3]
    if None not in sides:
        console.print(f"{multiply_adds(built) / 1e9:.2f} billion multiply-adds an image of {sides[0]}x{sides[1]} px")
    out.mkdir(parents=True, exist_ok=True)
    for picture in draw_model(built, out / f"{path.stem if path.suffix else path.name}"):
        console.print(f"wrote {picture}")
