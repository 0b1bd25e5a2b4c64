"""Which options of `polypseg evaluate` act on what: one that would do nothing is refused, in one line."""

from collections.abc import Sequence
from dataclasses import asdict

from polypseg.cli.evaluate_options import EvaluateCall

FOR_IMAGES = (
    "images", "data", "split", "splits", "names", "negatives", "without_polyps", "skip_bad", "polyp_values",
    "polyp_colours", "mask_channel", "polyp_labels", "tune_threshold", "unperturbed", "calibration", "batch_size",
    "tolerance", "min_lesion_area", "min_area", "min_max", "save_maps", "strata_csv", "by", "alarm_area", "leaks",
)  # fmt: skip
"""Of single images alone."""

FOR_PROCEDURES = (
    "videos", "validation", "budget", "burden", "withhold", "smooth", "smooth_frames", "coco_results", "case_pictures",
)  # fmt: skip
"""Of whole procedures alone."""

FOR_A_MODEL = ("smooth", "smooth_frames", "field", "tta")
"""Of whole procedures, where a model runs: saved findings are taken as they are."""

PROTOCOLS = ("true-colon", "true-colon-realcolon")
"""Of whole procedures; the second joins frames by their number, as its package does for REAL-Colon."""

NOT_OF_A_PROTOCOL = (*FOR_PROCEDURES, "field", "tta", "frame_rate", "area_limits", "seed")
"""Of whole procedures, where --protocol true-colon does not know them."""


def refuse_for_images(given: EvaluateCall) -> None:
    """Nothing, if no option of whole procedures was given.

    Raises:
        UsageError: One was.
    """
    _refuse(
        given,
        FOR_PROCEDURES,
        "for whole procedures, not for single images; name --videos DIR, or --predictions with a COCO results list "
        "(.json) or findings.csv",
    )


def refuse_for_procedures(given: EvaluateCall) -> None:
    """Nothing, if no option was given that would not act on procedures.

    Raises:
        UsageError: One was.
    """
    from polypseg.errors import UsageError, unknown_name

    protocol = given.summing.protocol
    if protocol is not None and protocol not in PROTOCOLS:
        raise UsageError(unknown_name("protocol of whole procedures", protocol, PROTOCOLS))
    _refuse(given, FOR_IMAGES, "for single images, not for whole procedures; leave it out")
    if given.judged.predictions is not None and protocol is not None:
        _refuse(given, NOT_OF_A_PROTOCOL, f"not part of --protocol {protocol}, which fixes its own rules; leave it out")
    elif given.judged.predictions is not None:
        _refuse(given, FOR_A_MODEL, "for a model; saved findings are evaluated as they are: leave it out")
        if given.judged.videos is None:
            _refuse(given, ("case_pictures",), "the pictures are taken from the videos; name them with --videos DIR")
        elif not given.procedures.case_pictures:
            _refuse(given, ("videos",), "beside saved findings, videos are for pictures alone; add --case-pictures")


def _refuse(given: EvaluateCall, names: Sequence[str], why: str) -> None:
    from polypseg.errors import UsageError

    values, defaults = _flat(given), _flat(EvaluateCall())
    options = [f"--{name.replace('_', '-')}" for name in names if values[name] != defaults[name]]
    if options:
        raise UsageError(f"{', '.join(options)}: {why}")


def _flat(given: EvaluateCall) -> dict[str, object]:
    """Every option by its name."""
    flat: dict[str, object] = {}
    for name, value in asdict(given).items():
        flat |= value if isinstance(value, dict) else {name: value}
    return flat
