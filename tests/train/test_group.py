"""Groups of runs: which runs are made, with what, and how the whole goes on; the training itself is stood in for."""

import json

import pytest

from polypseg.config import Config, config_from
from polypseg.data.named_splits import SplitFiles
from polypseg.data.splits import make_split
from polypseg.data.synthetic import make_synthetic
from polypseg.errors import RunError, SplitError, UsageError
from polypseg.records.run import Run, write_config
from polypseg.records.split import load_split
from polypseg.records.training_state import SavedState, save_state
from polypseg.train import group as group_module
from polypseg.train.group import member_config, resume_group, train_group
from polypseg.train.samples import usable_samples

SMALL = {"split": {"kind": "ratio", "validation": 0.25, "test": 0.25, "near_duplicate_bits": -1}, "train": {"seed": 5}}


def config(folds=0):
    return config_from({**SMALL, "split": {**SMALL["split"], "folds": folds}})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    make_synthetic(folder, 30, seed=2, side_range=(40, 56))
    return folder


class Killed(BaseException):
    """What a kill looks like from inside."""


@pytest.fixture
def trainings(monkeypatch):
    """The calls of train and resume; each ends its run, unless the name of the run is in `killed`."""
    calls, killed = [], set()

    def end(run, is_finished):
        run.last_folder.mkdir(parents=True, exist_ok=True)
        (run.last_folder / "m.keras").write_bytes(b"m")
        save_state(run.last_folder, SavedState(1, run.last_folder / "m.keras", {}, [], is_finished))

    def train(data, folder, config, split_files, *_):
        calls.append(("train", folder.name, config, load_split(split_files.manifest)))
        write_config(Run(folder), config)
        end(Run(folder), folder.name not in killed)
        if folder.name in killed:
            raise Killed

    def resume(folder, data, epochs, *_):
        calls.append(("resume", folder.name, Run(folder).config(), Run(folder).split()))
        end(Run(folder), True)

    monkeypatch.setattr(group_module, "train", train)
    monkeypatch.setattr(group_module, "resume", resume)
    return calls, killed


def test_folds_are_runs_of_their_own(folder, tmp_path, trainings):
    group = train_group(folder, tmp_path / "three", config(folds=3))
    calls, _ = trainings
    assert [(kind, name) for kind, name, *_ in calls] == [("train", f"fold-{number}") for number in (1, 2, 3)]
    assert [run.folder.name for run in group.members()] == ["fold-1", "fold-2", "fold-3"]
    assert [c.split.folds for _, _, c, _ in calls] == [0, 0, 0]  # a member is a single run
    assert [c.train.seed for _, _, c, _ in calls] == [5, 6, 7]
    validated = [name for *_, split in calls for name in split.names("validation")]
    assert sorted(validated) == group.split().names("train")
    assert len(validated) + len(group.split().names("test")) == 30
    assert group.config().split.folds == 3
    assert group.environment().members == ("fold-1", "fold-2", "fold-3")


def test_seeds_share_one_split_and_differ_in_nothing_else(folder, tmp_path, trainings):
    group = train_group(folder, tmp_path / "seeds", config(), seeds=[4, 0])
    calls, _ = trainings
    assert [(name, c.train.seed) for _, name, c, _ in calls] == [("seed-4", 4), ("seed-0", 0)]
    assert len({split.digest() for *_, split in calls} | {group.split().digest()}) == 1
    assert calls[0][2].model_copy(update={"train": calls[1][2].train}) == calls[1][2]
    assert json.loads(group.members_path.read_text())["kind"] == "seeds"


def test_killed_group_goes_on_where_it_was(folder, tmp_path, trainings):
    calls, killed = trainings
    killed.add("fold-2")
    with pytest.raises(Killed):
        train_group(folder, tmp_path / "cut", config(folds=3))
    before = {run.folder.name: run.splits_path.read_bytes() for run in Run(tmp_path / "cut").members()}
    calls.clear()
    group = resume_group(tmp_path / "cut")
    assert [(kind, name) for kind, name, *_ in calls] == [("resume", "fold-2"), ("train", "fold-3")]
    assert {run.folder.name: run.splits_path.read_bytes() for run in group.members()} == before
    assert [c.train.seed for _, _, c, _ in calls] == [6, 7]
    calls.clear()
    resume_group(tmp_path / "cut")
    assert calls == []  # all is done


def test_manifest_gives_the_test_split_of_folds_and_the_whole_split_of_seeds(folder, tmp_path, trainings):
    samples, _ = usable_samples(folder, Config())
    given = make_split(samples, config_from({"split": {**SMALL["split"], "seed": 9}}).split)
    given.save(tmp_path / "splits.json")
    folds = train_group(folder, tmp_path / "folds", config(folds=2), split_files=SplitFiles(tmp_path / "splits.json"))
    assert folds.split().names("test") == given.names("test")
    seeds = train_group(folder, tmp_path / "seeds", config(), [1], SplitFiles(tmp_path / "splits.json"))
    assert seeds.split().digest() == given.digest()


def test_member_settings_are_those_of_the_group_but_for_seed_and_folds():
    whole = config(folds=5)
    fold = member_config(whole, "fold-3")
    assert (fold.split.folds, fold.train.seed) == (0, 7)
    assert fold.data == whole.data
    assert member_config(whole, "seed-11").train.seed == 11


def test_what_is_no_group_is_refused(folder, tmp_path, trainings):
    for folds, seeds in ((0, []), (3, [1]), (0, [1, 1])):
        with pytest.raises(UsageError, match=r"made of split\.folds .* or of unlike seeds"):
            train_group(folder, tmp_path / "none", config(folds), seeds)
    with pytest.raises(SplitError, match="too few for 50 folds"):
        train_group(folder, tmp_path / "none", config(folds=50))
    assert not (tmp_path / "none").exists()
    train_group(folder, tmp_path / "two", config(folds=2))
    with pytest.raises(RunError, match="already holds a run"):
        train_group(folder, tmp_path / "two", config(folds=2))
    (tmp_path / "two" / "members.json").write_text("{")
    with pytest.raises(RunError, match="not a list of a group's runs, or a damaged one"):
        resume_group(tmp_path / "two")
