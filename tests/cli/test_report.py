"""`polypseg report` as it is typed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from polypseg.cli.console import one_line_errors
from polypseg.cli.report import report
from polypseg.evaluate.evaluation import evaluate
from polypseg.evaluate.plan import plan_predictions
from polypseg.evaluate.summary import SummaryOptions


def run(*arguments):
    app = typer.Typer()
    app.command()(one_line_errors(report))
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def scored(tmp_path, monkeypatch) -> Path:
    """The folder of an evaluation of two maps; charts, which take time, are left out."""
    monkeypatch.setattr("polypseg.report.html.inline_svg", lambda *_: "<svg></svg>")
    for number, name in enumerate(("a", "b")):
        mask = np.zeros((16, 16), np.uint8)
        mask[4:12, 4 + number : 12] = 255
        for folder in ("images", "masks", "maps"):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(mask).convert("RGB" if folder == "images" else "L").save(tmp_path / folder / f"{name}.png")
    plan = plan_predictions(tmp_path / "maps", tmp_path / "masks", tmp_path / "images")
    return evaluate(plan, tmp_path / "scored", summary_options=SummaryOptions(num_resamples=100))[0].folder


def test_report_writes_three_files_beside_the_scores(scored):
    result = run(scored)
    assert result.exit_code == 0, result.output
    for name in ("report.html", "model_card.md", "claim.md"):
        assert (scored / name).stat().st_size > 1000
        assert name in result.stdout
    assert "data:image" in (scored / "report.html").read_text()
    assert "--no-images removes them" in result.stderr


def test_report_of_a_file_of_scores_without_images(scored):
    result = run(scored / "scores.csv", "--no-images")
    assert result.exit_code == 0, result.output
    assert "data:image" not in (scored / "report.html").read_text()
    assert "pictures of the data" not in result.stderr


@pytest.mark.parametrize(
    ("out", "page"), [("review", "review/report.html"), ("review/a.html", "review/a.html"), ("b.HTM", "b.HTM")]
)
def test_report_goes_where_it_is_told(scored, tmp_path, out, page):
    assert run(scored, "-o", tmp_path / out).exit_code == 0
    assert (tmp_path / page).is_file()
    assert (tmp_path / page).with_name("claim.md").is_file()
    assert not (scored / "report.html").exists()


def test_report_shows_as_many_cases_as_are_asked_for(scored):
    run(scored, "--cases", 1)
    # one image and its overlay in two groups: worst, and best
    assert (scored / "report.html").read_text().count("<img") == 4
    run(scored, "--cases", 0)
    assert "<img" not in (scored / "report.html").read_text()


def test_report_keeps_what_was_edited_unless_told_otherwise(scored):
    run(scored)
    card = scored / "model_card.md"
    card.write_text(card.read_text() + "\nOur own words.\n")
    result = run(scored)
    assert result.exit_code == 0
    assert "it was edited" in result.stderr
    assert "Our own words." in card.read_text()
    run(scored, "--overwrite")
    assert "Our own words." not in card.read_text()


def test_report_refuses_another_kind_of_file(scored):
    result = run(scored, "-o", "report.pdf")
    assert result.exit_code == 2
    assert "expected a file that ends in .html" in result.stderr


def test_report_of_nothing_scored_is_one_line(tmp_path):
    (tmp_path / "config.toml").write_text("")
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "was not scored yet; do it with: polypseg evaluate" in result.stderr
    assert "Traceback" not in result.output


def test_report_help_gives_examples():
    text = run("--help").output
    assert "polypseg report runs/kvasir" in text
    assert "--no-images" in text


@pytest.mark.slow
def test_report_needs_no_training_framework():
    code = "import sys, polypseg.report.html, polypseg.report.card, polypseg.report.claim; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"keras", "tensorflow", "jax", "torch"} & set(modules)
