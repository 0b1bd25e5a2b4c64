import numpy as np
import pytest

from polypseg.errors import ScoreError
from polypseg.records.scores import COLUMNS, NUMBER_COLUMNS, format_row, header, read_scores


def write(path, *rows):
    path.write_text(header() + "".join(format_row(row) for row in rows), encoding="utf-8")
    return read_scores(path)


def test_scores_read_again_are_the_same_to_the_last_bit(tmp_path):
    third = 1 / 3
    scores = write(tmp_path / "scores.csv", {"name": "a, b", "group": "7", "reference_px": 4, "dice": third})
    assert scores.names == ["a, b"]
    assert scores.text.group == ["7"]
    assert scores.text.centre == [""]
    assert scores.values["dice"][0] == third
    assert np.isnan(scores.values["hd95_px"][0])  # not given: undefined, not 0


def test_header_names_every_column_once():
    assert header().strip().split(",") == list(COLUMNS)
    assert len(set(COLUMNS)) == len(COLUMNS)
    assert "height_px" in NUMBER_COLUMNS


def test_row_keeps_the_columns_in_order_whatever_the_order_given(tmp_path):
    row = {"dice": 0.5, "reference_px": 3, "name": "x"}
    cells = format_row(row).strip().split(",")
    assert cells[0] == "x"
    assert cells[COLUMNS.index("reference_px")] == "3"
    assert cells[COLUMNS.index("dice")] == "0.5"
    assert len(cells) == len(COLUMNS)


def test_scores_tell_polyp_images_from_others_and_from_faults(tmp_path):
    scores = write(
        tmp_path / "scores.csv",
        {"name": "polyp", "reference_px": 9},
        {"name": "none", "reference_px": 0},
        {"name": "bad", "fault": "cut short"},
    )
    assert scores.has_polyp.tolist() == [True, False, False]
    assert scores.is_polyp_free.tolist() == [False, True, False]
    assert scores.is_scored.tolist() == [True, True, False]
    assert scores.select(scores.has_polyp).names == ["polyp"]


def test_groups_are_none_without_any_and_single_images_where_some_lack_one(tmp_path):
    assert write(tmp_path / "a.csv", {"name": "x"}, {"name": "y"}).groups() is None
    mixed = write(tmp_path / "b.csv", {"name": "x", "group": "1"}, {"name": "1"}, {"name": "z", "group": "1"})
    groups = mixed.groups()
    assert groups[0] == groups[2] != groups[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "lacks dice, name"),
        ("name,dice\nx,0.5\n", "lacks reference_digest, reference_px"),
        ("name,reference_digest,reference_px,dice\nx,ab,4,high\n", "a row is damaged"),
        ("name,reference_digest,reference_px,dice\nx,ab,4\n", "a row is damaged"),
    ],
)
def test_read_scores_refuses_what_is_no_table_of_scores(tmp_path, content, message):
    path = tmp_path / "scores.csv"
    path.write_text(content)
    with pytest.raises(ScoreError, match=message):
        read_scores(path)


def test_read_scores_names_a_missing_file(tmp_path):
    with pytest.raises(ScoreError, match=r"nothing\.csv: cannot read"):
        read_scores(tmp_path / "nothing.csv")
