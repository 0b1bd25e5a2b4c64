"""gates.json: what is written is read, and what is damaged is one line."""

import pytest

from polypseg.errors import RunError
from polypseg.records.gates import GateFigures, GatesRecord, load_gates, save_gates

RECORD = GatesRecord(
    gates=(
        GateFigures(level=1, mean=0.25, spread=0.125, dice_lost=-0.5),
        GateFigures(level=2, mean=1.0, spread=0.0),
    ),
    num_frames=4,
    num_polyp_frames=3,
    dice=0.75,
    threshold=0.5,
    peak_threshold=0.9,
    measured_on="validation",
    model_digest="ab",
)


def test_what_is_saved_is_read(tmp_path):
    assert load_gates(tmp_path) is None
    save_gates(tmp_path, RECORD)
    assert load_gates(tmp_path) == RECORD


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"gates": [{"level": 0, "mean": 0.5, "spread": 0}]}', "\x00"])
def test_damaged_file_is_one_line_with_what_to_do(text, tmp_path):
    (tmp_path / "gates.json").write_text(text)
    with pytest.raises(RunError, match=r"gates.json: not a record of gates, or a damaged one .*; remove it") as caught:
        load_gates(tmp_path)
    assert "\n" not in str(caught.value)


def test_only_gates_that_do_not_work_are_told():
    assert RECORD.warnings() == ["gate 2 does not work: the mean of its coefficients is 1.000, expected 0.05 to 0.95"]
