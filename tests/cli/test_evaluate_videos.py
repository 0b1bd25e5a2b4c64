"""`polypseg evaluate` for whole procedures, as it is typed."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from evaluate.procedures import toy
from evaluate.procedures.conftest import RedEngine, clinic, frame, save, write  # noqa: F401
from polypseg.cli import app
from polypseg.predict.predictor import Predictor
from polypseg.records.lock import alone_in


def typed(*words, code=0):
    """The output of `polypseg WORDS`, which ends with the exit code, in one line."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    truth, results = toy.drawn(0)
    return save(tmp_path / "truth.json", truth), save(tmp_path / "found.json", results)


def test_saved_findings(files, tmp_path):
    truth, found = files
    told = typed(
        "evaluate", "--predictions", found, "--references", truth, "--frame-rate", "30", "-o", tmp_path / "out"
    )
    assert "lesions found" in told
    record = json.loads((tmp_path / "out" / "deployment.json").read_text())
    assert record["points"][0]["lesions"]["num_lesions"] == 6
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Not a medical device" in page
    assert page.count("<svg") == 4  # two curves, two timelines
    assert "AFROC" in page
    assert "http" not in page.replace("http-equiv", "")  # nothing points out of the page
    card = (tmp_path / "out" / "model_card_section.md").read_text()
    assert card.startswith("## Whole procedures")
    assert "| frame sensitivity |" in card


@pytest.mark.slow
def test_validation_and_budget(files, tmp_path):
    truth, found = files
    words = ("evaluate", "--predictions", found, "--references", truth, "--frame-rate", "30", "-o", tmp_path / "out")
    typed(*words, "--validation", "001-000", "--budget", "0.2")
    record = json.loads((tmp_path / "out" / "deployment.json").read_text())
    assert record["matched"]["chosen_on"] == ["001-000"]
    assert record["points"][1]["procedures"] == ["001-001"]
    assert record["matched"]["burden"] <= 0.2
    told = typed(*words, "--burden", "alerts-x", "--overwrite", code=2)
    assert "unknown burden of false alerts 'alerts-x'" in told


def test_protocol(files, tmp_path):
    truth, found = files
    words = ("evaluate", "--predictions", found, "--references", truth, "-o", tmp_path / "out")
    told = typed(*words, "--protocol", "true-colon-realcolon", "--threshold", "0.4")
    result = json.loads((tmp_path / "out" / "true_colon.json").read_text())
    assert result["frame"]["conf"] == 0.4
    assert f"FPR {result['frame']['fpr']:.4f}" in told
    assert "left out" not in told
    listed = json.loads(found.read_text())
    save(found, [{**listed[0], "image_id": 999}, *listed[1:]])
    told = typed(*words, "--protocol", "true-colon", "--overwrite")
    assert "note: 1 predictions name no frame of the references, and are left out" in told
    content = json.loads(truth.read_text())
    for one in content["annotations"]:
        del one["unique_id"]
    told = typed(*words[:4], save(truth, content), *words[5:], "--protocol", "true-colon", "--overwrite")
    assert "note: no box of the references carries a unique_id: there are no figures of lesions" in told
    assert "needs --predictions and --references" in typed(
        "evaluate", "polyp-lite", "--videos", tmp_path, "--references", truth, "--protocol", "true-colon", code=2
    )


def test_a_model_on_films(clinic, monkeypatch):  # noqa: F811
    monkeypatch.setattr("polypseg.predict.predictor.load", lambda path, options: Predictor(RedEngine(), options))
    words = ("evaluate", "polyp-lite", "--videos", clinic / "films", "--references", clinic / "masks")
    told = typed(*words, "--frame-rate", "10", "--coco-results", "--withhold", "1", "-o", clinic / "out")
    assert "coco_results.json" in told
    record = json.loads((clinic / "out" / "deployment.json").read_text())
    assert record["provenance"]["withheld"] == "1"
    assert {row["smoothing"] for row in record["variations"]} == {"none", "exponential"}
    assert record["points"][0]["alerts"][1]["num_alerts"] == 0  # both false spots last one frame
    exponential = [row for row in record["variations"] if row["smoothing"] == "exponential" and not row["withhold"]]
    assert np.all([row["sensitivity"] <= 1 for row in exponential])


def test_calls_that_do_not_fit(files, tmp_path):
    truth, found = files
    assert "name a model and --videos DIR, or --predictions" in typed(
        "evaluate", "polyp-lite", "--predictions", found, "--references", truth, code=2
    )
    assert "name --references" in typed("evaluate", "--predictions", found, code=2)
    assert "name a model and --videos DIR, or --predictions" in typed(
        "evaluate", "--videos", tmp_path, "--references", truth, code=2
    )
    assert "no such references" in typed("evaluate", "--predictions", found, "--references", tmp_path / "no", code=1)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("runs/x", "--withhold", "3", "--budget", "0.1"), "--budget, --withhold: for whole procedures"),
        (("runs/x", "--smooth", "window"), "--smooth: for whole procedures, not for single images; name --videos DIR"),
        (("FOUND", "--split", "test", "--no-leaks"), "--split, --leaks: for single images, not for whole procedures"),
        (("FOUND", "--polyp-values", "255"), "--polyp-values: for single images"),
        (("FOUND", "--case-pictures"), "--case-pictures: the pictures are taken from the videos; name them with --v"),
        (("FOUND", "--videos", "films"), "--videos: beside saved findings, videos are for pictures alone; add"),
        (("FOUND", "--protocol", "pranet"), "unknown protocol of whole procedures 'pranet'"),
        (("FOUND", "--protocol", "true-colour"), "did you mean 'true-colon'"),
        (("FOUND", "--threshold", "2"), "threshold 2: expected a value in [0, 1]"),
        (("FOUND", "--area-limits", "20,5"), "--area-limits 20,5: expected two rising numbers from 0 to 100, as 5,20"),
        (("FOUND", "--tta", "flips"), "--tta: for a model; saved findings are evaluated as they are"),
        (("FOUND", "--protocol", "true-colon", "--withhold", "2", "--seed", "1"),
         "--withhold, --seed: not part of --protocol true-colon, which fixes its own rules"),
    ],
)  # fmt: skip
def test_an_option_that_would_do_nothing_is_refused(files, tmp_path, words, told):
    truth, found = files
    saved = ("--predictions", found, "--references", truth, "--frame-rate", "30", "-o", tmp_path / "out")
    if "true-colon" in words:
        saved = (*saved[:4], *saved[6:])
    words = (*saved, *words[1:]) if words[0] == "FOUND" else words
    assert told in typed("evaluate", *words, code=2)
    assert not (tmp_path / "out").exists()


def test_a_report_that_is_there_stays_and_two_at_work_exclude_each_other(files, tmp_path):
    truth, found = files
    words = ("evaluate", "--predictions", found, "--references", truth, "--frame-rate", "30", "-o", tmp_path / "out")
    (tmp_path / "out").mkdir()
    with alone_in(tmp_path / "out"):
        assert "is at work here; wait for it, or name another place" in typed(*words, code=1)
    (tmp_path / "out" / "true_colon.json").write_text("{}")
    assert "exists; replace it with --overwrite, or name another folder (-o)" in typed(*words, code=2)
    typed(*words, "--overwrite")
    assert "deployment.json: exists" in typed(*words, code=2)


def test_no_folder_stays_of_a_call_that_failed(files, tmp_path):
    _, found = files
    typed("evaluate", "--predictions", found, "--references", tmp_path / "no.json", "-o", tmp_path / "out", code=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_pictures_of_cases_are_made_where_they_are_asked_for(clinic, monkeypatch):  # noqa: F811
    monkeypatch.setattr("polypseg.predict.predictor.load", lambda path, options: Predictor(RedEngine(), options))
    words = (
        "evaluate",
        "polyp-lite",
        "--videos",
        clinic / "films",
        "--references",
        clinic / "masks",
        "--frame-rate",
        "10",
    )
    typed(*words, "-o", clinic / "plain")
    assert not (clinic / "plain" / "cases").exists()
    assert "data:image" not in (clinic / "plain" / "report.html").read_text()
    told = typed(*words, "--case-pictures", "-o", clinic / "out")
    assert "the page contains 3 pictures of the data" in told
    listed = json.loads((clinic / "out" / "cases" / "cases.json").read_text())
    # p2's lesion is never found; p1's is found at once; the spots of frames 10 and 11 follow one another.
    assert [(one["kind"], one["procedure"], one["frame"]) for one in listed] == [
        ("missed", "p2", "1"),
        ("found", "p1", "9"),
        ("false", "p1", "11"),
    ]
    page = (clinic / "out" / "report.html").read_text()
    assert page.count("data:image/jpeg") == 3
    assert "lesion p2:255, found in 0 of 1 frames" in page
    typed(*words, "--case-pictures", "--withhold", "1", "--overwrite", "-o", clinic / "out")
    listed = json.loads((clinic / "out" / "cases" / "cases.json").read_text())
    assert [one["kind"] for one in listed] == ["missed", "found"]  # both false spots last one frame
    typed(*words, "--overwrite", "-o", clinic / "out")
    assert not (clinic / "out" / "cases").exists()  # nobody asked for them any more
    assert "data:image" not in (clinic / "out" / "report.html").read_text()


def test_masks_are_there_also_where_a_model_shows_nothing(clinic, monkeypatch):  # noqa: F811
    monkeypatch.setattr("polypseg.predict.predictor.load", lambda path, options: Predictor(RedEngine(), options))
    for name in ("9", "10", "11"):
        write(clinic / "films" / "p1", name, frame())
    words = ("evaluate", "polyp-lite", "--videos", clinic / "films", "--references", clinic / "masks")
    words = (*words, "--frame-rate", "10", "-o", clinic / "out")
    assert "no masks on both sides" not in typed(*words)  # p2's lesion has a red of 0.3, which is not shown
    assert "unknown smoothing 'windows'; did you mean 'window'" in typed(
        *words, "--overwrite", "--smooth", "windows", code=2
    )


def test_pictures_of_cases_of_saved_findings_are_taken_from_the_videos(clinic, tmp_path):  # noqa: F811
    # As the red engine of the other tests finds them, as boxes: the same cases follow.
    found = save(
        tmp_path / "findings.csv",
        "procedure,frame,x,y,width,height,score\np1,9,20,20,10,10,0.9\np1,10,15,20,10,10,0.8\np1,10,50,50,4,4,0.65\n"
        "p1,11,40,5,8,8,0.7\np2,1,20,20,10,10,0.3\n",
    )
    words = ("evaluate", "--predictions", found, "--references", clinic / "masks", "--frame-rate", "10")
    words = (*words, "-o", clinic / "out", "--case-pictures", "--videos", clinic / "films")
    assert "the page contains 3 pictures of the data" in typed(*words)
    listed = json.loads((clinic / "out" / "cases" / "cases.json").read_text())
    assert [(one["kind"], one["procedure"], one["frame"]) for one in listed] == [
        ("missed", "p2", "1"),
        ("found", "p1", "9"),
        ("false", "p1", "11"),
    ]
    assert (clinic / "out" / "report.html").read_text().count("data:image/jpeg") == 3
    (clinic / "films" / "p2").rename(clinic / "films" / "other")
    told = typed(*words, "--overwrite", code=1)
    assert "procedure p2: missing in the videos, which have other, p1; expected the same names" in told
    (clinic / "films" / "p1" / "10.png").unlink()
    told = typed(*words, "--overwrite", code=1)
    assert "p1: 1 frame is missing in the videos, as 10; add them" in told
