"""What every command shares: the bar, and a library of an extra that is not installed."""

import io
import re
import time

import pytest
import typer
from rich.console import Console

from polypseg.cli import console
from polypseg.cli.console import one_line_errors, track


def test_the_bar_tells_count_rate_and_time_left(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(console, "messages", Console(file=shown, force_terminal=True, width=120))
    for _ in track(range(20), "counting", 20):
        time.sleep(0.02)
    text = shown.getvalue()
    assert "counting" in text
    assert "/20" in text
    rates = [float(number) for number in re.findall(r"([\d.]+)/s", text)]
    assert rates
    assert all(0 < rate <= 60 for rate in rates)  # at most 50 a second, as each takes 0.02 s, and a little for rounding
    assert "0:00:00" in text


def test_the_bar_is_silent_without_a_terminal(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(console, "messages", Console(file=shown))
    assert list(track([1, 2], "counting", 2)) == [1, 2]
    assert shown.getvalue() == ""


@pytest.mark.parametrize("package", ["scipy", "matplotlib", "imagehash"])
def test_a_library_of_an_extra_is_told_in_one_line(package, capsys):
    def command():
        raise ModuleNotFoundError(f"No module named '{package}'", name=f"{package}.part")

    with pytest.raises(typer.Exit) as ended:
        one_line_errors(command)()
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == (
        f'error: {package} is not installed, and this needs it; install it with: pip install "polypseg[evaluate]"\n'
    )


def test_another_missing_module_is_a_fault_of_ours():
    def command():
        raise ModuleNotFoundError("No module named 'x'", name="x")

    with pytest.raises(ModuleNotFoundError):
        one_line_errors(command)()
