"""environment.json: each start is added to it, and nothing of what is there is lost."""

import json

import pytest

from polypseg.errors import RunError
from polypseg.records.environment import TrainingFacts, add_start, read_environment

FACTS = TrainingFacts(backend="tensorflow", num_parameters=3)


def test_a_later_start_is_added_and_the_record_keeps_the_first(tmp_path):
    path = tmp_path / "environment.json"
    add_start(path, tmp_path / "old", ["bad.png"], 0, FACTS)
    add_start(path, tmp_path / "new", [], 4, TrainingFacts(backend="jax"))
    found = read_environment(path)
    assert (found.data, found.backend, found.skipped) == (str(tmp_path / "new"), "tensorflow", ("bad.png",))
    assert [start.first_epoch for start in found.starts] == [1, 5]
    assert [start.data for start in found.starts] == [str(tmp_path / "old"), str(tmp_path / "new")]
    assert [start.num_parameters for start in found.starts] == [3, None]


def test_what_nobody_knows_is_not_in_the_file(tmp_path):
    path = tmp_path / "environment.json"
    add_start(path, tmp_path, [], 0, FACTS)
    record = json.loads(path.read_text())
    assert {"members", "start_digest", "teacher_digest", "sources", "time", "first_epoch"} & set(record) == set()
    assert {"time", "first_epoch", "backend", "num_parameters", "packages"} <= set(record["starts"][0])


def test_keys_of_a_newer_polypseg_outlive_a_start(tmp_path):
    path = tmp_path / "environment.json"
    add_start(path, tmp_path, [], 0, FACTS)
    record = json.loads(path.read_text())
    record["colour"] = "blue"
    record["starts"][0]["weather"] = ["rain"]
    path.write_text(json.dumps(record))
    add_start(path, tmp_path, [], 1, FACTS)
    again = json.loads(path.read_text())
    assert again["colour"] == "blue"
    assert again["starts"][0]["weather"] == ["rain"]
    assert "weather" not in again["starts"][1]


def test_the_record_of_a_killed_first_start_is_enough(tmp_path):
    """polypseg 0.1 wrote at least the folder of the data."""
    path = tmp_path / "environment.json"
    path.write_text('{"data": "/data/kvasir-seg"}')
    found = read_environment(path)
    assert (found.data, found.starts, found.checkpoint_chosen_by) == ("/data/kvasir-seg", (), "unknown")


@pytest.mark.parametrize("content", ['{"starts": []}', '{"data": 3}', '{"data": "d", "packages": []}', "[]", "{"])
def test_a_damaged_record_is_told_in_one_line(tmp_path, content):
    path = tmp_path / "environment.json"
    path.write_text(content)
    with pytest.raises(RunError, match=r"environment\.json: not a run's record, or a damaged one") as caught:
        read_environment(path)
    assert "\n" not in str(caught.value)
