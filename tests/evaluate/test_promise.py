"""What an evaluation finds of a calibration's promise, by hand: the probability of a pixel is its red."""

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.errors import ModelError, UsageError
from polypseg.evaluate.evaluation import evaluate
from polypseg.evaluate.measure import false_share, missed_share
from polypseg.evaluate.plan import plan_model, plan_predictions
from polypseg.evaluate.promise import with_calibration
from polypseg.preprocess import read_mask
from polypseg.records.calibration import Bound, save_calibration
from polypseg.records.digests import file_digests, model_file_digest
from polypseg.records.explanation import Explanation, MapFigures, save_explanation
from polypseg.records.recalibration import GRID, Recalibration
from polypseg.records.stored import store_calibration, store_recalibration
from polypseg.records.summary import HeldSide
from polypseg.report.card import model_card
from polypseg.report.html import render_page
from polypseg.report.report_input import read_report_input
from predict.tiny_model import SIZE, write_tiny_model
from records.test_stored import a_calibration


@pytest.fixture
def data(tmp_path):
    """Four frames in two sequences: columns 0 to 3 are sure, 4 to 7 have 0.302; the polyp is columns 2 to 5, and in the
    second sequence 2 to 9."""
    folder = tmp_path / "data"
    rows = ["frame,sequence"]
    for number in range(4):
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        image[:, :4, 0], image[:, 4:8, 0] = 255, 77
        image[0, -1, 1] = number
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[:, 2 : 10 if number == 3 else 6] = 255
        for kind, picture in (("images", image), ("masks", mask)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            PillowImage.fromarray(picture).save(folder / kind / f"f{number}.png")
        rows.append(f"f{number},{'b' if number == 3 else 'a'}")
    (folder / "sequences.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def model(tmp_path):
    path = write_tiny_model(tmp_path / "tiny.onnx")
    inner = Bound(family="threshold", value=0.9, risk=0.1, stretch=1)
    store_calibration(path, a_calibration(model_file_digest(path), inner=inner))
    return path


def test_losses_by_hand():
    nothing, half = np.zeros((1, 4), bool), np.array([[True, True, False, False]])
    assert missed_share(half, ~nothing) == 0.5
    assert math.isnan(missed_share(half, nothing))
    assert false_share(~nothing, half) == 0.5
    assert false_share(nothing, half) == 0
    assert false_share(half, nothing) == 1


def test_the_risk_that_was_found_is_a_mean_over_groups(data, model, tmp_path):
    plan = with_calibration(plan_model(model, data))
    evaluation, summary = evaluate(plan, tmp_path / "out", search_leaks=False)
    scores, held = evaluation.scores(), summary.provenance.held
    # outer: columns 0 to 7. Sequence a misses nothing, f3 misses 2 of 8 columns
    assert scores.values["outer_missed"].tolist() == [0, 0, 0, 0.25]
    assert held.sides["outer"] == HeldSide(risk=0.125, num_groups=2, num_images=4, stretch=2.0)
    # inner: columns 0 to 3, of which 0 and 1 are no polyp
    assert held.sides["inner"] == HeldSide(risk=0.5, num_groups=2, num_images=4, stretch=1.0)
    assert held.num_calibration_images == 0
    assert read_mask(tmp_path / "out" / "outer" / "f0.png").sum() == 8 * SIZE
    assert read_mask(tmp_path / "out" / "inner" / "f0.png").sum() == 4 * SIZE


def test_the_report_and_the_card_show_it_with_the_maps_that_were_scored(data, model, tmp_path):
    evaluate(with_calibration(plan_model(model, data)), tmp_path / "out", search_leaks=False)
    figures = {"auroc": 0.75, "energy_inside": 0.5, "deletion": 0.25, "insertion": 0.5}
    record = Explanation(
        maps=(MapFigures(name="gate 1", **figures), MapFigures(name="random", **figures)),
        num_frames=4,
        polyp_share=0.3,
        num_steps=4,
        model_sha256=model_file_digest(model),
    )
    (tmp_path / "out" / "explanation").mkdir()
    save_explanation(tmp_path / "out" / "explanation", record)
    read = read_report_input(tmp_path / "out")
    page, card = render_page(read), model_card(read)
    for text in (page, card):
        assert "the outer mask misses at most 20 % of a polyp" in text
        assert "0.125" in text
        assert "0.62" in text  # 0.125 / 0.2, half to even
        assert "gate 1" in text
        assert "0.750" in text
    assert "between the inner and the outer mask" in page
    assert "![How faithful the maps are](explanation.png)" in card
    save_explanation(tmp_path / "out" / "explanation", replace_digest(record))  # of another model: not shown
    assert "gate 1" not in model_card(read_report_input(tmp_path / "out"))


def replace_digest(record):
    return record.model_copy(update={"model_sha256": "f" * 64})


def test_frames_that_made_the_calibration_are_counted(data, tmp_path):
    path = write_tiny_model(tmp_path / "tiny.onnx")
    digests = tuple(file_digests([data / "images" / "f0.png"]).values())
    store_calibration(path, a_calibration(model_file_digest(path), frame_sha256=digests))
    plan = with_calibration(plan_model(path, data))
    _, summary = evaluate(plan, tmp_path / "out", search_leaks=False)
    assert summary.provenance.held.num_calibration_images == 1


def test_a_calibration_that_does_not_fit(data, model, tmp_path):
    plan = replace(plan_model(model, data), threshold=0.7)
    assert with_calibration(plan).outer is None
    assert "of other settings" in with_calibration(plan).notes[-1]
    assert with_calibration(plan_model(model, data), "none").outer is None
    save_calibration(tmp_path / "c.json", a_calibration("b" * 64))
    with pytest.raises(ModelError, match="made for another model"):
        with_calibration(plan_model(model, data), str(tmp_path / "c.json"))
    maps = plan_predictions(data / "masks", data / "masks")
    assert with_calibration(maps) is maps
    with pytest.raises(UsageError, match="--calibration is for a run or a model"):
        with_calibration(maps, "c.json")


def test_recalibrated_probabilities_are_scored_and_the_masks_stay(data, tmp_path):
    path = write_tiny_model(tmp_path / "tiny.onnx")
    before, _ = evaluate(plan_model(path, data), tmp_path / "before", search_leaks=False)
    record = Recalibration(method="isotonic", levels=tuple((GRID**2).tolist()), margin=0.25)
    store_recalibration(path, record)
    plan = plan_model(path, data)
    assert (plan.threshold, plan.is_recalibrated) == (0.25, True)
    after, summary = evaluate(plan, tmp_path / "after", search_leaks=False)
    assert summary.provenance.recalibration.words == "isotonic"
    np.testing.assert_array_equal(before.scores().values["dice"], after.scores().values["dice"])
    # of 16 columns four have 0.302, which becomes 0.0912: two of them polyp in the first sequence, four in the other
    assert (before.scores().values["brier"] != after.scores().values["brier"]).all()
    expected = (2 * 0.0912**2 + 2 * (1 - 0.0912) ** 2 + 2 * 1) / 16
    assert after.scores().values["brier"][0] == pytest.approx(expected, abs=0.003)
