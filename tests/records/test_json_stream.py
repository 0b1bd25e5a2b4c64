"""Large JSON files record by record: the same values as the standard library's, and one line for damage."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polypseg.errors import ScoreError
from polypseg.records import json_stream
from polypseg.records.json_stream import stream_members
from polypseg.records.reading import FileKind

KIND = FileKind("COCO file", ScoreError, "write it again")
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


def whole(path):
    """Everything in the file, put together again."""
    found = {key: list(value) if isinstance(value, Iterator) else value for key, value in stream_members(path, KIND)}
    return found[""] if path.read_text(encoding="utf-8-sig").lstrip()[0] == "[" else found


@pytest.mark.slow
@given(content=st.lists(VALUES) | st.dictionaries(st.text(), VALUES), indent=st.none() | st.just(1))
def test_equal_to_the_standard_library(content, indent, tmp_path_factory):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=False), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_stream, "CHUNK", 1)  # every value is cut at every letter
        assert whole(path) == content


def test_what_is_not_used_of_a_list_is_passed_over(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"images": [1, 2, 3], "annotations": [[4], {"a": [5]}], "info": {"seed": 7}}')
    assert [
        (key, next(value) if isinstance(value, Iterator) else value) for key, value in stream_members(path, KIND)
    ] == [
        ("images", 1),
        ("annotations", [4]),
        ("info", {"seed": 7}),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"expected \{, found the end"),
        ("7", r"expected \{, found .7."),
        ("[1, 2", "expected , or ], found the end"),
        ("[1 2]", "expected , or ], found '2'"),
        ('{"a": [1, {"b": ]}', "Expecting value"),
        ('{7: 1}', "expected the name of a member, found 7"),
        ("[1] 2", "more than one value"),
        ("[" * 100_000, "maximum recursion depth exceeded|recursion"),
        ("[" + "9" * 5000 + "]", "Exceeds the limit"),
    ],
)  # fmt: skip
def test_damage_is_one_line(tmp_path, text, reason):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ScoreError, match=reason) as caught:
        whole(path)
    assert str(caught.value).startswith(f"{path}: not a COCO file, or a damaged one (")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_and_files_that_are_none(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'["\xff"]')
    with pytest.raises(ScoreError, match="can't decode byte 0xff"):
        whole(path)
    with pytest.raises(ScoreError, match=r"cannot read the COCO file: No such file or directory; write it again"):
        whole(tmp_path / "b.json")
    with pytest.raises(ScoreError, match="cannot read the COCO file: not a regular file"):
        whole(tmp_path)


def test_byte_order_mark_is_passed_over(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf[1]")
    assert whole(path) == [1]


def test_a_record_that_never_ends_is_refused_before_all_is_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "MOST_LETTERS", 1000)
    monkeypatch.setattr(json_stream, "CHUNK", 100)
    path = tmp_path / "a.json"
    path.write_text('["' + "a" * 1_000_000)
    with pytest.raises(ScoreError, match="Unterminated string"):
        whole(path)
