"""References and findings in files: three forms, and one line for each that cannot be understood."""

import csv

import numpy as np
import pytest

from evaluate.procedures import toy
from evaluate.procedures.conftest import save, write
from polypseg.errors import ImageError, ScoreError, UsageError
from polypseg.evaluate.procedures.deployment import DeploymentOptions, report_deployment
from polypseg.evaluate.procedures.facts import facts_of_predictions
from polypseg.evaluate.procedures.references import open_references
from polypseg.records.deployment import DeploymentFolder
from polypseg.report.deployment import write_deployment_page

INTERVALS = "procedure,lesion,first_frame,last_frame,num_frames,look\np1,a,1,2,5,flat\np2,,,,3,\n"
TABLE = "procedure,frame,x,y,width,height,score\np1,1,0,0,5,5,0.9\np1,4,0,0,5,5,0.7\np2,0,0,0,5,5,0.2\n"


def test_intervals_by_hand(tmp_path):
    references = open_references(save(tmp_path / "lesions.csv", INTERVALS), 10.0)
    facts = facts_of_predictions(save(tmp_path / "findings.csv", TABLE), references)
    assert facts.procedures.num_frames == 8
    assert facts.procedures.sight_frame.tolist() == [1, 2]
    assert facts.procedures.sight_score.tolist() == [0.9, -np.inf]
    assert facts.procedures.is_true.tolist() == [True, False, False]
    record = report_deployment("table", facts, DeploymentOptions(0.5), tmp_path / "out")
    assert record.points[0].by_look["look"]["flat"].num_found == 1
    assert record.points[0].boundary is None
    assert any("not where" in note for note in record.notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (INTERVALS.replace("1,2", "2,1"), "lesion a ends in frame 1 before it begins in frame 2"),
        (INTERVALS.replace("1,2", "1,5"), "lesion a ends in frame 5; p1 has frames 0 to 4"),
        (INTERVALS.replace("1,2", "x,2"), "first_frame is 'x'"),
        (INTERVALS + "p1,a,2,4,5,flat\n", "lesion a: in 1 frames twice; expected one box, or one interval"),
        (INTERVALS + "p1,b,2,4,6,flat\n", "p1 has 5 frames in one row and 6 in another"),
        (INTERVALS.replace("1,2,5", "1,2,10000001"), "p1 has 10,000,001 frames; expected at most 10,000,000"),
        (INTERVALS.replace(",num_frames,", ",other,"), "add a column num_frames"),
        ("procedure,lesion\n", "lacks the columns first_frame, last_frame"),
    ],
)
def test_odd_intervals(tmp_path, text, message):
    with pytest.raises((ScoreError, UsageError), match=message):
        facts_of_predictions(
            save(tmp_path / "findings.csv", TABLE), open_references(save(tmp_path / "lesions.csv", text), 10.0)
        )


def spoilt(change):
    truth, results = toy.row([0.9, 0.5], [0.3])
    change(truth, results)
    return truth, results


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda truth, _: truth["images"][1].update(file_name="v_0.jpg"), "v: frame v_0 is there twice"),
        (lambda truth, _: truth["images"][1].update(id=1), "an image's id is there twice"),
        (lambda truth, _: truth["annotations"][0].pop("unique_id"), "annotation 1 carries no lesion_id"),
        (lambda truth, _: truth["annotations"][0].update(bbox=[1, 2, 3]), "no bbox of four numbers"),
        (lambda truth, _: truth["annotations"][0].update(image_id=99), "annotation of an unknown image"),
        (lambda truth, _: truth["annotations"][0].update(image_id=2), "lesion v_1: in 1 frames twice"),
        (lambda truth, _: truth.update(lesions=[{"id": "ghost"}]), "lesion ghost is visible in no frame"),
        (lambda truth, _: truth["images"][0].update(frame_rate=30), "mixed frame rates in one procedure"),
        (lambda truth, _: truth["images"][1].update(file_name="w_1.jpg"), "lesion v_1: in two procedures"),
        (lambda _, results: results[0].update(image_id=77), "1 findings name frames that are not there"),
        (lambda _, results: results[0].update(score=90), "a score is 90; expected 0 to 1"),
        (lambda _, results: results[0].update(bbox=[0, 0, -1, 2]), "expected x, y, width, height"),
        (lambda _, results: results[0].pop("score"), "lacks a bbox of four numbers, or a score"),
    ],
)
def test_odd_coco(tmp_path, change, message):
    truth, results = spoilt(change)
    with pytest.raises(ScoreError, match=message):
        facts_of_predictions(
            save(tmp_path / "found.json", results), open_references(save(tmp_path / "truth.json", truth), 25.0)
        )


def test_no_rate(tmp_path):
    truth, _ = toy.row([0.9], [])
    with pytest.raises(UsageError, match="--frame-rate"):
        open_references(save(tmp_path / "truth.json", truth))


def test_order_of_images_does_not_matter(tmp_path):
    truth, results = toy.row([0.9, 0.5, 0.4], [0.3] * 9)
    truth["images"].reverse()
    facts = facts_of_predictions(
        save(tmp_path / "found.json", results), open_references(save(tmp_path / "truth.json", truth), 25.0)
    )
    assert facts.keys == tuple(f"v_{number}" for number in range(12))  # 9 before 10
    assert facts.procedures.sight_score.tolist() == [0.9, 0.5, 0.4]


def test_frame_rates_that_differ_between_procedures_are_noted(tmp_path):
    truth, results = toy.drawn(0)
    for one in truth["images"]:
        one["frame_rate"] = 25 if one["file_name"].startswith("001-000") else 50
    facts = facts_of_predictions(
        save(tmp_path / "found.json", results), open_references(save(tmp_path / "truth.json", truth))
    )
    np.testing.assert_allclose(facts.procedures.frame_seconds, [0.04, 0.02])
    record = report_deployment("x", facts, DeploymentOptions(0.5), tmp_path / "out")
    assert any("frame rates differ" in note for note in record.notes)


def test_procedures_without_a_clean_frame(tmp_path):
    truth, results = toy.row([0.9, 0.5], [])
    facts = facts_of_predictions(
        save(tmp_path / "found.json", results), open_references(save(tmp_path / "truth.json", truth), 25.0)
    )
    record = report_deployment("x", facts, DeploymentOptions(0.4), tmp_path / "out")
    assert record.matched is None
    assert record.points[0].frames.specificity.value is None
    assert any("no procedure has a frame without a lesion" in note for note in record.notes)


def test_procedures_of_a_single_frame_have_no_alerts_a_minute(tmp_path):
    truth, results = toy.row([0.9, 0.8], [0.7])
    truth["images"][2]["procedure"] = "still"
    facts = facts_of_predictions(
        save(tmp_path / "found.json", results), open_references(save(tmp_path / "truth.json", truth), 25.0)
    )
    record = report_deployment("x", facts, DeploymentOptions(0.5), tmp_path / "out")
    (frames, *_) = record.points[0].alerts
    assert (frames.definition, frames.num_alerts, frames.per_minute.value) == ("clean-frames", 1, None)
    assert frames.per_procedure.value == 0.5
    by_name = {alerts.definition: alerts for alerts in record.points[0].alerts}
    assert by_name["runs"].num_alerts == 1
    assert by_name["alerts-2s"].num_alerts is None  # nobody knows how long a still lasts
    assert by_name["alerts-2s"].per_procedure.value is None
    rows = {
        row["procedure"]: row for row in csv.DictReader((tmp_path / "out" / "procedures.csv").read_text().splitlines())
    }
    assert [rows["still"][name] for name in ("clean-frames", "runs", "alerts-0.5s", "alerts-2s")] == ["1", "1", "", ""]
    assert rows["v"]["alerts-0.5s"] == "0"
    page = write_deployment_page(DeploymentFolder(tmp_path / "out")).read_text()
    assert page.count("What was found when") == 1  # the timeline of v
    assert "1 procedure is a single frame and has no timeline." in page
    assert '<th scope="row">alerts-2s, a procedure</th><td class="number">–</td>' in page
    assert '<th scope="row">still</th><td class="number">0.00</td><td class="number">–</td>' in page  # lasts: unknown
    assert "1 procedure is a single frame without a length: false alerts per minute are unknown" in record.notes


def test_a_soft_mask_is_no_mask_of_numbers(tmp_path):
    write(tmp_path / "masks" / "p", "1", np.arange(256, dtype=np.uint8).reshape(16, 16))
    references = open_references(tmp_path / "masks", 25.0)
    with pytest.raises(ImageError, match="255 grey levels"):
        references.sights_in(references.frames)


def test_a_procedure_without_a_lesion_and_one_without_a_finding(tmp_path):
    truth, results = toy.row([], [0.4, 0, 0.3])
    facts = facts_of_predictions(
        save(tmp_path / "found.json", results), open_references(save(tmp_path / "truth.json", truth), 25.0)
    )
    record = report_deployment("x", facts, DeploymentOptions(0.35), tmp_path / "out")
    assert record.points[0].lesions.num_lesions == 0
    assert record.points[0].frames.sensitivity.value is None
    assert record.points[0].frames.specificity.value == pytest.approx(2 / 3)
    assert record.afroc_area is None
    assert any("no lesion in any procedure" in note for note in record.notes)
    truth, _ = toy.row([0.9, 0.8], [0, 0])
    facts = facts_of_predictions(
        save(tmp_path / "none.json", []), open_references(save(tmp_path / "truth.json", truth), 25.0)
    )
    record = report_deployment("x", facts, DeploymentOptions(0.5), tmp_path / "none")
    assert record.points[0].frames.sensitivity.value == 0
    assert record.matched.threshold is None
    assert len(record.points) == 1


def test_where_nothing_is_found_no_threshold_is_blamed(tmp_path):
    truth, _ = toy.row([0.9], [0])
    facts = facts_of_predictions(
        save(tmp_path / "found.json", []), open_references(save(tmp_path / "truth.json", truth), 25.0)
    )
    record = report_deployment("x", facts, DeploymentOptions(0.5), tmp_path / "out")
    assert "nothing was found in any frame: there is no threshold to match" in record.notes
    assert not any("highest score" in note or "optimistic" in note for note in record.notes)
