"""Which frames of a project are held out, and that they never train."""

import pytest

from polypseg.config import SourceConfig, SplitConfig
from polypseg.data.project_frames import held_out
from polypseg.data.samples import Sample
from polypseg.data.splits import assign_samples
from polypseg.errors import SplitError
from polypseg.records.project import Correction


def line(frame, revision=1, state="corrected"):
    said = {"time": "", "labeller": "", "frame": frame, "state": state, "revision": revision, "mask": "", "from": ""}
    return Correction.model_validate(said)


def test_one_of_five_is_held_out_and_the_second_of_the_first_five():
    names = [f"f{number}" for number in range(50)]
    chosen = held_out(map(line, names), {}, "seed")
    assert len(chosen) == 10
    assert "f1" in chosen
    for start in range(0, 50, 5):
        assert len(chosen & set(names[start : start + 5])) == 1


def test_it_never_changes_when_more_is_saved():
    names = [f"f{number}" for number in range(50)]
    for count in range(2, 50):
        fewer = held_out(map(line, names[:count]), {}, "seed")
        assert fewer == held_out(map(line, names), {}, "seed") & set(names[:count])
    again = [*map(line, names), line("f3", 2, "rejected"), line("f0", 2)]
    assert held_out(again, {}, "seed") == held_out(map(line, names), {}, "seed")


def test_groups_go_whole_and_seeds_differ():
    groups = {f"f{number}": f"g{number % 10}" for number in range(40)}
    chosen = held_out(map(line, groups), groups, "seed")
    assert {groups[name] for name in groups if name in chosen} == {
        group for group in set(groups.values()) if {n for n in groups if groups[n] == group} <= chosen
    }
    names = [f"f{number}" for number in range(500)]
    assert held_out(map(line, names), {}, "a") != held_out(map(line, names), {}, "b")


def sample(name, tmp_path, group=None, held=False, source=None):
    return Sample(name, tmp_path / name, tmp_path / name, group, source=source, is_held_out=held)


def test_held_out_frames_are_the_test_and_what_looks_like_them_is_left_out(tmp_path):
    samples = [sample(f"s{number:02d}", tmp_path, held=number in (1, 6)) for number in range(20)]
    near_duplicates = [[1, 2], [3, 4]]
    assigned, words = assign_samples(samples, near_duplicates, SplitConfig(validation=0.2, test=0.3))
    assert [place for place, side in enumerate(assigned) if side == "test"] == [1, 6]
    assert assigned[2] is None
    assert assigned[3] == assigned[4]
    assert assigned.count("validation") == 3  # a fifth of the 17 that are left
    assert "what the project holds out" in words


def test_held_out_frames_of_one_of_several_sources(tmp_path):
    ours = [sample(f"p_{number}", tmp_path, held=number == 0, source="p") for number in range(10)]
    theirs = [sample(f"r_{number}", tmp_path, source="r") for number in range(10)]
    sources = {"p": SourceConfig(path="p", validation=0.2), "r": SourceConfig(path="r", validation=0.1, test=0.2)}
    assigned, _ = assign_samples(ours + theirs, [], SplitConfig(), sources)
    assert assigned[:10].count("test") == 1  # what is held out, and nothing more
    assert assigned[0] == "test"
    assert assigned[10:].count("test") == 2


def test_nothing_left_to_train_on_is_told(tmp_path):
    with pytest.raises(SplitError, match=r"all samples \(1\) are held out"):
        assign_samples([sample("a", tmp_path, held=True)], [], SplitConfig())
