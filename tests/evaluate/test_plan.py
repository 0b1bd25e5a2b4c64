import shutil

import numpy as np
import pytest

from evaluate.conftest import rectangle, write_image, write_mask
from polypseg.errors import PairingError, ScoreError, SplitError, UsageError
from polypseg.evaluate.plan import plan_model, plan_predictions, plan_run
from polypseg.evaluate.selection import Selection
from polypseg.records.split import load_split


def names(plan):
    return [case.name for case in plan.cases]


def test_run_alone_is_scored_on_its_own_test_split(run):
    plan = plan_run(run.folder)
    assert (plan.label, names(plan)) == ("test", ["s4", "s5"])
    assert {case.split for case in plan.cases} == {"test"}
    assert plan.threshold == 0.5
    assert plan.threshold_source == "default"
    assert plan.loss == run.config().loss
    assert plan.source.checkpoint_chosen_by == "lowest val_loss on the validation split"
    assert plan.source.split_digest == load_split(run.splits_path).digest()


@pytest.mark.parametrize(("split", "expected"), [("validation", ["s2", "s3"]), ("train", ["s0", "s1"])])
def test_run_is_scored_on_the_split_that_is_asked_for(run, split, expected):
    assert names(plan_run(run.folder, selection=Selection(split=split))) == expected


def test_run_on_all_labels_each_image_with_its_split(run):
    plan = plan_run(run.folder, selection=Selection(split="all"))
    assert [case.split for case in plan.cases] == ["train", "train", "validation", "validation", "test", "test"]


def test_data_that_moved_are_still_the_runs_own(run, data, tmp_path):
    shutil.move(data, tmp_path / "elsewhere")
    assert plan_run(run.folder, tmp_path / "elsewhere").label == "test"


def test_test_images_that_changed_are_refused_by_name(run, data):
    write_mask(data / "masks" / "s5.png", rectangle(16, 24, (0, 4), (0, 4)))
    with pytest.raises(SplitError, match=r"1 of the 2 samples are not what they were(.|\n)*s5.png"):
        plan_run(run.folder)


def test_other_data_are_scored_whole_and_what_was_trained_on_is_known_by_its_bytes(run, data, tmp_path):
    other = tmp_path / "other"
    write_image(other / "images" / "new.png", np.zeros((9, 9)))
    write_mask(other / "masks" / "new.png", rectangle(9, 9, (0, 3), (0, 3)))
    for kind in ("images", "masks"):
        shutil.copy(data / kind / "s0.png", other / kind / "renamed.png")
    plan = plan_run(run.folder, other)
    assert plan.label == "external"
    assert {case.name: case.split for case in plan.cases} == {"new": "external", "renamed": "train"}


def test_split_that_the_data_do_not_hold_is_refused(run, tmp_path):
    write_image(tmp_path / "other" / "images" / "new.png", np.zeros((9, 9)))
    write_mask(tmp_path / "other" / "masks" / "new.png", rectangle(9, 9, (0, 3), (0, 3)))
    with pytest.raises(SplitError, match="holds none of the run's test images; to score these other data"):
        plan_run(run.folder, tmp_path / "other", Selection(split="test"))
    with pytest.raises(UsageError, match="unknown split 'tset'; did you mean 'test'"):
        Selection(split="tset")


def test_unpaired_files_of_other_data_are_refused_or_left_out(run, tmp_path):
    write_image(tmp_path / "other" / "images" / "new.png", np.zeros((9, 9)))
    write_mask(tmp_path / "other" / "masks" / "new.png", rectangle(9, 9, (0, 3), (0, 3)))
    write_image(tmp_path / "other" / "images" / "alone.png", np.zeros((9, 9)))
    with pytest.raises(PairingError, match=r"alone.png"):
        plan_run(run.folder, tmp_path / "other")
    with pytest.warns(UserWarning, match=r"alone.png"):
        plan = plan_run(run.folder, tmp_path / "other", Selection(skip_bad=True))
    assert names(plan) == ["new"]
    assert len(plan.skipped) == 1


def test_names_choose_among_the_images(run, tmp_path):
    (tmp_path / "names.txt").write_text("s5\n\n")
    assert names(plan_run(run.folder, selection=Selection(names=tmp_path / "names.txt"))) == ["s5"]
    (tmp_path / "names.txt").write_text("s5\ns0\n")
    with pytest.raises(PairingError, match=r"names 1 image that is not there(.|\n)*s0"):
        plan_run(run.folder, selection=Selection(names=tmp_path / "names.txt"))
    (tmp_path / "names.txt").write_text("\n")
    with pytest.raises(ScoreError, match="holds no name"):
        plan_run(run.folder, selection=Selection(names=tmp_path / "names.txt"))


def test_negatives_have_no_reference(run, tmp_path):
    write_image(tmp_path / "clean" / "images" / "n.png", np.zeros((9, 9)))
    with pytest.raises(PairingError, match="no folder of masks"):
        plan_run(run.folder, tmp_path / "clean")
    plan = plan_run(run.folder, tmp_path / "clean", Selection(negatives=True))
    assert plan.cases[0].reference_path is None
    with pytest.raises(UsageError, match="but these have masks; leave it out"):
        plan_run(run.folder, selection=Selection(negatives=True, split="all"))


def test_model_file_knows_no_split(run, data, tmp_path):
    plan = plan_model(run.best_path, data)
    assert (plan.label, len(plan.cases), plan.loss, plan.run) == ("external", 6, None, None)
    with pytest.raises(UsageError, match="--split test: a model file knows no split"):
        plan_model(run.best_path, data, Selection(split="test"))
    told = plan_model(run.best_path, data, Selection(split="test", manifest=run.splits_path))
    assert names(told) == ["s4", "s5"]


def test_data_digest_changes_with_a_mask_and_not_with_a_place(run, data, tmp_path):
    before = plan_model(run.best_path, data).data_digest()
    shutil.copytree(data, tmp_path / "copy")
    assert plan_model(run.best_path, tmp_path / "copy").data_digest() == before
    write_mask(tmp_path / "copy" / "masks" / "s0.png", rectangle(8, 8, (0, 1), (0, 1)))
    assert plan_model(run.best_path, tmp_path / "copy").data_digest() != before


def test_stale_threshold_is_told(run):
    (run.folder / "threshold.json").write_text('{"threshold": 0.4, "model_digest": "another"}')
    plan = plan_run(run.folder)
    assert plan.threshold == 0.4
    assert "earlier checkpoint" in plan.threshold_source


@pytest.fixture
def folders(tmp_path):
    """Three predictions and their references, whose names end in _mask."""
    for name in ("a", "b", "c"):
        write_mask(tmp_path / "predicted" / f"{name}.png", rectangle(4, 4, (0, 2), (0, 2)))
        write_mask(tmp_path / "reference" / f"{name}_mask.png", rectangle(8, 8, (0, 4), (0, 4)))
    return tmp_path / "predicted", tmp_path / "reference"


def test_predictions_are_paired_by_name_with_a_masks_suffix(folders):
    plan = plan_predictions(*folders)
    assert names(plan) == ["a", "b", "c"]
    assert plan.cases[0].reference_path == folders[1] / "a_mask.png"
    assert plan.cases[0].image_path is None
    assert plan.engine is None


def test_missing_prediction_is_an_error_unless_names_leave_it_out(folders, tmp_path):
    (folders[0] / "b.png").unlink()
    with pytest.raises(PairingError, match=r"b_mask.png: no prediction of that name in .*predicted"):
        plan_predictions(*folders)
    (tmp_path / "names.txt").write_text("a\nc\n")
    assert names(plan_predictions(*folders, selection=Selection(names=tmp_path / "names.txt"))) == ["a", "c"]
    (tmp_path / "names.txt").write_text("a\nb\n")
    with pytest.raises(PairingError, match=r"names 1 image that is not there(.|\n)*b"):
        plan_predictions(*folders, selection=Selection(names=tmp_path / "names.txt"))


def test_missing_reference_is_an_error(folders):
    (folders[1] / "c_mask.png").unlink()
    with pytest.raises(PairingError, match=r"c.png: no reference of that name in .*reference"):
        plan_predictions(*folders)


def test_predictions_of_labels_zero_and_one_are_refused(folders):
    for path in folders[0].iterdir():
        write_mask(path, np.eye(4, dtype=np.uint8))
    with pytest.raises(ScoreError, match="multiply 0/1 masks by 255"):
        plan_predictions(*folders)


def test_predictions_that_are_all_black_are_scored(folders):
    for path in folders[0].iterdir():
        write_mask(path, np.zeros((4, 4), np.uint8))
    assert len(plan_predictions(*folders).cases) == 3


def test_images_of_predictions_must_be_complete(folders, tmp_path):
    write_image(tmp_path / "images" / "a.jpg", np.zeros((8, 8)))
    with pytest.raises(PairingError, match=r"has no image for 2 of the predictions(.|\n)*b"):
        plan_predictions(*folders, tmp_path / "images")


def test_predictions_need_references_or_the_word_that_there_is_no_polyp(folders):
    with pytest.raises(UsageError, match="give --references FOLDER, or --negatives"):
        plan_predictions(folders[0], None)
    with pytest.raises(UsageError, match="not both"):
        plan_predictions(*folders, selection=Selection(negatives=True))
    with pytest.raises(UsageError, match="belong to a run"):
        plan_predictions(*folders, selection=Selection(split="test"))
    plan = plan_predictions(folders[0], None, selection=Selection(negatives=True))
    assert [case.reference_path for case in plan.cases] == [None] * 3
