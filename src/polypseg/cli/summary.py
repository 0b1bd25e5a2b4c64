"""`polypseg summary`: a network's layers as a table and as a picture."""

from pathlib import Path
from typing import Annotated

import typer


def summary(
    model: Annotated[
        str,
        typer.Argument(
            help="A preset (attention-unet-16, attention-unet-32, unet-16, unet-32), a run or a .keras file."
        ),
    ] = "attention-unet-16",
    size: Annotated[int, typer.Option(min=8, help="Side of the input of a preset, in pixels.")] = 256,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures.")] = Path(),
) -> None:
    """Print model.summary() and draw the whole graph (encoder, decoder, gates) as PNG and SVG.

    Graphviz draws where its binary is installed (Keras' plot_model); polypseg's own drawing needs nothing.

    [bold]Examples[/bold]

    polypseg summary attention-unet-32 --out figures

    polypseg summary runs/kvasir
    """
    from polypseg.cli.console import console, import_keras_quietly

    import_keras_quietly()
    from polypseg.models.checkpoint import load_model
    from polypseg.models.graph import draw_model
    from polypseg.models.registry import build_model, preset

    path = Path(model)
    if path.is_dir():
        built = load_model(path / "checkpoints" / "best.keras")
    elif path.suffix == ".keras":
        built = load_model(path)
    else:
        built = build_model(preset(model), size)
    built.summary(line_length=120, print_fn=typer.echo)
    out.mkdir(parents=True, exist_ok=True)
    for picture in draw_model(built, out / f"{path.stem if path.suffix else path.name}"):
        console.print(f"wrote {picture}")
