"""The models that settings name: found, digested, or refused with what was expected."""

import shutil

import onnx
import pytest

from polypseg.config import Config, ModelConfig, TrainConfig
from polypseg.errors import ModelError
from polypseg.predict.engines.model_file import write_model_file
from polypseg.predict.engines.packaged import resolve
from polypseg.records.model_facts import ModelFacts, Network
from polypseg.train.named_models import files_digest, start_file, teacher_files, with_network_of_start
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


def exported(path, network):
    """A file of a graph without a gate, which records a network."""
    graph = onnx.helper.make_graph([], "empty", [], [])
    write_model_file(
        path, onnx.helper.make_model(graph).SerializeToString(), ModelFacts(size=32, name="polyp-lite", network=network)
    )
    return path


def test_a_file_tells_its_network_whatever_its_name_is(tmp_path):
    network = Network(filters=4, encoder="efficientnet-lite1", decoder_filters=(2, 4, 6, 8), dropout=0.25)
    file = exported(tmp_path / "own.onnx", network)
    config = Config(train=TrainConfig(start_from=str(file)))
    # without weights of ImageNet: those of the file take their place
    expected = ModelConfig(
        filters=4, encoder="efficientnet-lite1", decoder_filters=(2, 4, 6, 8), dropout=0.25, gates="plain"
    )
    assert with_network_of_start(config, "polyp-lite").model == expected
    # a config that names a network keeps it
    own = Config(train=TrainConfig(start_from=str(file)), model=ModelConfig(filters=8))
    assert with_network_of_start(own).model == own.model


def test_a_file_without_a_network_has_that_of_its_name(tmp_path):
    file = exported(tmp_path / "before.onnx", None)  # as files were before they recorded one
    expected = ModelConfig(filters=32, encoder="efficientnet-lite0", gates="plain")
    assert with_network_of_start(Config(train=TrainConfig(start_from=str(file)))).model == expected


def test_a_packaged_file_tells_its_own_network():
    file = resolve("polyp-lite")
    expected = ModelConfig(filters=16, encoder="efficientnet-lite1")
    assert with_network_of_start(Config(train=TrainConfig(start_from=str(file)))).model == expected


def test_a_network_that_none_of_ours_is(tmp_path):
    file = exported(tmp_path / "new.onnx", Network(name="mamba", filters=4))
    with pytest.raises(ModelError, match=r"new\.onnx: its polypseg\.network fits no network of ours; export"):
        with_network_of_start(Config(train=TrainConfig(start_from=str(file))))
