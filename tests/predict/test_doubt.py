"""The two scores of a frame by hand, and the frames to look at again."""

import csv
import math

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.errors import DataError, UsageError
from polypseg.predict.doubt import UNKNOWN, Doubt, doubt_of, to_review
from polypseg.predict.images.outputs import OutputFolder, OutputOptions
from polypseg.predict.images.resume import record_of
from polypseg.predict.images.sources import find_sources
from polypseg.predict.images.work import WorkOptions, predict_images
from polypseg.predict.predictor import load
from predict.tiny_model import SIZE, write_tiny_model


def test_scores_by_hand():
    # five pixels from 0.1 on, two of them from 0.9 on: 3 / 5 are soft
    # mask from 0.5 on: 0.5, 0.9, 1.0; expected Dice 2 · 2.4 / (3 + 3.0)
    values = np.array([[0.0, 0.2, 0.4, 0.5, 0.9, 1.0]], np.float32)
    assert doubt_of(values, 0.5, True) == pytest.approx((0.6, 1 - 4.8 / 6.0), abs=1e-6)
    # no mark (a component was not sure enough): nothing to doubt but a missed polyp
    assert doubt_of(values, 0.5, False) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("values", "is_marked", "expected"),
    [
        ([[0.0, 0.0]], False, (0.0, 0.0)),
        ([[1.0, 1.0]], True, (0.0, 0.0)),  # sure of every pixel
        ([[0.0, 1.0]], True, (0.0, 0.0)),
        ([[0.3, 0.3]], False, (0.0, 0.3)),
        ([[0.5, 0.5]], True, (1.0, 0.5)),  # 2 · 1 / (2 + 1) = 2/3 were all else empty; here Σp = 1: 1 - 2/3
    ],
)
def test_the_degenerate_frames(values, is_marked, expected):
    found = doubt_of(np.array(values, np.float32), 0.5, is_marked)
    outline = 1 / 3 if expected == (1.0, 0.5) else expected[1]
    assert found == pytest.approx((expected[0], outline), abs=1e-6)


def test_what_is_looked_at_again_is_taken_from_both_orders_in_turn():
    doubts = [Doubt(0.1, 0.2), Doubt(0.9, 0.0), UNKNOWN, Doubt(0.0, 0.01), Doubt(0.1, 0.2)]
    is_marked = [True, True, False, False, True]
    # marks: 1, 0, 4 (equal ones stay in order); misses: 3 (unmarked), 0, 4, 1; in turn: 1 3 | 0 | 4
    assert to_review(doubts, is_marked, 0.25) == [(1, "mark")]
    assert to_review(doubts, is_marked, 0.26) == [(1, "mark"), (3, "missed")]  # 1.04 of four frames: rounded up
    assert to_review(doubts, is_marked, 1) == [(1, "mark"), (3, "missed"), (0, "mark"), (4, "mark")]
    misses = [(3, "missed"), (0, "outline"), (4, "outline"), (1, "outline")]
    assert to_review(doubts, is_marked, 1, "misses") == misses
    assert to_review(doubts, is_marked, 1, "marks") == [(1, "mark"), (0, "mark"), (4, "mark"), (3, "missed")]
    assert to_review([], [], 0.5) == []
    with pytest.raises(UsageError, match="unknown kind of review 'all'"):
        to_review(doubts, is_marked, 1, "all")


@pytest.mark.parametrize("budget", [0, -0.1, 1.1, float("nan")])
def test_a_budget_that_is_no_share_is_refused(budget):
    with pytest.raises(UsageError, match=r"review .*: expected a share of the frames, above 0 and at most 1"):
        OutputOptions(review=budget)


@pytest.fixture
def frames(tmp_path, monkeypatch):
    """Four frames of one red each: 255 (sure), 140 (softly marked), 0 (nothing), 100 (nearly marked)."""
    monkeypatch.chdir(tmp_path)
    for name, red in (("sure", 255), ("soft", 140), ("none", 0), ("near", 100)):
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        image[4:8, 4:8, 0] = red
        image[0, 0, 2] = 9  # no frame is of one colour
        (tmp_path / "frames").mkdir(exist_ok=True)
        PillowImage.fromarray(image).save(tmp_path / "frames" / f"{name}.png")
    return tmp_path


def predicted(folder, review, resume=False):
    model = write_tiny_model(folder / "tiny.onnx")
    predictor, sources = load(model, "onnxruntime"), find_sources([str(folder / "frames")])
    output = OutputFolder(folder / "out", OutputOptions(review=review))
    output.check(sources, may_replace=True)
    summary = predict_images(sources, output, predictor, record_of(model, predictor), WorkOptions(resume=resume))
    with output.table_path.open(newline="") as opened:
        return summary, {row["name"]: row for row in csv.DictReader(opened)}


def test_the_review_folder_is_in_order_and_the_table_says_so(frames):
    summary, rows = predicted(frames, 0.5)
    # soft: 16 pixels of 0.549, none reaches 0.9: 1. near: unmarked, 100 / 255 = 0.392. sure and none: 0
    assert float(rows["soft"]["mark_doubt"]) == 1
    assert float(rows["near"]["outline_doubt"]) == pytest.approx(100 / 255, abs=1e-6)
    assert [rows[name]["look_again"] for name in ("soft", "near", "sure", "none")] == ["1", "2", "0", "0"]
    assert [rows[name]["look_again_for"] for name in ("soft", "near", "sure")] == ["mark", "missed", ""]
    assert sorted(path.name for path in (frames / "out" / "review").iterdir()) == ["0001_soft.png", "0002_near.png"]
    assert frames / "out" / "review" in summary.written
    with PillowImage.open(frames / "out" / "review" / "0001_soft.png") as picture:
        shown = np.asarray(picture)
    with PillowImage.open(frames / "frames" / "soft.png") as picture:
        changed = (shown != np.asarray(picture)).any(axis=2)
    assert changed.sum() == 16  # the mask's pixels alone


def test_another_budget_replaces_the_pictures_and_no_other_files(frames):
    predicted(frames, 0.5)
    mine = frames / "out" / "review" / "notes.png"
    mine.write_bytes(b"mine")
    _, rows = predicted(frames, 0.25, resume=True)
    assert sorted(path.name for path in mine.parent.iterdir()) == ["0001_soft.png", "notes.png"]
    assert rows["near"]["look_again"] == "0"
    _, rows = predicted(frames, None)
    assert math.isnan(float(rows["soft"]["look_again"]))


def test_a_faulty_frame_is_not_looked_at_again(frames):
    (frames / "frames" / "bad.png").write_bytes(b"no image")
    _, rows = predicted(frames, 1.0)
    assert rows["bad"]["look_again"] == "nan"
    assert len(list((frames / "out" / "review").iterdir())) == 4


def test_inputs_in_the_review_folder_are_not_replaced(frames):
    (frames / "out").mkdir()
    (frames / "frames").rename(frames / "out" / "review")
    sources = find_sources([str(frames / "out" / "review")])
    with pytest.raises(DataError, match="4 inputs would be overwritten"):
        OutputFolder(frames / "out", OutputOptions(review=0.5)).check(sources, may_replace=True)


def test_a_table_of_an_earlier_version_is_read(frames):
    from polypseg.predict.images.table import COLUMNS, read_rows

    predicted(frames, 0.5)
    path = frames / "out" / "predictions.csv"
    lines = list(csv.reader(path.read_text().splitlines()))
    late = {"outer_area_px", "inner_area_px", "mark_doubt", "outline_doubt", "look_again", "look_again_for"}
    kept = [place for place, column in enumerate(COLUMNS) if column not in late]
    path.write_text("".join(",".join(line[place] for place in kept) + "\n" for line in lines))
    rows = read_rows(path)
    assert all(math.isnan(row.look_again) for row in rows)
    assert rows[0].look_again_for == ""
    _, again = predicted(frames, 0.5, resume=True)  # scores that are not there are not guessed
    assert {row["look_again"] for row in again.values()} == {"nan"}
