"""The options that say what means polyp in mask files: the same in every command that reads masks."""

from typing import Annotated

import typer

MASKS = "What means polyp in the masks"

PolypValues = Annotated[
    str,
    typer.Option(
        metavar="1,2", help="Grey values or palette indices of polyps; the rest is background.", rich_help_panel=MASKS
    ),
]
PolypColours = Annotated[
    str,
    typer.Option(
        metavar="#ff0000,green",
        help="Colours of polyps, as numbers or names; the rest is background.",
        rich_help_panel=MASKS,
    ),
]
PolypLabels = Annotated[
    str,
    typer.Option(
        metavar="NAME,NAME",
        help="Labels in annotation files that mean polyp; the rest is background. *: every label.",
        rich_help_panel=MASKS,
    ),
]
MaskChannel = Annotated[
    str,
    typer.Option(metavar="NAME", help="Channel that holds the mask: red, green, blue or alpha.", rich_help_panel=MASKS),
]
