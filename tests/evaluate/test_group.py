"""Groups of runs: out-of-fold scores, the ensemble's own, and figures over seeds, with the red model of conftest."""

import json
import math

import numpy as np
import pytest

from evaluate.conftest import SPLITS, RedEngine, make_run, open_red_engine
from polypseg.config import Config, SplitConfig
from polypseg.data.perturbations import UNPERTURBED
from polypseg.errors import RunError, UsageError
from polypseg.evaluate.evaluation import default_folder, evaluate
from polypseg.evaluate.group import out_of_fold, over_seeds, seed_figures
from polypseg.evaluate.plan import model_digest, plan_run, with_tta
from polypseg.evaluate.score import score
from polypseg.evaluate.selection import Selection
from polypseg.evaluate.threshold import tune_threshold
from polypseg.records.evaluation import Evaluation, open_evaluation, run_evaluation
from polypseg.records.evaluations import read_evaluations
from polypseg.records.run import Run, write_config, write_members

FOLDS = {
    "fold-1": {**SPLITS, "s0": "train", "s1": "validation", "s2": "train", "s3": "validation"},
    "fold-2": {**SPLITS, "s0": "validation", "s1": "train", "s2": "validation", "s3": "train"},
}


def make_group(folder, data, splits, kind="folds"):
    """A group of runs on `data`; each has its own split, the group that of train and test alone."""
    whole = {name: "test" if split == "test" else "train" for name, split in SPLITS.items()}
    group = make_run(folder, data, whole)
    group.best_path.unlink()
    for number, (name, split) in enumerate(splits.items()):
        make_run(folder / name, data, split).best_path.write_bytes(f"red {number}".encode())
    write_members(group, kind, list(splits))
    write_config(group, Config(split=SplitConfig(kind="ratio", folds=len(splits) if kind == "folds" else 0)))
    return group


@pytest.fixture
def group(tmp_path, data, monkeypatch):
    monkeypatch.setattr("polypseg.evaluate.plan.open_engine", open_red_engine)
    return make_group(tmp_path / "runs" / "five", data, FOLDS)


def test_each_image_is_scored_by_the_member_that_did_not_see_it(group):
    evaluation, summary = out_of_fold(group.folder)
    scores = evaluation.scores()
    assert evaluation.folder == group.folder / "evaluation" / "out-of-fold"
    assert scores.names == ["s0", "s1", "s2", "s3"]
    assert set(scores.text.split) == {"validation"}
    # The red model finds the left half of each polyp (conftest): 2/3 where no pixel moves.
    assert scores.values["dice"][0] == 2 / 3
    assert summary.metrics["dice"].mean == pytest.approx(scores.values["dice"].mean())
    for name, places in (("fold-1", [1, 3]), ("fold-2", [0, 2])):
        part = run_evaluation(Run(group.folder / name), "validation")
        assert part.scores().names == [scores.names[place] for place in places]
        np.testing.assert_array_equal(part.scores().values["dice"], scores.values["dice"][places])
        np.testing.assert_array_equal(part.histograms(), evaluation.histograms()[places])
    assert sorted(path.stem for path in evaluation.masks_folder.iterdir()) == scores.names
    assert evaluation.predicted_mask("s2").any()
    assert [sample.name for sample in evaluation.record().samples] == scores.names


def test_out_of_fold_scores_are_not_made_twice(group):
    assert out_of_fold(group.folder)[1].provenance.num_scored_now == 4
    assert out_of_fold(group.folder)[1].provenance.num_scored_now == 0


def test_test_split_is_scored_once_by_the_whole_group(group):
    plan = plan_run(group.folder)
    assert [case.name for case in plan.cases] == ["s4", "s5"]
    assert plan.source.model_digest == model_digest(group.folder)
    evaluate(plan, search_leaks=False)
    assert [entry.split for entry in read_evaluations(group)] == ["test"]
    assert not any((group.folder / name / "evaluations.json").exists() for name in FOLDS)
    assert open_evaluation(group.folder).scores().names == ["s4", "s5"]


def test_digest_of_a_group_is_of_all_its_members(group):
    before = model_digest(group.folder)
    assert before != model_digest(group.members()[0].best_path)
    group.members()[1].best_path.write_bytes(b"another")
    assert model_digest(group.folder) != before


def test_threshold_of_a_group_is_chosen_out_of_fold(group):
    tuned = tune_threshold(group.folder, perturbations=UNPERTURBED)
    assert tuned.num_frames == 4  # all but the test split, each once
    record = json.loads((group.folder / "threshold.json").read_text())
    assert (record["chosen_on"], record["model_digest"]) == ("out-of-fold", model_digest(group.folder))
    assert plan_run(group.folder).threshold_source == "chosen out of fold (threshold.json)"
    assert Evaluation(out_of_fold(group.folder)[0].folder).record().settings.threshold == tuned.threshold


def test_over_seeds_by_hand():
    # Mean 0.8, deviations -0.1, 0, 0.1: variance 0.02 / 2, deviation 0.1. Student's t for two degrees is 4.3027:
    # 4.3027 * 0.1 / sqrt(3) = 0.24842.
    found = over_seeds([0.7, 0.8, 0.9])
    assert list(vars(found).values()) == pytest.approx([0.8, 0.8 - 0.24842, 0.8 + 0.24842, 0.1], abs=1e-5)
    assert list(vars(over_seeds([0.7])).values()) == [0.7, None, None, None]
    assert list(vars(over_seeds([0.5, 0.5])).values()) == [0.5, 0.5, 0.5, 0.0]


def test_seed_figures_are_the_mean_of_the_members_evaluations(tmp_path, data, monkeypatch):
    monkeypatch.setattr("polypseg.evaluate.plan.open_engine", open_red_engine)
    group = make_group(tmp_path / "seeds", data, {"seed-0": SPLITS, "seed-7": SPLITS}, kind="seeds")
    (group.folder / "seed-7" / "threshold.json").write_text('{"threshold": 0.9}')  # red is 0.8: nothing is found
    for member in group.members():
        evaluate(plan_run(member.folder), search_leaks=False)
    record = seed_figures(group.folder)
    dices = [record.runs[name]["dice"] for name in ("seed-0", "seed-7")]
    assert dices[0] > 0.6
    assert dices[1] == 0
    assert record.dice.mean == pytest.approx(dices[0] / 2)
    # Of two numbers the deviation is their difference over sqrt(2), and t is 12.706.
    reach = 12.7062 * dices[0] / math.sqrt(2) / math.sqrt(2)
    assert record.dice.high == pytest.approx(dices[0] / 2 + reach, rel=1e-4)
    assert json.loads((group.folder / "seeds.json").read_text()) == record.model_dump()
    with pytest.raises(UsageError, match="only a cross-validation has out-of-fold scores"):
        out_of_fold(group.folder)


def test_single_run_is_no_group(run):
    with pytest.raises(RunError, match=r"a single run; expected a group of runs \(polypseg train --folds or --seeds\)"):
        seed_figures(run.folder)


class LeftEngine(RedEngine):
    """Says 0.8 in the left half of what it sees, whatever that is."""

    def run(self, batch):
        super().run(batch)
        found = np.zeros((*batch.shape[:3], 1), np.float32)
        found[:, :, :4] = 0.8
        return found


def test_tta_is_the_mean_of_four_mirror_images_and_told_apart(run, monkeypatch, tmp_path):
    monkeypatch.setattr("polypseg.evaluate.plan.open_engine", lambda _: LeftEngine())
    plain = plan_run(run.folder, selection=Selection(split="all"))
    flipped = with_tta(plain, "flips")
    assert with_tta(plain, "none") is plain
    # As it is: 0.8 on the left. Of two of the four images it is mirrored back to the right: 0.4 everywhere, which is
    # below 0.5, so that nothing is left.
    assert score(plain, tmp_path / "plain")[0].predicted_mask("s0")[:, :4].all()
    assert not score(flipped, tmp_path / "flips")[0].predicted_mask("s0").any()
    assert plain.engine.num_images == 6 + 4 * 6
    assert default_folder(plain).name == "all"
    assert default_folder(flipped).name == "all-flips"
    evaluate(flipped, search_leaks=False)
    assert read_evaluations(run)[-1].tta == "flips"
    assert run_evaluation(run, "all-flips").summary().provenance.tta == "flips"
    again, num_scored = score(plain, tmp_path / "flips")  # the same folder, the other way: scored again, not taken over
    assert (num_scored, again.predicted_mask("s0").any()) == (6, True)


def test_unknown_tta_and_that_of_files_are_refused(run):
    plan = plan_run(run.folder)
    with pytest.raises(UsageError, match="unknown test-time augmentation 'flip'; did you mean 'flips'"):
        with_tta(plan, "flip")
    from dataclasses import replace

    with pytest.raises(UsageError, match="predictions that are files are scored as they are"):
        with_tta(replace(plan, engine=None), "flips")
