"""The calibration that is kept with a model: whether it fits how the model is used."""

from pathlib import Path
from typing import TYPE_CHECKING

from polypseg.records.calibration import Calibration
from polypseg.records.digests import model_file_digest
from polypseg.records.stored import stored_calibration

if TYPE_CHECKING:
    from polypseg.predict.predictor import Predictor


def fitting_calibration(model: Path, predictor: "Predictor") -> tuple[Calibration | None, str]:
    """The calibration that is kept with a model, and why it is not used where it is not.

    Args:
        model: The path of the model.
        predictor: Made from it.

    Raises:
        ModelError: What is kept is damaged.
    """
    found = stored_calibration(model)
    if found is None:
        return None, ""
    if found.model_sha256 != model_file_digest(model):
        return None, "the calibration that is kept with this model is of an earlier checkpoint, and is not used"
    other = found.other_conditions(predictor.conditions)
    if other:
        return None, f"the calibration that is kept with this model is not used: made with {', '.join(other)}"
    return found, ""
