"""What a long step says of itself."""

from polypseg import progress
from polypseg.progress import silent, slow_steps_told


def test_a_slow_step_is_mentioned_with_its_count_and_a_quick_one_is_not(monkeypatch, capsys):
    # The clock is read once at the start and once after each item: 0, 1, 3, 5, 14 s. The first mention is due at 2 s,
    # so it comes after the second item (3 s); the next is due at 13 s: after the fourth (14 s).
    times = iter([0.0, 1.0, 3.0, 5.0, 14.0])
    monkeypatch.setattr(progress, "monotonic", lambda: next(times))
    assert list(slow_steps_told("abcd", "reading", 4)) == list("abcd")
    assert capsys.readouterr().err == "polypseg: reading, 2 of 4\npolypseg: reading, 4 of 4\n"
    monkeypatch.undo()
    assert list(slow_steps_told("ab", "reading", 2)) == ["a", "b"]
    assert capsys.readouterr().err == ""


def test_silent_says_nothing(capsys):
    assert list(silent([1, 2], "counting", 2)) == [1, 2]
    assert capsys.readouterr() == ("", "")
