"""`polypseg hub`: put a model on the Hugging Face hub, or fetch one from there."""

from pathlib import Path
from typing import Annotated

import typer

from polypseg.cli.console import one_line_errors

app = typer.Typer(
    no_args_is_help=True,
    help="Share models on the Hugging Face hub (or a server of the same kind: HF_ENDPOINT).",
)

Address = Annotated[
    str, typer.Argument(metavar="hf://OWNER/NAME", help="Repository; with @REVISION a commit, a branch or a tag.")
]


@app.command()
@one_line_errors
def push(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Included model or .onnx file.")],
    to: Address,
    card: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.md",
            help="Model card, as polypseg report writes it; default: made from the facts in the file.",
        ),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
) -> None:
    """Put a model on the hub: the file, its digest and its card, in one commit.

    The metadata of the card (library, licence, tags, figures) come from the facts in the file. Log in first:
    hf auth login, or set HF_TOKEN.

    [bold]Examples[/bold]

    polypseg hub push polyp-lite hf://me/polyp-lite

    polypseg hub push model.onnx hf://me/my-model --card runs/kvasir/report/model_card.md --private
    """
    from rich.markup import escape

    from polypseg.cli.console import console
    from polypseg.errors import ModelError
    from polypseg.export.hub import push as push_model
    from polypseg.predict.engines.packaged import packaged_models, resolve

    path = resolve(model)
    known = {packaged.path: packaged.card for packaged in packaged_models()}
    chosen = card or known.get(path)
    try:
        text = chosen.read_text(encoding="utf-8") if chosen else None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{chosen}: cannot read the card: {getattr(error, 'strerror', None) or error}") from error
    done = push_model(path, to, text, private)
    console.print(escape(f"pushed {done.address}\nSHA-256 {done.sha256}"))


@app.command()
@one_line_errors
def pull(
    source: Address,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the model and its card.")],
) -> None:
    """Fetch a model from the hub, check its digest, and copy it into a folder with its card and its origin.

    The commit is printed, and kept in the .json file beside the model. Every command that takes a model takes
    hf://OWNER/NAME too, without this one.

    [bold]Examples[/bold]

    polypseg hub pull hf://me/polyp-lite -o models/

    polypseg predict --model hf://me/polyp-lite frame.jpg -o mask.png
    """
    from rich.markup import escape

    from polypseg.cli.console import console
    from polypseg.predict.engines.hub import pull as pull_model

    model, files = pull_model(source, out)
    console.print(escape(f"{model.address}\nSHA-256 {model.record.sha256}"))
    for path in files:
        console.print(escape(f"wrote {path}"))
