"""Options that several commands share: one name, one meaning, one help text."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Annotated

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from polypseg.cli import app
from polypseg.cli.command_class import takes
from polypseg.cli.evaluate import evaluate

ONE_TEXT = (
    "--tta",
    "--field",
    "--engine",
    "--batch-size",
    "--smooth",
    "--smooth-frames",
    "--withhold",
    "--deinterlace",
)
ONE_TEXT += ("--min-area", "--polyp-values", "--polyp-colours", "--mask-channel", "--polyp-labels")
"""Options that say the same wherever they are."""


def options():
    """By name, what each command says of the option: the command and the option."""
    found = defaultdict(list)

    def walk(command, path):
        for each in command.params:
            for name in each.opts:
                if name.startswith("--") and not getattr(each, "hidden", False):
                    found[name].append((path, each))
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, f"{path} {name}".strip())

    walk(get_command(app), "")
    return found


def test_shared_options_say_the_same_in_every_command():
    differing = {}
    for name, places in options().items():
        if name not in ONE_TEXT:
            continue
        kept = [(path, each) for path, each in places if path not in ("benchmark", "models", "serve")]
        texts = {(each.help, each.metavar, each.min, each.max) for _, each in kept}
        if len(texts) > 1:
            differing[name] = texts
    assert not differing


def test_shared_options_are_where_they_are_expected():
    where = {name: {path for path, _ in places} for name, places in options().items()}
    assert where["--tta"] == {"predict", "evaluate", "archive run"}
    assert {"evaluate", "train"} <= where["--negatives"]
    assert {"predict", "evaluate", "archive summary", "calibrate", "explain", "report"} <= where["--overwrite"]
    assert "--restart" not in where


def test_an_option_is_a_switch_everywhere_or_nowhere():
    kinds = {name: {each.is_flag for _, each in places} for name, places in options().items()}
    # --images is a folder of images, and in a report whether they are shown.
    assert {name for name, kind in kinds.items() if len(kind) > 1} == {"--images"}


def test_min_area_of_evaluate_is_noted_as_the_earlier_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["evaluate", "polyp-lite", "--min-area", "3"])
    assert "note: --min-area is now --min-lesion-area" in result.stderr
    assert result.exit_code == 2  # no --data


@dataclass(frozen=True, kw_only=True)
class Inner:
    level: Annotated[int, typer.Option(help="A level.")] = 3


@dataclass(frozen=True, kw_only=True)
class Call:
    path: Annotated[str, typer.Argument()]
    inner: Inner = field(default_factory=Inner)
    loud: Annotated[bool, typer.Option("--loud")] = False


def command():
    seen = []

    @takes(Call)
    def shout(call: Call) -> None:
        """Shout."""
        seen.append(call)

    return shout, seen


def test_a_command_class_is_filled_group_by_group():
    shout, seen = command()
    small = typer.Typer()
    small.command()(shout)
    result = CliRunner().invoke(small, ["here", "--level", "5", "--loud"])
    assert result.exit_code == 0, result.output
    assert seen == [Call(path="here", inner=Inner(level=5), loud=True)]
    assert "Shout." in CliRunner().invoke(small, ["--help"]).output


def test_a_command_class_called_as_a_function_has_its_defaults():
    shout, seen = command()
    shout(path="there")
    assert seen == [Call(path="there")]
    with pytest.raises(TypeError, match="has no option width"):
        shout(path="there", width=3)


def test_evaluate_refuses_unknown_options_when_called_as_a_function():
    with pytest.raises(TypeError, match="has no option thresholds"):
        evaluate(model="polyp-lite", thresholds=0.3)
