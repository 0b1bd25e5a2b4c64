"""polypseg export, as it is typed."""

import json

import pytest
from typer.testing import CliRunner

from export.models import make_red_run
from polypseg.cli import app
from polypseg.predict.engines.model_file import read_model_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that holds runs/red and data."""
    folder = tmp_path_factory.mktemp("typed")
    make_red_run(folder)
    return folder


@pytest.fixture(autouse=True)
def _there(folder, monkeypatch):
    monkeypatch.chdir(folder)


def typed(*words, code=0):
    """The output of `polypseg WORDS`, which ends with the exit code."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.output


def test_export_says_what_it_proved_and_options_reach_the_file(tmp_path):
    out = tmp_path / "red.onnx"
    words = ["--precision", "fp16", "--no-attention", "--name", "best", "--model-version", "3", "--licence", "CC0"]
    output = typed("export", "runs/red", "-o", out, *words, "--data", "data")
    assert "best: 32 px, fp16, threshold 0.5 (default)" in output
    assert "proved on 8 synthetic and 4 validation images, Dice on 4 in 8 perturbations, in " in output
    assert "change of the mean Dice +0.0000" in output
    assert f"wrote {out} (0.0 MB)" in output
    facts = read_model_file(out)[1]
    assert (facts.name, facts.version, facts.licence, facts.precision) == ("best", "3", "CC0", "fp16")


def test_exported_model_is_scored_at_its_stored_threshold(folder, tmp_path):
    tuned = folder / "runs" / "red" / "threshold.json"
    tuned.write_text(json.dumps({"threshold": 0.25, "chosen_on": "validation"}))
    try:
        typed("export", "runs/red", "-o", tmp_path / "red.onnx")
    finally:
        tuned.unlink()
    output = typed("evaluate", tmp_path / "red.onnx", "--data", "data", "--out", tmp_path / "scores")
    assert "threshold 0.25 (chosen on the validation split)" in output
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text())
    assert summary["metrics"]["dice"]["mean"] > 0.9
    assert summary["provenance"]["checkpoint_chosen_by"] == "lowest val_loss on the validation split"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["runs/none", "-o", "a.onnx"], 1, "no such file or folder"),
        (["runs/red", "-o", "a.pt"], 2, "expected a file that ends in one of"),
        (["runs/red", "-o", "a.onnx", "--precision", "int4"], 2, "unknown precision 'int4'"),
        (["runs/red", "-o", "a.onnx", "--method", "best"], 2, "unknown quantisation method 'best'"),
        (["a.onnx", "-o", "b.onnx"], 1, "a.onnx: cannot read the model: No such file"),
        (
            ["runs/red/checkpoints/best.keras", "-o", "a.onnx", "--precision", "int8"],
            2,
            "name their folder with --data",
        ),
        (["runs/red", "-o", "a.onnx", "--data", "nowhere"], 1, "no such folder"),
    ],
)
def test_errors_of_export_are_one_line(folder, words, code, message):
    output = typed("export", *words, code=code)
    assert message in output
    assert output.startswith("error: ")
    assert len(output.strip().splitlines()) == 1
    assert not (folder / "a.onnx").exists()


def test_an_included_model_without_its_second_look(tmp_path):
    out = tmp_path / "fast.onnx"
    output = typed("export", "polyp-lite", "-o", out, "--precision", "int8", "--no-second-look")
    assert "its figures were measured with the second look and are left out" in output
    assert "proved on" not in output
    assert not read_model_file(out)[1].second_look
    assert typed("export", "polyp-lite", "-o", out, "--precision", "int8").count("openvino on AVX2") > 1
    assert read_model_file(out)[1].second_look
