"""Images without a polyp, apart from all others: how often, and how much, a polyp is seen where there is none.

Decisions:
- A Dice of such an image is 0 or 1 and says little; here are shares of frames and areas instead.
- An alarm is a false finding (a connected component) of `alarm_area_px` or more. Single stray pixels are counted by
  `any_false_positive` alone.
- Figures a minute assume that each frame is judged by itself, as a video's would be at that frame rate. The frames
  of a data set are no video: read it as an order of magnitude.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from polypseg.evaluate.strata import places_by_stratum
from polypseg.metrics.statistics import Draws, bootstrap_means
from polypseg.records.scores import Scores
from polypseg.records.summary import MeanFigures, NegativeFigures, NegativeStratum

LARGE_PERCENT = 0.1
"""From which a frame's false-positive area, in % of the image, is large: about 18x18 px of a 622x529 frame."""


def negative_strata(
    scores: Scores, ways: Mapping[str, Sequence[str]], alarm_area_px: int, draws: Draws
) -> dict[str, dict[str, NegativeStratum]]:
    """The figures of the images without a polyp by way of dividing them and by stratum.

    Args:
        scores: All rows.
        ways: The stratum of each row, by way (`strata.all_strata`).
        alarm_area_px: As of `negative_figures`.
        draws: Of the bootstrap.

    Returns:
        Figures of a single image or group have no limits.
    """
    found: dict[str, dict[str, NegativeStratum]] = {}
    for way, strata in ways.items():
        for stratum, chosen in places_by_stratum(strata, scores.is_polyp_free).items():
            own = scores.select(chosen)
            figures = _means(own, alarm_area_px, None, draws)
            if len(set(own.groups() or own.names)) < 2:
                figures = {name: mean.model_copy(update={"low": None, "high": None}) for name, mean in figures.items()}
            kept = {name: figures[name] for name in NegativeStratum.model_fields if name in figures}
            found.setdefault(way, {})[stratum] = NegativeStratum(num_images=len(own), **kept)
    return found


def negative_figures(
    scores: Scores,
    alarm_area_px: int,
    frame_rate: float | None,
    draws: Draws,
    strata: dict[str, dict[str, NegativeStratum]],
) -> NegativeFigures | None:
    """The figures of the images without a polyp; None where there is none.

    Args:
        scores: All rows; those with a polyp are left out here.
        alarm_area_px: Area in pixels from which on a false finding is an alarm.
        frame_rate: Frames a second, for the figures a minute; None leaves them out.
        draws: Of the bootstrap.
        strata: Of `negative_strata`.
    """
    chosen = scores.select(scores.is_polyp_free)
    if not len(chosen):
        return None
    means = _means(chosen, alarm_area_px, frame_rate, draws)
    return NegativeFigures(
        num_images=len(chosen), alarm_area_px=alarm_area_px, frame_rate=frame_rate, strata=strata, **means
    )


def _means(chosen: Scores, alarm_area_px: int, frame_rate: float | None, draws: Draws) -> dict[str, MeanFigures]:
    """The fields of `NegativeFigures` that are means."""
    values = chosen.values
    largest_px, num_false = values["largest_false_px"], values["num_false"]
    alarm = np.where(np.isnan(largest_px), np.nan, largest_px >= alarm_area_px)
    columns = {
        "any_false_positive": (chosen.predicted_px > 0).astype(np.float64),
        "large_false_positive": (chosen.predicted_percent > LARGE_PERCENT).astype(np.float64),
        "alarm": alarm,
        "false_positive_px": chosen.predicted_px,
        "false_positive_percent": chosen.predicted_percent,
        "specificity": values["specificity"],
        "false_findings": num_false,
    }
    if frame_rate is not None:
        columns |= {
            "alarms_a_minute": alarm * frame_rate * 60,
            "false_findings_a_minute": num_false * frame_rate * 60,
        }
    table = np.stack(list(columns.values()), axis=1)
    means = map(MeanFigures.of, bootstrap_means(table, chosen.groups(), *draws))
    return dict(zip(columns, means, strict=True))
