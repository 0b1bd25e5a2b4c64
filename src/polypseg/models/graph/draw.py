"""The pictures of a model as files.

Where Graphviz's program `dot` and pydot work, they draw what Keras' `plot_model` shows, a node a layer.
Without them paint.py draws the blocks: readable on a page, and nothing to install.
"""

import shutil
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from polypseg.errors import MissingExtraError, ModelError
from polypseg.records.atomic import replacing, write_bytes

DOTS_PER_INCH = 200
MOST_DOTS = 20_000
"""Along a PNG's longer side; a larger picture gets fewer dots an inch."""


def draw_model(
    model: Any, path: Path | str, renderer: Literal["auto", "graphviz", "matplotlib"] = "auto"
) -> tuple[Path, Path]:
    """The paths of the PNG and the SVG picture of a model's whole graph: encoder, decoder, gates.

    Args:
        model: A Keras functional or sequential model.
        path: Where the pictures go; an ending .png or .svg is taken off, and each gets its own. The folder is
            made where it is missing.
        renderer: graphviz draws a node a layer, matplotlib blocks in the shape of the network; auto takes
            Graphviz where it is installed and works, for `dot` may stop for want of fonts.

    Raises:
        ModelError: The model has no graph: it is subclassed, or was never built. Or Graphviz is asked for and fails.
        MissingExtraError: Graphviz is asked for and not installed.
    """
    if not getattr(model, "outputs", None):
        raise ModelError(
            f"model {getattr(model, 'name', model)!r} has no graph of layers to draw; expected a functional model: "
            "keras.Model(inputs, outputs), or a Sequential with an Input"
        )
    installed = shutil.which("dot") is not None and find_spec("pydot") is not None
    if renderer == "graphviz" and not installed:
        raise MissingExtraError(
            "Graphviz is not installed, and renderer 'graphviz' needs it; install its program (apt install graphviz, "
            'brew install graphviz) and pip install "polypseg[train]", or take the renderer matplotlib'
        )
    path = Path(path)
    base = path.with_suffix("") if path.suffix.lower() in (".png", ".svg") else path
    base.parent.mkdir(parents=True, exist_ok=True)
    if renderer == "matplotlib" or not installed:
        return _draw_blocks(model, base)
    try:
        return _draw_with_graphviz(model, base)
    except ModelError:
        if renderer == "graphviz":
            raise
        return _draw_blocks(model, base)


def _draw_blocks(model: Any, base: Path) -> tuple[Path, Path]:
    from polypseg.models.graph.blocks import blocks_of
    from polypseg.models.graph.paint import paint

    figure = paint(blocks_of(model), title=f"{model.name}: {model.count_params():,} parameters")
    dots = min(DOTS_PER_INCH, MOST_DOTS / max(figure.get_size_inches()))

    def write(file: Path, ending: str) -> None:
        figure.savefig(file, format=ending, dpi=dots, metadata={"Date": None} if ending == "svg" else None)

    return _write(base, "png", write), _write(base, "svg", write)


def _draw_with_graphviz(model: Any, base: Path) -> tuple[Path, Path]:
    import keras

    # What plot_model writes; plot_model itself stops at an SVG where IPython is installed (Keras 3.15).
    source = keras.utils.model_to_dot(model, show_shapes=True, show_layer_names=True, dpi=96).to_string()

    def write(ending: str) -> Path:
        drawn = subprocess.run(["dot", f"-T{ending}"], input=source.encode(), capture_output=True, check=False)
        if drawn.returncode != 0 or not drawn.stdout:
            said = drawn.stderr.decode(errors="replace").strip().splitlines()
            raise ModelError(
                f"Graphviz's dot failed (code {drawn.returncode}{': ' + said[-1] if said else ''}); take the renderer "
                "matplotlib"
            )
        path = base.with_name(f"{base.name}.{ending}")
        write_bytes(path, drawn.stdout)
        return path

    return write("png"), write("svg")


def _write(base: Path, ending: str, write: Callable[[Path, str], None]) -> Path:
    """The path of a file that is complete or absent."""
    path = base.with_name(f"{base.name}.{ending}")
    with replacing(path) as temporary:
        write(temporary, ending)
    return path
