"""Whether a calibration holds on the scored images: how much its outer mask misses, how much of its inner one is false.

Decisions:
- As `explain.calibrating` counts: the risk `missed` over the images with a polyp, `false` over all, a mean over groups
  of the mean over each group's images.
- Nothing is decided here: a promise on average can be broken on one set of images by chance. The risk that was found
  stands beside the level, and with how many groups.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from polypseg.errors import UsageError
from polypseg.evaluate.plan import Plan
from polypseg.records.calibration import Bound, Calibration, load_calibration
from polypseg.records.digests import model_file_digest
from polypseg.records.scores import NESTED_LOSSES as LOSSES
from polypseg.records.scores import Scores
from polypseg.records.stored import stored_calibration


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
    model = plan.run.folder if plan.run else Path(plan.source["model"])
    digest, conditions = model_file_digest(model), _conditions(plan)
    found = stored_calibration(model) if given is None else load_calibration(Path(given))
    if found is None:
        return plan
    if given is not None:
        found.refuse_other(given, digest, conditions)
    elif found.model_sha256 != digest or found.other_conditions(conditions):
        return replace(plan, notes=(*plan.notes, "the calibration that is kept with the model is of other settings"))
    source = {**plan.source, "calibration": _record(found)}
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


def _record(calibration: Calibration) -> dict[str, Any]:
    """What an evaluation says of a calibration."""
    return {
        "promise": calibration.promise,
        "level": calibration.level,
        "confidence": calibration.confidence,
        "num_units": calibration.num_units,
        "frames": sorted(digest[:16] for digest in calibration.frame_sha256),
        **{side: _bound(getattr(calibration, side)) for side in LOSSES},
    }


def _bound(bound: Bound | None) -> dict[str, Any] | None:
    return None if bound is None else bound.model_dump(mode="json")


def promise_summary(scores: Scores, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was found of a promise; None where none was scored.

    Args:
        scores: With the columns of `LOSSES`.
        record: evaluation.json.
    """
    made_by = record["source"].get("calibration")
    if made_by is None:
        return None
    groups = np.array(scores.groups() or scores.names)
    sides = {}
    for side, column in LOSSES.items():
        losses, areas = scores.values[column], scores.values[f"{side}_px"]
        known = ~np.isnan(losses)
        if made_by[side] is None or not known.any():
            continue
        names, places = np.unique(groups[known], return_inverse=True)
        by_group = np.bincount(places, losses[known]) / np.bincount(places)
        marked = scores.values["predicted_px"] > 0
        stretch = areas[marked] / scores.values["predicted_px"][marked]
        sides[side] = {
            "risk": float(by_group.mean()),
            "num_groups": len(names),
            "num_images": int(known.sum()),
            "stretch": float(stretch.mean()) if stretch.size else None,
        }
    own = set(made_by["frames"])
    digests = [str(sample.get("image", {}).get("sha256", ""))[:16] for sample in record["samples"]]
    return {
        "promise": made_by["promise"],
        "level": made_by["level"],
        "confidence": made_by["confidence"],
        "num_calibration_images": sum(digest in own for digest in digests),
        "sides": sides,
    }
