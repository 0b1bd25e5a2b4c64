"""`polypseg evaluate` for whole procedures, as it is typed."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from evaluate.procedures import toy
from evaluate.procedures.conftest import RedEngine, clinic, save  # noqa: F401
from polypseg.cli import app
from polypseg.predict.predictor import Predictor


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


def test_validation_and_budget(files, tmp_path):
    truth, found = files
    words = ("evaluate", "--predictions", found, "--references", truth, "--frame-rate", "30", "-o", tmp_path / "out")
    typed(*words, "--validation", "001-000", "--budget", "0.2")
    record = json.loads((tmp_path / "out" / "deployment.json").read_text())
    assert record["matched"]["chosen_on"] == ["001-000"]
    assert record["points"][1]["procedures"] == ["001-001"]
    assert record["matched"]["burden"] <= 0.2
    told = typed(*words, "--burden", "alerts-x", code=2)
    assert "unknown definition of a false alert 'alerts-x'" in told


def test_protocol(files, tmp_path):
    truth, found = files
    words = ("evaluate", "--predictions", found, "--references", truth, "-o", tmp_path / "out")
    told = typed(*words, "--protocol", "true-colon-realcolon", "--threshold", "0.4")
    result = json.loads((tmp_path / "out" / "true_colon.json").read_text())
    assert result["frame"]["conf"] == 0.4
    assert f"FPR {result['frame']['fpr']:.4f}" in told
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
    assert "name --references" in typed("evaluate", "--predictions", found, code=2)
    assert "name a model and --videos DIR, or --predictions" in typed(
        "evaluate", "--videos", tmp_path, "--references", truth, code=2
    )
    assert "are for procedures: name --videos" in typed("evaluate", "runs/x", "--withhold", "3", code=2)
    assert "no such references" in typed("evaluate", "--predictions", found, "--references", tmp_path / "no", code=1)
