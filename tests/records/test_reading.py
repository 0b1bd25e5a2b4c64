import io
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from polypseg.config import load_run_config
from polypseg.errors import DataError, PolypsegError
from polypseg.records.digests import file_digests, model_file_digest
from polypseg.records.onnx_metadata import read_facts
from polypseg.records.reading import (
    FileKind,
    Saved,
    open_npy,
    read_json,
    read_npz,
    read_rows,
    read_text,
    stream_rows,
)
from polypseg.records.scores import read_scores

KIND = FileKind("note", DataError, "write it again", max_mib=1)


class Note(Saved):
    number: int
    share: float = 0.0
    words: tuple[str, ...] = ()


def written(tmp_path, content, name="note.json"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(read, path, *arguments):
    """The one line of the error, which names the file and the mend."""
    with pytest.raises(DataError) as caught:
        read(path, *arguments, KIND)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{path}: ")
    assert line.endswith("; write it again")
    assert len(line) < len(str(path)) + 300
    return line


def test_json_is_read_as_the_type_that_was_asked_for(tmp_path):
    path = written(tmp_path, '{"number": 1, "share": 1, "words": ["a"], "of a newer version": {}}')
    assert read_json(path, Note, KIND) == Note(number=1, share=1.0, words=("a",))
    assert read_json(written(tmp_path, '{"a": 1.5}'), dict[str, float], KIND) == {"a": 1.5}


def test_byte_order_mark_is_passed_over(tmp_path):
    assert read_json(written(tmp_path, b'\xef\xbb\xbf{"number": 2}'), Note, KIND).number == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "EOF"),
        ("{", "EOF"),
        ("[]", "object"),
        ("null", "object"),
        ("{}", "number: Field required"),
        ('{"number": "1"}', "number: Input should be a valid integer"),
        ('{"number": 1.5}', "number: Input should be a valid integer"),
        ('{"number": true}', "number: Input should be a valid integer"),
        ('{"number": 1, "words": "abc"}', "words: Input should be a valid"),
        ('{"number": 1, "words": ["a", 2]}', "words.1: Input should be a valid string"),
        ('{"number": ' + "9" * 5000 + "}", "out of range"),
        ('{"number": 1, "words": ' + "[" * 100_000 + "]" * 100_000 + "}", "recursion limit"),
        ('{"number": 1, "share": {"share": {}}}', "share: Input should be a valid number"),
        ('{"number": 1}'.encode("utf-16"), "not UTF-8"),
        ('{"numbér": 1}'.encode("latin-1"), "not UTF-8"),
        (b'{"number": 1}\0', "trailing characters"),
        (b" " * (1 << 20) + b'{"number": 1}', "1,048,589 bytes, at most 1,048,576 expected"),
    ],
)
def test_damaged_json_is_one_line(tmp_path, content, reason):
    assert reason in refusal(read_json, written(tmp_path, content), Note)


def test_words_that_cannot_be_printed_are_not(tmp_path):
    line = refusal(read_json, written(tmp_path, '{"a\\u001b[2J\\n": 1}'), dict[str, str])
    assert line.isprintable()


def test_rows_are_read_by_the_names_of_their_columns(tmp_path):
    path = written(tmp_path, 'a,b\n1,"two, with a\nline"\n\n3,4\n')
    assert read_rows(path, ["a"], KIND) == [{"a": "1", "b": "two, with a\nline"}, {"a": "3", "b": "4"}]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it lacks the columns a"),
        ("b\n1\n", "it lacks the columns a"),
        ("a,a\n1,2\n", "a column is twice there"),
        ("a,b\n1\n", "line 2: 1 cells, 2 expected"),
        ("a,b\n1,2\n1,2,3\n", "line 3: 3 cells, 2 expected"),
        ('a,b\n1,"' + "x" * 200_000 + '"\n', "field limit"),
        ('a,b\n1,"2\n', "unexpected end"),
        ("a,b\n1,é\n".encode("latin-1"), "not UTF-8"),
    ],
)
def test_damaged_rows_are_one_line(tmp_path, content, reason):
    assert reason in refusal(read_rows, written(tmp_path, content), ["a"])


def npz(**arrays):
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def test_arrays_are_read_by_name(tmp_path):
    found = read_npz(written(tmp_path, npz(a=np.arange(3), b=np.eye(2))), ["a"], KIND)
    assert found["a"].tolist() == [0, 1, 2]
    assert set(found) == {"a", "b"}


WHOLE = npz(a=np.arange(40))


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", WHOLE[:-20], WHOLE[:60] + b"\xff" + WHOLE[61:], npz(b=np.eye(2)), npz(a=np.zeros(1 << 18))],
    ids=["empty", "no archive", "cut", "flipped", "another array", "larger unpacked"],
)
def test_damaged_arrays_are_one_line(tmp_path, content):
    refusal(read_npz, written(tmp_path, content), ["a"])


def test_pickled_objects_are_refused(tmp_path):
    refusal(read_npz, written(tmp_path, npz(a=np.array([{}], object))), ["a"])


def test_one_array_is_opened_where_it_lies(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    assert open_npy(tmp_path / "a.npy", KIND).tolist() == [[0, 1, 2], [3, 4, 5]]
    whole = (tmp_path / "a.npy").read_bytes()
    for content in (b"", whole[:20], whole[:-8], whole.replace(b"(2, 3)", b"(2,-3)")):
        refusal(open_npy, written(tmp_path, content, "damaged.npy"))


def test_what_is_no_file_is_refused_before_it_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # reading it would never end
    for path in (tmp_path / "pipe", tmp_path):
        assert "not a regular file" in refusal(read_text, path)
    assert "No such file" in refusal(read_text, tmp_path / "none")
    refusal(open_npy, tmp_path / "pipe")


class TestStreamedRows:
    def test_rows_come_one_after_another(self, tmp_path):
        path = written(tmp_path, 'a,b\n1,"x\n, y"\n2\n')
        rows = stream_rows(path, ["a", "b"], KIND)
        assert next(rows) == ["1", "x\n, y"]
        with pytest.raises(DataError, match="line 4: 1 cells, 2 expected"):
            next(rows)

    def test_names_that_are_no_utf8_come_as_the_file_system_has_them(self, tmp_path):
        path = written(tmp_path, b"a\ncaf\xe9\n")
        assert [os.fsencode(cells[0]) for cells in stream_rows(path, ["a"], KIND)] == [b"caf\xe9"]

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            ("b\n1\n", "its columns are b"),
            ("", "its columns are missing"),
            ('a\n"1', "unexpected end of data"),
            ("a\n\n", "line 2: 0 cells, 1 expected"),
        ],
    )
    def test_damage_is_one_line(self, tmp_path, content, reason):
        path = written(tmp_path, content)
        assert reason in refusal(lambda *words: list(stream_rows(*words)), path, ["a"])

    def test_no_file_is_told(self, tmp_path):
        assert "cannot read the note: No such file" in refusal(
            lambda *words: list(stream_rows(*words)), tmp_path / "gone.csv", ["a"]
        )


def _refused_at_once(run, path: Path) -> str:
    """What is said of a pipe, which nobody ever writes into: a reader that opens it would wait for ever."""
    os.mkfifo(path)
    signal.alarm(20)
    try:
        with pytest.raises(PolypsegError) as caught:
            run(path)
    finally:
        signal.alarm(0)
    return str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
@pytest.mark.parametrize(
    "run",
    [
        pytest.param(read_facts, id="facts of a model"),
        pytest.param(model_file_digest, id="digest of a model"),
        pytest.param(lambda path: file_digests([path]), id="digests of a data set"),
        pytest.param(read_scores, id="scores"),
        pytest.param(load_run_config, id="config"),
        pytest.param(lambda path: list(stream_rows(path, ["a"], KIND)), id="rows of any number"),
    ],
)
def test_a_pipe_with_the_name_of_a_saved_file_is_refused_at_once(tmp_path, run):
    assert "not a regular file" in _refused_at_once(run, tmp_path / "x.onnx")
