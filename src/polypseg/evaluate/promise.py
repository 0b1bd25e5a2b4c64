"""Whether a calibration holds on the scored images: how much its outer mask misses, how much of its inner one is false.

Decisions:
- As `explain.calibrating` counts: the risk `missed` over the images with a polyp, `false` over all, a mean over groups
  of the mean over each group's images.
- Nothing is decided here: a promise on average can be broken on one set of images by chance. The risk that was found
  stands beside the level, and with how many groups.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from polypseg.errors import UsageError
from polypseg.evaluate.plan import Plan
from polypseg.records.calibration import Calibration, load_calibration
from polypseg.records.digests import model_file_digest
from polypseg.records.evaluation_record import EvaluationRecord, ScoredCalibration
from polypseg.records.scores import NESTED_LOSSES as LOSSES
from polypseg.records.scores import Scores
from polypseg.records.stored import stored_calibration
from polypseg.records.summary import HeldPromise, HeldSide


def with_calibration(plan: Plan, given: str | None = None) -> Plan:
    """The plan, whose outer and inner masks are scored too where there is a calibration for it.

    Args:
        plan: With its threshold, augmentation and field.
        given: A file; `none` for no calibration; None for the one that is kept with the model, where it fits.

    Raises:
        UsageError: A file is named and no model predicts.
        ModelError: A file of another model or of other settings, or a damaged one.
    """
    if plan.engine is None:
        if given not in (None, "none"):
            raise UsageError("--calibration is for a run or a model; predictions that are files have no outer masks")
        return plan
    if given == "none":
        return plan
    model = plan.run.folder if plan.run else Path(str(plan.source.model))
    digest, conditions = model_file_digest(model), _conditions(plan)
    found = stored_calibration(model) if given is None else load_calibration(Path(given))
    if found is None:
        return plan
    if given is not None:
        found.refuse_other(given, digest, conditions)
    elif found.model_sha256 != digest or found.other_conditions(conditions):
        return replace(plan, notes=(*plan.notes, "the calibration that is kept with the model is of other settings"))
    source = plan.source.model_copy(update={"calibration": _record(found)})
    return replace(plan, source=source, outer=found.outer, inner=found.inner)


def _conditions(plan: Plan) -> dict[str, object]:
    facts = plan.engine.facts if plan.engine else None
    recalibration = facts.recalibration if facts and plan.is_recalibrated else None
    return {
        "threshold": plan.threshold,
        "peak_threshold": plan.peak_threshold,
        "field": facts.field if facts else "whole",
        "tta": plan.tta,
        "min_area_px": 0,
        "recalibration": recalibration.digest if recalibration else "",
    }


def _record(calibration: Calibration) -> ScoredCalibration:
    """What an evaluation says of a calibration."""
    return ScoredCalibration(
        promise=calibration.promise,
        level=calibration.level,
        confidence=calibration.confidence,
        num_units=calibration.num_units,
        frames=tuple(sorted(digest[:16] for digest in calibration.frame_sha256)),
        outer=calibration.outer,
        inner=calibration.inner,
    )


def promise_summary(scores: Scores, record: EvaluationRecord) -> HeldPromise | None:
    """What was found of a promise; None where none was scored.

    Args:
        scores: With the columns of `LOSSES`.
        record: Of the evaluation.
    """
    made_by = record.source.calibration
    if made_by is None:
        return None
    groups = np.array(scores.groups() or scores.names)
    sides = {}
    for side, column in LOSSES.items():
        losses, areas = scores.values[column], scores.values[f"{side}_px"]
        known = ~np.isnan(losses)
        if getattr(made_by, side) is None or not known.any():
            continue
        names, places = np.unique(groups[known], return_inverse=True)
        by_group = np.bincount(places, losses[known]) / np.bincount(places)
        marked = scores.predicted_px > 0
        stretch = areas[marked] / scores.predicted_px[marked]
        sides[side] = HeldSide(
            risk=float(by_group.mean()),
            num_groups=len(names),
            num_images=int(known.sum()),
            stretch=float(stretch.mean()) if stretch.size else None,
        )
    own = set(made_by.frames)
    images = (sample.image for sample in record.samples)
    return HeldPromise(
        promise=made_by.promise,
        level=made_by.level,
        confidence=made_by.confidence,
        num_calibration_images=sum(image is not None and image.sha256[:16] in own for image in images),
        sides=sides,
    )
