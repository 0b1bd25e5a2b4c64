"""Tables of groups: every separator, and nothing guessed."""

import pytest

from polypseg.data.group_table import NO_GROUPS, read_groups, sizes_in_words
from polypseg.errors import DataError

EXPECTED = {"a": "p1", "b": "p1", "c": "p2"}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("before", ["", "\ufeff"])
def test_every_separator_is_read_and_named(tmp_path, separator, before):
    lines = [("name", "patient"), ("a.png", "p1"), ("b.JPG", "p1"), ("c", "p2")]
    (tmp_path / "groups.csv").write_text(before + "\r\n".join(map(separator.join, lines)), encoding="utf-8")
    table = read_groups(tmp_path, "abc")
    assert dict(table.groups) == EXPECTED
    word = {",": "comma", ";": "semicolon", "\t": "tab"}[separator]
    assert table.source == f"groups.csv, columns name and patient, separated by {word}"


def _table(folder, text: str, stems="abc"):
    (folder / "sequences.csv").write_text(text, encoding="utf-8")
    return read_groups(folder, stems)


def test_what_excel_adds_is_passed_over(tmp_path):
    text = 'sep=;\nFrame;Video;score\na.png;p1;0,5\nb.png;"p1";0,75\n;;\nc.png;p2;1,0\n'
    assert dict(_table(tmp_path, text).groups) == EXPECTED


def test_no_table_and_no_header(tmp_path):
    assert read_groups(tmp_path, "abc") is NO_GROUPS
    table = _table(tmp_path, "a,p1\nb,p1\nc,p2\n")
    assert dict(table.groups) == EXPECTED
    assert "no header" in table.source


def test_names_in_another_spelling_of_unicode(tmp_path):
    assert dict(_table(tmp_path, "name,group\nNguye\u0302\u0303n.png,p1\n", ["Nguyễn"]).groups) == {"Nguyễn": "p1"}


def test_of_two_columns_of_names_the_one_that_names_the_images(tmp_path):
    table = _table(tmp_path, "frame,file,sequence\n1,a.png,p1\n2,b.png,p1\n3,c.png,p2\n")
    assert dict(table.groups) == EXPECTED
    assert "columns file and sequence" in table.source


def test_centres_are_read_beside_groups(tmp_path):
    assert dict(_table(tmp_path, "frame;group;centre\na;p1;C1\nb;p1;C1\nc;p2;\n").centres) == {"a": "C1", "b": "C1"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "name,sequence,patient\na,s1,p1\nb,s2,p1\nc,s3,p2\n",
            "columns sequence and patient could each tell the group",
        ),
        ("name,image,group\na,b,p1\nb,a,p1\nc,c,p2\n", "columns name and image could each tell the name"),
        ("picture,case\na,p1\nb,p1\nc,p2\n", "expected two columns.*found picture,case"),
        ("frame,case\na,p1\n", "expected two columns.*found frame,case"),
        ("name;a,group\na;x,p1\nb;y,p1\n", r"\(comma or semicolon would do\)"),
        ("name|group\na|p1\n", r"\(none fits\), found name\|group"),
        ("name,group\na,p1\nb\n", "in every row"),
        ("", "found nothing"),
        ("name,group\na,p1\na.png,p2\n", "row 3: a is in p2 and in p1"),
        ("name,group\na,p1\nb,\n", "row 3: no group"),
        ("name,group\na,p1\nb,#N/A\n", r"row 3: no group \(#N/A\)"),
        ("name,group\na,NaN\nb,p1\n", r"row 2: no group \(NaN\)"),
        ('name,group\na,"p1\nb,p2\n', "cannot read the groups: unexpected end of data"),
        ("name,group\na,P1\nb,p1\n", "'P1' and 'p1'"),
        ("name,group\na,01\nb,1\n", "'01' and '1'"),
        ("name,group\na,patient 007\nb,patient 7\n", "'patient 007' and 'patient 7'"),
        ("name,group\na,1\nb,1.0\n", r"'1' and '1\.0'"),
        ("name,group\na,p 1\nb,p  1\n", "'p  1' and 'p 1'"),
        ("name,group\na,p1\nb,p1\u200b\n", r"'p1' and 'p1\\u200b'"),
        ("name,group\na,p1\nb,p1\0\n", r"'p1' and 'p1\\x00'"),
        ("name,group\na,José\nb,Jose\u0301\n", "in one way"),
    ],
)
def test_what_is_not_certain_is_refused_with_what_was_found(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        _table(tmp_path, text)


def test_quotes_and_lines_within_them(tmp_path):
    """A line break in quotes is part of the name: "x, y" on two lines is another group than xy."""
    quoted = '"name","patient"\n"a.png", "p1"\n"b.png", "p1"\n"c.png","p2"\n'
    assert dict(_table(tmp_path, quoted).groups) == EXPECTED
    assert dict(_table(tmp_path, "\ufeff" + quoted).groups) == EXPECTED
    lines = 'name,patient\na,"x\ny"\nb,xy\nc,"z\u2028y"\n'
    assert dict(_table(tmp_path, lines).groups) == {"a": "x\ny", "b": "xy", "c": "z\u2028y"}
    assert dict(_table(tmp_path, "name,patient\ra,p1\rb,p1\rc,p2\r").groups) == EXPECTED  # an old Macintosh's lines


def test_groups_of_other_numbers_are_others(tmp_path):
    groups = {"a": "1", "b": "10", "c": "100", "d": "0", "e": "1.10", "f": "1.1", "g": "p 1 2", "h": "p 12"}
    text = "name,group\n" + "".join(f"{name},{group}\n" for name, group in groups.items())
    assert dict(_table(tmp_path, text, groups).groups) == groups


def test_two_tables_and_other_encodings(tmp_path):
    (tmp_path / "groups.csv").write_text("name,group\na,p1\n")
    (tmp_path / "sequences.csv").write_text("name,group\na,p2\n")
    with pytest.raises(DataError, match=r"holds sequences\.csv and groups\.csv; which tells the groups"):
        read_groups(tmp_path, "a")
    (tmp_path / "groups.csv").unlink()
    (tmp_path / "sequences.csv").write_bytes("name,group\né,p1\n".encode("utf-16"))
    with pytest.raises(DataError, match="expected a CSV file in UTF-8"):
        read_groups(tmp_path, "a")


def test_sizes_in_words():
    assert sizes_in_words("aabcc") == "3 groups: 2 of 2 images, 1 of 1"
    many = [str(number) for number in range(10) for _ in range(number + 1)]
    assert sizes_in_words(many) == "10 groups: of 1 to 10 images"
