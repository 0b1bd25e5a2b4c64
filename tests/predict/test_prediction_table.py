"""predictions.csv: numbers by hand, and a table that stays whole."""

import csv
import errno
import math
import os
from dataclasses import replace

import numpy as np
import pytest

from polypseg.errors import DataError
from polypseg.predict.images import table as prediction_table
from polypseg.predict.images.sources import ImageSource
from polypseg.predict.images.table import (
    PredictionTable,
    Row,
    fault_row,
    read_rows,
    row_of,
    text_cell,
    write_rows,
)
from polypseg.predict.predictor import Prediction
from polypseg.predict.regions import find_regions
from polypseg.preprocess import whole_frame


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "predictions.csv"
    write_rows(path)
    return path


def prediction(probability, threshold=0.5):
    values = np.array(probability, np.float32)
    return Prediction(
        np.zeros((*values.shape, 3), np.uint8), values, values >= threshold, threshold, 0.25, whole_frame(values.shape)
    )


def row(source, found):
    return row_of(source, found, find_regions(found.mask, found.probability))


def test_a_row_by_hand():
    # 3 x 5 pixels; two components: three pixels at rows 0-1, columns 1-2, and one at row 2, column 4.
    found = prediction([[0, 0.5, 0.75, 0, 0], [0, 0, 0.5, 0, 0], [0.25, 0, 0, 0, 1]])
    got = row(ImageSource("x/a", "in/x/a.png"), found)
    assert (got.name, got.path, got.page, got.fault) == ("x/a", "in/x/a.png", "", "")
    assert (got.height, got.width, got.area_px, got.num_components) == (3, 5, 4, 2)
    assert got.area_percent == pytest.approx(100 * 4 / 15, abs=1e-6)
    assert (got.box_x, got.box_y, got.box_width, got.box_height) == (1, 0, 4, 3)
    assert got.mean_probability == pytest.approx((0.5 + 0.75 + 0.5 + 1) / 4)
    assert (got.max_probability, got.threshold, got.seconds) == (1, 0.5, 0.25)


def test_a_row_of_an_empty_mask():
    got = row(ImageSource("a", "a.tif", 2), prediction([[0, 0.25]]))
    assert (got.page, got.area_px, got.area_percent, got.num_components, got.max_probability) == ("2", 0, 0, 0, 0.25)
    assert all(math.isnan(v) for v in (got.box_x, got.box_y, got.box_width, got.box_height, got.mean_probability))


def test_rows_come_back_as_written(path):
    rows = [Row("a,b", 'x/"a,b".png', height=3, seconds=0.1), fault_row(ImageSource("ä", "ä.png"), "no, not\nan image")]
    with PredictionTable(path) as table:
        for each in rows:
            table.add(each)
    first, second = read_rows(path)
    assert (first.name, first.path, first.height, first.seconds) == ("a,b", 'x/"a,b".png', 3, 0.1)
    assert (second.name, second.fault) == ("ä", "no, not\\nan image")
    assert math.isnan(second.area_px)
    with path.open(newline="", encoding="utf-8") as opened:
        assert len(list(csv.reader(opened))) == 3


def test_names_that_are_no_unicode_are_escaped():
    name = os.fsdecode(b"a\xff.png")
    assert text_cell(name) == "a\\udcff.png"
    assert text_cell("a\nb") == "a\\nb"


def test_a_row_that_was_cut_off_is_left_out(path):
    with PredictionTable(path) as table:
        table.add(Row("a", "a.png"))
        table.add(Row("b", "b.png"))
    whole = path.read_bytes()
    for cut in range(1, 40):
        path.write_bytes(whole[:-cut])
        assert [each.name for each in read_rows(path)] == ["a"]


def test_a_full_disk_takes_the_row_back(path, monkeypatch):
    """The first call of the system writes ten bytes, the next finds the disk full."""
    calls = []

    def write(descriptor, content):
        calls.append(content)
        if len(calls) == 1:
            return os.pwrite(descriptor, content[:10], os.fstat(descriptor).st_size)
        raise OSError(errno.ENOSPC, "No space left on device")

    before = path.read_bytes()
    with PredictionTable(path) as table:
        with monkeypatch.context() as patch:
            patch.setattr(prediction_table.os, "write", write)
            with pytest.raises(OSError, match="No space left"):
                table.add(Row("a", "a.png"))
        assert len(calls) == 2
        assert path.read_bytes() == before
        table.add(Row("b", "b.png"))
    assert [each.name for each in read_rows(path)] == ["b"]


def test_another_table_is_refused(tmp_path):
    path = tmp_path / "predictions.csv"
    for content in (b"", b"name,dice\na,1\n", b"\xff\xfe\n"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"predictions\.csv: (not a table|cannot read)"):
            read_rows(path)


def test_rows_that_are_read_and_written_again_are_the_same_bytes(path, tmp_path):
    found = row(ImageSource("a", "a.png"), prediction([[0.9, 0.1], [0.123456789, 0.7]]))
    with PredictionTable(path) as table:
        for each in (found, replace(found, name="b", page="2", look_again=3, look_again_for="mark")):
            table.add(each)
    again = tmp_path / "again.csv"
    write_rows(again, read_rows(path))
    assert again.read_bytes() == path.read_bytes()


def test_a_number_that_is_none_is_one_line(path):
    with PredictionTable(path) as table:
        table.add(Row("a", "a.png", height=3))
    path.write_text(path.read_text().replace("a.png,,3,", "a.png,,tall,"))
    with pytest.raises(DataError, match=r"a row is damaged .*tall.*; predict again with --overwrite"):
        read_rows(path)
