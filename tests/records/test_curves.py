from dataclasses import fields

import numpy as np
import pytest

from polypseg.errors import ScoreError
from polypseg.records.curves import EvaluationCurves, read_curves, write_curves

SHAPES = {"average_precision": (), "histogram": (2, 256), "polyp_free_histogram": (2, 256)}
SHAPES |= dict.fromkeys(("bin_num_pixels", "bin_mean_probability", "bin_polyp_share"), (15,))


def made():
    """Each array filled with the number of its field: no two are alike."""
    return {f.name: np.full(SHAPES.get(f.name, (256,)), place) for place, f in enumerate(fields(EvaluationCurves))}


def test_curves_come_back_under_their_own_names(tmp_path):
    write_curves(tmp_path / "curves.npz", EvaluationCurves(**made()))
    found = read_curves(tmp_path / "curves.npz")
    for name, array in made().items():
        assert np.array_equal(getattr(found, name), array)
    with np.load(tmp_path / "curves.npz") as saved:
        assert set(saved.files) == set(made())


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("mean_dice", np.zeros(255), r"mean_dice has the shape \(255,\)"),
        ("histogram", np.zeros((256, 2)), "histogram has the shape"),
        ("recall", np.full(256, "a"), "recall has the shape"),
        ("bin_num_pixels", None, "it lacks bin_num_pixels"),
    ],
)
def test_damaged_curves_are_one_line(tmp_path, name, value, told):
    arrays = made() | {name: value}
    np.savez(tmp_path / "curves.npz", **{key: array for key, array in arrays.items() if array is not None})
    with pytest.raises(ScoreError, match=f"{told}.*evaluate again"):
        read_curves(tmp_path / "curves.npz")
