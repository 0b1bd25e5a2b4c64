"""Which options of `polypseg evaluate` act on what: one that would do nothing is refused, in one line."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polypseg.cli.console import typed

if TYPE_CHECKING:
    import typer

FOR_IMAGES = (
    "images", "data", "split", "splits", "names", "negatives", "skip_bad", "polyp_values", "polyp_colours",
    "mask_channel", "polyp_labels", "tune_threshold", "unperturbed", "tolerance", "min_area", "min_max", "save_maps",
    "batch_size", "strata_csv", "by", "alarm_area", "leaks",
)  # fmt: skip
"""Of single images alone."""

FOR_PROCEDURES = (
    "videos", "validation", "budget", "burden", "withhold", "smooth", "smooth_frames", "coco_results", "case_pictures",
)  # fmt: skip
"""Of whole procedures alone."""

FOR_A_MODEL = ("videos", "smooth", "smooth_frames", "field", "tta", "case_pictures")
"""Of whole procedures, where a model runs: saved findings are taken as they are."""

NOT_OF_A_PROTOCOL = (*FOR_PROCEDURES, "field", "tta", "frame_rate", "area_limits", "seed")
"""Of whole procedures, where --protocol true-colon does not know them."""


def refuse_for_images(context: "typer.Context") -> None:
    """Nothing, if no option of whole procedures was typed.

    Raises:
        UsageError: One was.
    """
    _refuse(
        typed(context, FOR_PROCEDURES),
        "for whole procedures, not for single images; name --videos DIR, or --predictions with a COCO results list "
        "(.json) or findings.csv",
    )


def refuse_for_procedures(context: "typer.Context", protocol: str | None, predictions: Path | None) -> None:
    """Nothing, if no option was typed that would not act on procedures.

    Raises:
        UsageError: One was.
    """
    _refuse(typed(context, FOR_IMAGES), "for single images, not for whole procedures; leave it out")
    if predictions is not None and protocol is not None:
        others = typed(context, NOT_OF_A_PROTOCOL)
        _refuse(others, f"not part of --protocol {protocol}, which fixes its own rules; leave it out")
    elif predictions is not None:
        _refuse(typed(context, FOR_A_MODEL), "for a model; saved findings are evaluated as they are: leave it out")


def _refuse(options: Sequence[str], why: str) -> None:
    from polypseg.errors import UsageError

    if options:
        raise UsageError(f"{', '.join(options)}: {why}")
