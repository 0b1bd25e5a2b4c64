"""Images without a polyp, apart from all others: how often, and how much, a polyp is seen where there is none.

Decisions:
- A Dice of such an image is 0 or 1 and says little; here are shares of frames and areas instead.
- An alarm is a false finding (a connected component) of `alarm_area_px` or more. Single stray pixels are counted by
  `any_false_positive` alone.
- Figures a minute assume that each frame is judged by itself, as a video's would be at that frame rate. The frames
  of a data set are no video: read it as an order of magnitude.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polypseg.evaluate.strata import places_by_stratum
from polypseg.metrics.statistics import Interval, bootstrap_means
from polypseg.records.scores import Scores

LARGE_PERCENT = 0.1
"""From which a frame's false-positive area, in % of the image, is large: about 18x18 px of a 622x529 frame."""


STRATUM_FIGURES = ("large_false_positive", "any_false_positive", "alarm", "false_positive_percent")
"""What is worked out for each stratum."""


def negative_strata(
    scores: Scores, ways: Mapping[str, Sequence[str]], alarm_area_px: int, **bootstrap: Any
) -> dict[str, dict[str, dict[str, Any]]]:
    """The figures of the images without a polyp by way of dividing them and by stratum.

    Args:
        scores: All rows.
        ways: The stratum of each row, by way (`strata.all_strata`).
        alarm_area_px: As of `negative_figures`.
        bootstrap: confidence, num_resamples and seed.

    Returns:
        For each stratum num_images, and an `Interval` each for `STRATUM_FIGURES`; of a single image or group without
        limits.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for way, strata in ways.items():
        for stratum, chosen in places_by_stratum(strata, scores.is_polyp_free).items():
            own = scores.select(chosen)
            figures = negative_figures(own, alarm_area_px, **bootstrap) or {}
            spread = {} if len(set(own.groups() or own.names)) > 1 else {"low": math.nan, "high": math.nan}
            kept = {name: figures[name]._replace(**spread) for name in STRATUM_FIGURES}
            found.setdefault(way, {})[stratum] = {"num_images": len(own), **kept}
    return found


def negative_figures(
    scores: Scores,
    alarm_area_px: int = 100,
    frame_rate: float | None = None,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Any] | None:
    """The figures of the images without a polyp; None where there is none.

    Args:
        scores: All rows; those with a polyp are left out here.
        alarm_area_px: Area in pixels from which on a false finding is an alarm.
        frame_rate: Frames a second, for the figures a minute; None leaves them out.
        confidence: Of the intervals.
        num_resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        num_images, alarm_area_px, and an `Interval` each for any_false_positive (share of the frames with any
        predicted pixel), large_false_positive (with more than `LARGE_PERCENT` of its pixels predicted), alarm (with a
        false finding of alarm_area_px or more), false_positive_px and false_positive_percent (mean area, of all
        frames), specificity (mean over frames), false_findings (mean number a frame, of lesion size); with a frame
        rate also alarms_a_minute and false_findings_a_minute.
    """
    chosen = scores.select(scores.is_polyp_free)
    if not len(chosen):
        return None
    values = chosen.values
    predicted_px, largest_px = values["predicted_px"], values["largest_false_px"]
    false_percent = 100 * predicted_px / (values["height_px"] * values["width_px"])
    columns = {
        "any_false_positive": (predicted_px > 0).astype(np.float64),
        "large_false_positive": (false_percent > LARGE_PERCENT).astype(np.float64),
        "alarm": np.where(np.isnan(largest_px), np.nan, largest_px >= alarm_area_px),
        "false_positive_px": predicted_px,
        "false_positive_percent": false_percent,
        "specificity": values["specificity"],
        "false_findings": values["num_false"],
    }
    if frame_rate is not None:
        columns["alarms_a_minute"] = columns["alarm"] * frame_rate * 60
        columns["false_findings_a_minute"] = columns["false_findings"] * frame_rate * 60
    table = np.stack(list(columns.values()), axis=1)
    intervals: list[Interval] = bootstrap_means(table, chosen.groups(), confidence, num_resamples, seed)
    return {
        "num_images": len(chosen),
        "alarm_area_px": alarm_area_px,
        "frame_rate": frame_rate,
        **dict(zip(columns, intervals, strict=True)),
    }
