"""A model on folders of frames against masks: every number by hand from the fixture `clinic`."""

import json

import numpy as np
import pytest

from evaluate.procedures.conftest import SIDE, frame, write
from polypseg.errors import ScoreError, UsageError
from polypseg.evaluate.procedures.coco_results import write_coco_results
from polypseg.evaluate.procedures.deployment import DeploymentOptions, report_deployment
from polypseg.evaluate.procedures.facts import facts_of_model, facts_of_predictions
from polypseg.evaluate.procedures.films import find_films
from polypseg.evaluate.procedures.references import open_references
from polypseg.evaluate.procedures.watch import Smoothing, operating_point, split_regions, watch
from polypseg.records.deployment import TABLE, DeploymentFolder
from polypseg.records.reading import read_rows

NONE = Smoothing()


def facts(clinic, predictor, smoothings=(NONE,)):
    references = open_references(clinic / "masks", 10.0)
    frames, watched = watch(find_films(clinic / "films"), predictor, references, smoothings, 10.0)
    return {one: facts_of_model(frames, result, references) for one, result in watched.items()}


@pytest.fixture
def found(clinic, predictor):
    return facts(clinic, predictor)[Smoothing()]


def test_findings(found):
    assert found.procedures.names == ("p1", "p2")
    assert found.keys == ("8", "9", "10", "11", "1", "2")  # 9 before 10
    assert found.findings.frame.tolist() == [1, 2, 2, 3, 4]
    np.testing.assert_allclose(found.findings.score, [0.9, 0.8, 0.65, 0.7, 0.3], atol=0.003)
    assert found.findings.box[1].tolist() == [15, 20, 10, 10]
    np.testing.assert_allclose(found.findings.percent, 100 * np.array([100, 100, 16, 64, 100]) / SIDE**2)
    # The lesion's spots of frames 9 and 10 are one track, those elsewhere two others; the weak one has none.
    assert found.findings.track.tolist() == [1, 1, 2, 3, -1]


def test_lesions_and_outlines(found):
    assert found.procedures.lesions == ("p1:3", "p2:255")
    np.testing.assert_allclose(found.procedures.sight_score, [0.9, 0.8, 0.3], atol=0.003)
    # Frame 10: 10 x 10 shifted by 5: Dice 2·50 / 200. The diagonal of 64 x 64 is 90.5, the band 2 pixels wide: rings of
    # 100 - 36 = 64. Both rings hold the upper and lower two rows of the 5 shared columns: 4 x 5 = 20. In the 6 rows
    # between, one ring has the two outer columns of one side, the other those of the other side.
    np.testing.assert_allclose(found.dice, [1, 0.5, np.nan])
    np.testing.assert_allclose(found.boundary_iou, [1, 20 / (64 + 64 - 20), np.nan])


def test_operating_point_is_the_peak_threshold(predictor):
    assert operating_point(predictor) == 0.6


def test_regions_below_the_threshold_never_grow_those_above():
    probability = np.array([[0.9, 0.3, 0.0, 0.3, 0.0, 0.04]], np.float32)
    shown, weak = split_regions(probability, 0.5)
    assert [region.box for region in shown] == [(0, 0, 1, 1)]  # not with the .3 beside it
    assert [region.box for region in weak] == [(3, 0, 1, 1)]
    shown, weak = split_regions(probability, 0.5, min_area_px=2)
    assert not shown  # of one pixel; it and its neighbour are weak together
    assert [region.box for region in weak] == [(0, 0, 2, 1)]


def test_withheld_tracks(found):
    # Tracks last 2, 1 and 1 frames; the finding without a track stays.
    assert found.withheld(0) is found.procedures
    np.testing.assert_allclose(found.withheld(1).finding_score, [0.9, 0.8, 0.3], atol=0.003)
    np.testing.assert_allclose(found.withheld(2).finding_score, [0.3], atol=0.003)


def test_smoothing_in_the_same_run(clinic, predictor):
    both = facts(clinic, predictor, (Smoothing(), Smoothing("window", 2)))
    smoothed = both[Smoothing("window", 2)]
    # The mean of 9 and 10 where both are red is (.9 + .8) / 2; of 10 and 11 nothing reaches .5.
    assert smoothed.procedures.top_score.max() == pytest.approx(0.85, abs=0.003)
    assert both[Smoothing()].procedures.top_score.max() == pytest.approx(0.9, abs=0.003)


def test_report(found, tmp_path):
    options = DeploymentOptions(threshold=0.6, budget=0.4, provenance={"command": "polypseg <b>"})
    out = tmp_path / "out"
    record = report_deployment("red", found, options, out)
    first, matched = record.points
    # Lesion frames 9, 10 and p2's 1: two found. Clean: 8, 11, p2's 2: one alerted.
    assert first.frames.sensitivity.value == pytest.approx(2 / 3)
    assert first.frames.specificity.value == pytest.approx(2 / 3)
    assert first.frames.false_per_frame.value == pytest.approx(2 / 6)
    alerts = {one.definition: one for one in first.alerts}
    assert alerts["clean-frames"].num_alerts == 1
    assert alerts["false-frames"].num_alerts == 2  # 10 and 11
    assert alerts["runs"].num_alerts == 1  # in a row
    assert alerts["runs"].per_minute.value == pytest.approx(1 / (0.6 / 60))
    assert alerts["runs"].per_procedure.value == 0.5
    assert (first.lesions.num_lesions, first.lesions.num_found) == (2, 1)
    assert first.lesions.median_latency_seconds == 0
    assert first.lesions.persistent["0.75"].value == 0.5
    assert first.boundary.dice.value == 0.75
    assert first.boundary.empty.value == pytest.approx(1 / 3)
    assert first.boundary.low_boundary_iou.value == 0.5  # 20 / 108 is below .2
    assert first.boundary.low_dice.value == 0  # .5 is not below .5
    # The rate of a third keeps within .4 down to .3: all scores but .7 lie on lesions or beside them.
    assert (record.matched.threshold, record.matched.is_optimistic) == (pytest.approx(0.3, abs=0.003), True)
    assert matched.lesions.num_found == 2
    assert first.by_look["size"].keys() == {"small"}
    assert any("optimistic" in note for note in record.notes)
    folder = DeploymentFolder(out)
    assert folder.read() == record
    assert folder.read_lesions()[1].num_found == 0
    assert [row["procedure"] for row in read_rows(out / "procedures.csv", (), TABLE)] == ["p1", "p2"]


def test_validation_procedures_are_not_evaluated(found, tmp_path):
    options = DeploymentOptions(threshold=0.6, validation=("p1",), budget=0.0)
    record = report_deployment("red", found, options, tmp_path / "out")
    # On p1 the highest clean score is .7: the lowest score above it is .8. Evaluated is p2, whose lesion has .3.
    assert record.matched.threshold == pytest.approx(0.8, abs=0.003)
    assert record.matched.chosen_on == ("p1",)
    assert [point.procedures for point in record.points] == [("p2",), ("p2",)]
    assert record.points[1].lesions.num_found == 0
    with pytest.raises(ScoreError, match="none is left"):
        report_deployment("red", found, DeploymentOptions(0.6, validation=("p1", "p2")), tmp_path / "out")


def test_own_table_and_coco_results_give_the_same_findings(found, clinic, tmp_path):
    out = tmp_path / "out"
    report_deployment("red", found, DeploymentOptions(threshold=0.6), out)
    results, references = write_coco_results(found, out)
    again = facts_of_predictions(out, open_references(clinic / "masks", 10.0))
    assert again.findings.box.tolist() == found.findings.box.tolist()
    assert again.findings.track.tolist() == found.findings.track.tolist()
    by_boxes = facts_of_predictions(results, open_references(references))
    assert by_boxes.procedures.names == ("p1", "p2")
    assert by_boxes.findings.score.tolist() == found.findings.score.tolist()
    assert by_boxes.procedures.sight_score.tolist() == found.procedures.sight_score.tolist()
    assert by_boxes.procedures.seconds.tolist() == found.procedures.seconds.tolist()
    assert by_boxes.procedures.lesions == found.procedures.lesions


def test_coco_results_in_the_package_of_the_protocol(found, tmp_path):
    tc = pytest.importorskip("true_colon")
    results, references = write_coco_results(found, tmp_path)
    judge = tc.create_evaluator(conf=0.6, tiers=frozenset({"frame", "lesion"}))
    theirs = judge.evaluate(json.loads(references.read_text()), json.loads(results.read_text()))
    assert (theirs.frame.tp, theirs.frame.fp, theirs.frame.tn, theirs.frame.fn) == (2, 1, 2, 1)
    assert theirs.lesion.summary.detected_any == 1
    assert {record.video_name for record in theirs.lesion.records} == {"p1", "p2"}


def test_faults(clinic, predictor, tmp_path):
    references = open_references(clinic / "masks", 10.0)
    with pytest.raises(UsageError, match=r"p1: its frames have no time; .* --frame-rate"):
        watch(find_films(clinic / "films"), predictor, references)
    write(clinic / "films" / "p1", "12", frame())
    with pytest.raises(ScoreError, match="p1: 1 frame is missing in the references, as 12"):
        facts(clinic, predictor)
    (clinic / "films" / "p1" / "12.png").unlink()
    (clinic / "films" / "p1" / "8.png").unlink()
    with pytest.raises(ScoreError, match="p1: 1 frame is missing in the videos, as 8"):
        facts(clinic, predictor)
    write(clinic / "films" / "p1", "8", frame()[:40])
    with pytest.raises(ScoreError, match="64x64 pixels, its frame 40x64"):
        facts(clinic, predictor)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScoreError, match="no procedure"):
        find_films(tmp_path / "empty")
