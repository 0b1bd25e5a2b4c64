import json
import shutil

import numpy as np
import pytest
from PIL import Image as PillowImage

from evaluate.conftest import make_run, rectangle, write_image, write_mask
from evaluate.test_score import Killed, kill_after
from polypseg.data.synthetic import synthetic_image
from polypseg.evaluate.evaluation import default_folder, evaluate
from polypseg.evaluate.leaks import find_leaks
from polypseg.evaluate.plan import plan_model, plan_predictions, plan_run
from polypseg.evaluate.score import ScoreOptions
from polypseg.evaluate.selection import Selection
from polypseg.records.evaluations import read_evaluations, times_test_was_scored


def run_once(run, **keywords):
    return evaluate(plan_run(run.folder, **keywords), search_leaks=False)


def test_evaluation_of_a_run_lies_in_the_run_by_its_split(run):
    evaluation, summary = run_once(run)
    assert evaluation.folder == run.folder / "evaluation" / "test"
    for name in ("scores.csv", "summary.json", "evaluation.json", "histograms.npy", "curves.npz", "masks/s4.png"):
        assert (evaluation.folder / name).is_file(), name
    assert summary.num_images == 2
    assert summary.model_size.num_images == 2
    assert summary.model_size.size == 8
    scores = evaluation.scores()
    assert summary.model_size.loss == scores.values["loss"].mean()


def test_every_scoring_of_the_test_split_is_counted_once(run, tmp_path):
    _, summary = run_once(run)
    assert summary.provenance.times_test_was_scored == 1
    _, summary = run_once(run)  # the same: nothing was scored
    assert summary.provenance.times_test_was_scored == 1
    evaluate(plan_run(run.folder), None, ScoreOptions(overwrite=True), search_leaks=False)
    assert times_test_was_scored(run) == 2
    run_once(run, selection=Selection(split="validation"))
    assert times_test_was_scored(run) == 2
    evaluate(plan_run(run.folder), tmp_path / "elsewhere", search_leaks=False)
    assert times_test_was_scored(run) == 3
    run_once(run, selection=Selection(split="all"))
    assert times_test_was_scored(run) == 4
    entries = read_evaluations(run)
    assert entries[0].splits == ("test",)
    assert entries[0].threshold == 0.5
    assert len(entries) == 5


def test_evaluation_that_was_stopped_and_gone_on_with_counts_once(run):
    with pytest.raises(Killed):
        evaluate(plan_run(run.folder), search_leaks=False, track=kill_after(1))
    run_once(run)
    assert times_test_was_scored(run) == 1


def test_kill_between_scoring_and_counting_is_counted_by_the_next_call(run, monkeypatch):
    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("polypseg.evaluate.evaluation.add_evaluation", killed)
        with pytest.raises(Killed):
            run_once(run)
    assert times_test_was_scored(run) == 0
    run_once(run)
    assert times_test_was_scored(run) == 1


def test_images_that_the_run_learned_from_are_told(run):
    _, summary = run_once(run, selection=Selection(split="all"))
    assert "4 of 6 images are training or validation images of this run" in summary.provenance.notes


def test_resized_predictions_are_told(tmp_path):
    for name, size in (("a", 4), ("b", 8)):
        write_mask(tmp_path / "predicted" / f"{name}.png", rectangle(size, size, (0, 2), (0, 2)))
        write_mask(tmp_path / "reference" / f"{name}.png", rectangle(8, 8, (0, 4), (0, 4)))
    evaluation, summary = evaluate(plan_predictions(tmp_path / "predicted", tmp_path / "reference"))
    assert evaluation.folder == tmp_path / "predicted-evaluation"
    assert "1 of 2 predictions were resized to their reference's size (bilinear)" in summary.provenance.notes
    assert summary.provenance.num_resized == 1
    assert summary.provenance.times_test_was_scored is None


def test_default_folders_do_not_meet(run, data, tmp_path):
    shutil.copytree(data, tmp_path / "clinic")
    (tmp_path / "clinic" / "images" / "s4.png").unlink()
    (tmp_path / "clinic" / "masks" / "s4.png").unlink()
    shutil.copytree(tmp_path / "clinic", tmp_path / "test")
    assert default_folder(plan_run(run.folder, tmp_path / "clinic")).name == "clinic"
    assert default_folder(plan_run(run.folder, tmp_path / "test")).name == "external-test"
    assert default_folder(plan_model(run.best_path, data)) == run.best_path.parent / "best-evaluation" / "data"


def test_identical_files_under_another_name_are_found_without_looking_at_pixels(run, data):
    shutil.copy(data / "images" / "s0.png", data / "images" / "s5.png")
    shutil.copy(data / "masks" / "s0.png", data / "masks" / "s5.png")
    names = {"s0": "train", "s2": "validation", "s4": "test", "s5": "test"}
    leaky = make_run(run.folder.parent / "leaky", data, names)
    report = find_leaks(plan_run(leaky.folder), search=False)
    assert [(leak.scored, leak.training, leak.split) for leak in report.pairs] == [("s5", "s0", "train")]
    assert "--no-leaks" in report.unchecked


@pytest.fixture
def colon(run, tmp_path):
    """A run on four scenes: c0 train, c1 validation, c2 test, and c3, a test image that is c0 smaller and as JPEG."""
    folder = tmp_path / "colon"
    for number, seed in enumerate((0, 1, 2, 0)):
        image, mask = synthetic_image(np.random.default_rng(seed), (128, 128))
        write_mask(folder / "masks" / f"c{number}.png", mask)
        (folder / "images").mkdir(exist_ok=True)
        PillowImage.fromarray(image).save(folder / "images" / f"c{number}.png")
    with PillowImage.open(folder / "images" / "c3.png") as opened:
        opened.resize((96, 96)).save(folder / "images" / "c3.jpg", quality=80)
    (folder / "images" / "c3.png").unlink()
    write_mask(folder / "masks" / "c3.png", rectangle(96, 96, (30, 60), (30, 60)))
    splits = {"c0": "train", "c1": "validation", "c2": "test", "c3": "test"}
    return make_run(run.folder.parent / "colon", folder, splits)


def test_near_duplicate_of_a_training_image_is_told_and_remembered(colon, monkeypatch):
    _, summary = evaluate(plan_run(colon.folder))
    pairs = summary.provenance.leaks.pairs
    assert [(pair.scored, pair.training, pair.split) for pair in pairs] == [("c3", "c0", "train")]
    note = "1 scored image shows what a training or validation image shows: c3"
    assert note in summary.provenance.notes
    monkeypatch.setattr("polypseg.evaluate.leaks._search", lambda *_: pytest.fail("searched again"))
    _, again = evaluate(plan_run(colon.folder))
    assert again.provenance.leaks == summary.provenance.leaks


def test_training_images_that_are_gone_are_told(run, data, tmp_path):
    for name in ("s4", "s5"):
        for kind in ("images", "masks"):
            (tmp_path / "only" / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(data / kind / f"{name}.png", tmp_path / "only" / kind)
    shutil.rmtree(data)
    plan = plan_run(run.folder, tmp_path / "only")
    assert plan.label == "test"
    assert "training images are not where they were" in find_leaks(plan).unchecked


def test_training_split_itself_is_no_leak(run):
    report = find_leaks(plan_run(run.folder, selection=Selection(split="train")))
    assert (report.pairs, report.unchecked) == ((), "the train split itself was scored")


def test_negatives_of_another_folder_are_scored_by_a_run(run, tmp_path):
    write_image(tmp_path / "clean" / "images" / "n0.png", np.zeros((16, 16)))
    write_image(tmp_path / "clean" / "images" / "n1.png", np.full((16, 16), 255))
    _, summary = run_once(run, data=tmp_path / "clean", selection=Selection(negatives=True))
    assert summary.negatives.any_false_positive.mean == 0.5
    assert summary.negatives.false_positive_percent.mean == 50
    assert summary.num_polyp_images == 0


def test_damaged_history_is_named(run):
    from polypseg.errors import RunError

    (run.folder / "evaluations.json").write_text("{}")
    with pytest.raises(RunError, match=r"evaluations.json: not a list of a run's evaluations, or a damaged one"):
        read_evaluations(run)


@pytest.mark.slow
def test_importing_evaluate_imports_no_framework():
    import subprocess
    import sys

    code = (
        "import sys, polypseg.evaluate.evaluation, polypseg.evaluate.compare, polypseg.evaluate.threshold;"
        "print(sorted({'keras', 'tensorflow', 'torch', 'jax', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.replace("'", '"')) == []
