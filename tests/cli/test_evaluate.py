"""polypseg evaluate and polypseg compare, as they are typed."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import polypseg
from evaluate.conftest import SPLITS, make_data, make_run, open_red_engine, rectangle, write_image, write_mask
from polypseg.cli import app


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The run of tests/evaluate, in a folder that the command is typed in."""
    monkeypatch.setattr("polypseg.evaluate.plan.open_engine", open_red_engine)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return make_run(tmp_path / "runs" / "red", make_data(tmp_path / "data"), SPLITS)


def typed(*words, code=0):
    """The output of `polypseg WORDS`, which ends with the exit code."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.output


def maps(folder, shift=0):
    """Predictions of six squares, moved by `shift` pixels, and their references."""
    for number in range(6):
        rows = (2 + number, 12 + number)
        write_mask(folder / "maps" / f"p{number}.png", rectangle(32, 32, rows, (4 + shift, 14 + shift)))
        write_mask(folder / "reference" / f"p{number}.png", rectangle(32, 32, rows, (4, 14)))
    return folder / "maps", folder / "reference"


def test_evaluate_of_a_run_writes_and_prints(run):
    output = typed("evaluate", run.folder)
    assert "Over 2 images with a polyp" in output
    assert "Dice" in output
    assert "times this run's test split was scored: 1" in output
    assert (run.folder / "evaluation" / "test" / "scores.csv").is_file()
    summary = json.loads((run.folder / "evaluation" / "test" / "summary.json").read_text())
    assert f"{summary['metrics']['dice']['mean']:.3f}" in output
    assert summary["provenance"]["command"].startswith("polypseg")
    assert "nothing to do" in typed("evaluate", run.folder)
    assert "scored: 2" in typed("evaluate", run.folder, "--overwrite")
    assert "note: --restart is now --overwrite" in typed("evaluate", run.folder, "--restart")


@pytest.mark.slow
def test_packaged_model_is_scored_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed("data", "synth", "frames", "--num-images", "3")
    output = typed("evaluate", "polyp-lite", "--data", "frames", "--no-leaks")
    assert "Over 3 images with a polyp" in output
    summary = json.loads(Path("polyp-lite-evaluation/frames/summary.json").read_text())
    facts = polypseg.load("polyp-lite").engine.facts
    told = [summary["provenance"][key] for key in ("threshold", "seed_threshold")]
    assert told == [facts.threshold, facts.peak_threshold]


def test_packaged_model_without_data_is_refused():
    assert "name --data DIR" in typed("evaluate", "polyp-lite", code=2)


def test_evaluate_called_as_a_function_takes_the_same_defaults(run):
    from polypseg.cli.evaluate import evaluate

    evaluate(model=str(run.folder))
    assert (run.folder / "evaluation" / "test" / "summary.json").is_file()


def test_no_line_of_the_tables_is_wider_than_a_terminal(run):
    for line in typed("evaluate", run.folder, "--split", "all").splitlines():
        if "–" in line or "──" in line:
            assert len(line) <= 80
            assert "…" not in line


def test_tune_threshold_is_stored_and_scores_validation_only(run):
    output = typed("evaluate", run.folder, "--tune-threshold")
    assert "stored in" in output
    assert (run.folder / "threshold.json").is_file()
    assert (run.folder / "evaluation" / "validation" / "scores.csv").is_file()
    assert not (run.folder / "evaluation" / "test").exists()
    assert "times this run's" not in output
    assert "over 16 frames (validation images in 8 perturbations" in output
    assert "perturbations" not in typed("evaluate", run.folder, "--tune-threshold", "--unperturbed")


def test_unperturbed_without_tuning_is_refused(run):
    assert "belongs to --tune-threshold" in typed("evaluate", run.folder, "--unperturbed", code=2)


@pytest.mark.parametrize("split", ["test", "train", "all"])
def test_tune_threshold_on_anything_but_validation_is_refused(run, split):
    output = typed("evaluate", run.folder, "--tune-threshold", "--split", split, code=2)
    assert "chosen on the validation split and on nothing else" in output
    assert not (run.folder / "threshold.json").exists()


def test_threshold_option_is_told(run):
    output = typed("evaluate", run.folder, "--threshold", "0.9")
    assert "threshold 0.9 (given (--threshold))" in output
    scores = (run.folder / "evaluation" / "test" / "scores.csv").read_text()
    assert ",0," in scores


def test_predictions_of_another_program(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/bin/polypseg", "evaluate", "--predictions", "with space"])
    predicted, references = maps(tmp_path)
    output = typed("evaluate", "--predictions", predicted, "--references", references, "--protocol", "duck")
    assert "Over 6 images with a polyp" in output
    assert "As duck papers report it" in output
    assert (tmp_path / "maps-evaluation" / "masks" / "p5.png").is_file()
    summary = json.loads((tmp_path / "maps-evaluation" / "summary.json").read_text())
    assert summary["provenance"]["command"] == "polypseg evaluate --predictions 'with space'"  # can be pasted


def test_protocol_pranet_stretches_and_prints_its_column(tmp_path):
    predicted, references = maps(tmp_path)
    output = typed("evaluate", "--predictions", predicted, "--references", references, "--protocol", "pranet")
    assert "As pranet papers report it" in output
    assert "meanDic" in output
    assert "* each map stretched to 0 … 1 first" in output
    summary = json.loads((tmp_path / "maps-evaluation" / "summary.json").read_text())
    assert summary["settings"]["min_max"] is True


def test_options_reach_the_summary(run, tmp_path):
    (tmp_path / "light.csv").write_text("name,light\ns4,white\ns5,blue\n")
    words = [
        "--strata-csv",
        "light.csv",
        "--by",
        "light",
        "--area-limits",
        "1,90",
        "--tolerance",
        "3",
        "--min-area",
        "2",
    ]
    output = typed("evaluate", run.folder, *words, "--save-maps", "--out", "here", "--no-leaks", "--seed", "5")
    assert "By light" in output
    assert "Surface Dice, 3 px" in output
    summary = json.loads((tmp_path / "here" / "summary.json").read_text())
    assert list(summary["strata"]["polyp area"]) == ["medium (1 to 90 %)"]
    assert summary["settings"]["min_area_px"] == 2
    assert summary["intervals"]["seed"] == 5
    assert "--no-leaks" in summary["provenance"]["leaks"]["unchecked"]
    assert (tmp_path / "here" / "maps" / "s4.png").is_file()


def test_negatives_are_printed_apart(run, tmp_path):
    write_image(tmp_path / "clean" / "images" / "n0.png", np.zeros((16, 16)))
    write_image(tmp_path / "clean" / "images" / "n1.png", np.full((16, 16), 255))
    words = ["--negatives", "clean", "--frame-rate", "25", "--alarm-area", "50", "--protocol", "duck"]
    output = typed("evaluate", run.folder, *words)
    assert "Over 2 images without a polyp" in output
    line = next(line for line in output.splitlines() if "false finding of 50 px or more" in line)
    assert line.split()[-3:-1] == ["50.0", "%"]
    assert "with a polyp" not in output
    assert "750.0" in output  # half of 25 * 60 frames a minute


@pytest.mark.parametrize("last", [[], ["--frame-rate", "25"]])
def test_negatives_as_a_switch_are_the_frames_of_data_until_the_next_version(run, tmp_path, last):
    write_image(tmp_path / "clean" / "images" / "n0.png", np.zeros((16, 16)))
    output = typed("evaluate", run.folder, "--data", "clean", "--negatives", *last)
    assert "note: --data DIR --negatives is now --negatives DIR" in output
    assert "Over 1 image without a polyp" in output
    again = typed("evaluate", run.folder, "--negatives", "clean")
    assert "nothing to do" in again
    assert "note: --data" not in again


def test_negatives_of_predictions_are_their_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        write_mask(tmp_path / "maps" / f"n{number}.png", rectangle(16, 16, (0, 4), (0, 4 * number)))
        write_image(tmp_path / "clean" / f"n{number}.png", np.zeros((16, 16)))
    output = typed("evaluate", "--predictions", "maps", "--negatives", "clean")
    line = next(line for line in output.splitlines() if "any false-positive pixel" in line)
    assert "66.7" in line  # the maps of n1 and n2 hold 16 and 32 pixels, that of n0 none: 2 of 3
    (tmp_path / "clean" / "n2.png").unlink()
    assert "has no image for 1 of the predictions" in typed(
        "evaluate", "--predictions", "maps", "--negatives", "clean", code=1
    )


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "name one of: a run, a model file, or --predictions FOLDER"),
        (["runs/none"], 1, "no such run folder"),
        (["runs/red", "--predictions", "x"], 2, "name one of: a run"),
        (["runs/red", "--references", "x"], 2, "belong to --predictions"),
        (["--predictions", "x", "--data", "y"], 2, "--data belongs to a run"),
        (["--predictions", "x", "--images", "y", "--negatives", "z"], 2, "leave out --images"),
        (["runs/red", "--data", "x", "--negatives", "y"], 2, "are evaluated apart"),
        (["--predictions", "x", "--references", "y"], 1, "no such folder"),
        (["runs/red", "--protocol", "pranat"], 2, "did you mean 'pranet'"),
        (["runs/red", "--area-limits", "5"], 2, "expected two numbers"),
        (["runs/red", "--threshold", "2"], 2, "expected more than 0 and at most 1"),
        (["runs/red/checkpoints/best.keras"], 2, "a model file has no data of its own"),
        (["--predictions", "x", "--tune-threshold"], 2, "needs a run folder"),
        (["runs/red", "--tune-threshold", "--threshold", "0.4"], 2, "exclude one another"),
        (["runs/red", "--split", "tset"], 2, "did you mean 'test'"),
    ],
)
def test_errors_of_evaluate_are_one_line(run, words, code, message):
    output = typed("evaluate", *words, code=code)
    assert message in output
    assert output.startswith("error: ")
    assert len(output.strip().splitlines()) == 1


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """Two evaluations: maps at the place of their references, and maps moved by three pixels."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for name, shift in (("good", 0), ("moved", 3)):
        predicted, references = maps(tmp_path / name, shift)
        typed("evaluate", "--predictions", predicted, "--references", references, "--out", tmp_path / f"{name}-scores")
    return tmp_path


def test_compare_prints_saves_and_draws(evaluated):
    output = typed("compare", "good-scores", "moved-scores/scores.csv", "--resamples", "200", "--out", "comparison")
    # 10x10 squares 3 px apart share 7 columns: Dice 0.7; A is better in all six
    assert "A = good-scores, B = moved-scores" in output
    line = next(line for line in output.splitlines() if line.strip().startswith("Dice"))
    assert line.split()[1:4] == ["1.000", "0.700", "+0.300"]
    assert "6/0/0" in line
    for name in ("comparison.json", "comparison.csv", "largest_differences_good-scores-moved-scores.png"):
        assert (evaluated / "comparison" / name).is_file()
    for line in output.splitlines():
        if "──" in line:
            assert len(line) <= 80
    assert "…" not in output


def test_compare_of_unlike_images_is_one_error_with_their_names(evaluated):
    (evaluated / "good" / "maps" / "p0.png").unlink()
    (evaluated / "good" / "reference" / "p0.png").unlink()
    words = ["--predictions", "good/maps", "--references", "good/reference", "--out", "fewer"]
    typed("evaluate", *words)
    output = typed("compare", "fewer", "moved-scores", code=1)
    assert "only in moved-scores (1):\n  p0" in output


def test_compare_of_three_says_that_p_values_are_adjusted(evaluated):
    predicted, references = maps(evaluated / "other", 1)
    typed("evaluate", "--predictions", predicted, "--references", references, "--out", "other-scores")
    words = ["good-scores", "moved-scores", "other-scores", "--metric", "dice", "--cases", "0", "--resamples", "200"]
    output = typed("compare", *words)
    assert "(Holm)" in output
    assert output.count("A = ") == 3
    assert not list((evaluated / "comparison").glob("*.png"))


def test_compare_of_one_evaluation_is_refused(evaluated):
    assert "needs two or more" in typed("compare", "good-scores", code=2)
    assert "different names" in typed("compare", "good-scores", "good-scores", code=2)
