"""An append-only file of lines that tell whether they are whole."""

import hashlib
import json

import pytest

from polypseg.errors import ProjectError
from polypseg.records.reading import FileKind
from polypseg.records.trail import Trail, TrailLine

KIND = FileKind("test trail", ProjectError, "put it back")


class Said(TrailLine):
    who: str
    number: int


@pytest.fixture
def path(tmp_path):
    return tmp_path / "said.jsonl"


def open_trail(path):
    trail = Trail(path, Said, KIND)
    return trail, trail.recover()


def test_lines_follow_one_another(path):
    trail, (lines, note) = open_trail(path)
    assert (lines, note) == ([], "")
    trail.append(Said(who="Zoë", number=1))
    trail.append(Said(who="B", number=2))
    texts = path.read_text().splitlines()
    first = json.loads(texts[0])
    # of the digest before (none), a new line, and the fields in the order of their names
    by_hand = hashlib.sha256('\n{"number":1,"who":"Zoë"}'.encode()).hexdigest()[:16]
    assert first == {"who": "Zoë", "number": 1, "check": by_hand}
    second = hashlib.sha256(f'{by_hand}\n{{"number":2,"who":"B"}}'.encode()).hexdigest()[:16]
    assert json.loads(texts[1])["check"] == second
    again, (lines, _) = open_trail(path)
    assert [(line.who, line.number) for line in lines] == [("Zoë", 1), ("B", 2)]
    again.append(Said(who="C", number=3))
    assert len(open_trail(path)[1][0]) == 3


@pytest.mark.parametrize("cut", [1, 2, 10, 40])
def test_cut_end_is_moved_aside(path, cut):
    trail, _ = open_trail(path)
    trail.append(Said(who="A", number=1))
    whole = path.read_bytes()
    trail.append(Said(who="B", number=2))
    lost = path.read_bytes()[len(whole) : -cut]
    path.write_bytes(whole + lost)
    trail, (lines, note) = open_trail(path)
    assert [line.number for line in lines] == [1]
    assert f"its {len(lost)} bytes are in said.jsonl.damaged-1, the 1 lines before it are in order" in note
    assert path.read_bytes() == whole
    assert path.with_name("said.jsonl.damaged-1").read_bytes() == lost
    trail.append(Said(who="C", number=3))
    assert [line.number for line in open_trail(path)[1][0]] == [1, 3]


def test_zeros_of_a_power_failure_are_moved_aside(path):
    trail, _ = open_trail(path)
    trail.append(Said(who="A", number=1))
    with path.open("ab") as opened:
        opened.write(b"\0" * 50 + b"\n")
    _, (lines, note) = open_trail(path)
    assert [line.number for line in lines] == [1]
    assert "its 51 bytes" in note


@pytest.mark.parametrize("which", [0, 1, 2])
def test_changed_line_is_refused(path, which):
    trail, _ = open_trail(path)
    for number in range(3):
        trail.append(Said(who="A", number=number))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[which] = lines[which].replace(b'"A"', b'"B"')
    path.write_bytes(b"".join(lines))
    with pytest.raises(ProjectError, match=f"line {which + 1} is damaged, or was changed"):
        Trail(path, Said, KIND).read()


def test_line_that_cannot_be_written_leaves_the_file(path):
    trail, _ = open_trail(path)
    trail.append(Said(who="A", number=1))
    path.rename(path.with_name("kept"))
    path.mkdir()
    with pytest.raises(ProjectError, match=r"cannot be written .* nothing of this was saved"):
        trail.append(Said(who="B", number=2))
    path.rmdir()
    path.with_name("kept").rename(path)
    trail.append(Said(who="B", number=2))
    assert len(open_trail(path)[1][0]) == 2
