"""The models that settings name: found, digested, or refused with what was expected."""

import shutil

import pytest

from polypseg.errors import ModelError
from polypseg.train.named_models import files_digest, start_file, teacher_files
from train.constant_model import constant_model, group


def test_teacher_is_a_file_a_run_or_the_members_of_a_group(tmp_path):
    file = constant_model(tmp_path / "one.keras", 0.0)
    assert teacher_files(file) == [file]
    best = constant_model(tmp_path / "run" / "checkpoints" / "best.keras", 0.0)
    assert teacher_files(tmp_path / "run") == [best]
    folds = group(tmp_path / "folds", 0.0, 1.0)
    assert [path.parent.parent.name for path in teacher_files(folds)] == ["fold-1", "fold-2"]


def test_digest_tells_teachers_apart(tmp_path):
    one, two = (constant_model(tmp_path / f"{n}.keras", n) for n in (1.0, 2.0))
    assert files_digest([one]) != files_digest([two])
    assert files_digest([one]) == files_digest([shutil.copy(one, tmp_path / "copy.keras")])


def test_what_is_not_there_is_told_with_the_setting(tmp_path):
    with pytest.raises(
        ModelError, match=r"train\.teacher .*best\.keras is not there; expected a run with a finished epoch"
    ):
        teacher_files(tmp_path / "none")
    folds = group(tmp_path / "folds", 0.0, 0.0)
    (folds / "fold-2" / "checkpoints" / "best.keras").unlink()
    with pytest.raises(ModelError, match=r"fold-2.*is not there"):
        teacher_files(folds)
    with pytest.raises(ModelError, match=r"train\.start_from .*best\.keras is not there"):
        start_file(tmp_path / "none")


def test_start_is_one_file_and_no_group(tmp_path):
    file = constant_model(tmp_path / "one.keras", 0.0)
    assert start_file(file) == file
    with pytest.raises(ModelError, match="a group of 2 runs; expected one"):
        start_file(group(tmp_path / "folds", 0.0, 1.0))
