"""The script that makes a packaged model: its steps, and how it goes on after an interruption."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPE = """
name = "small"
version = "2.0"
about = "a small one"
default = true
precision = "fp16"
notes = "small.md"
average = ["1", "2:last"]
evaluate = ["test"]
negatives = ["none=data/none"]

[[train]]
config = "configs/demo.toml"

[[train]]
config = "configs/demo.toml"
settings = ["train.seed=1"]
"""


@pytest.fixture
def script():
    found = importlib.util.spec_from_file_location("make_model", ROOT / "scripts" / "make_model.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def call(script, tmp_path, monkeypatch):
    """Calls the script; `fails` names a step whose command ends with code 1. Returns the commands that ran."""
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE)
    (tmp_path / "small.md").write_text("- fails")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "demo.toml").write_text("[train]\nepochs = 3\n")
    monkeypatch.chdir(tmp_path)

    def run(*options, fails=""):
        ran = []

        def record(command, check):
            ran.append(" ".join(command[1:]))
            return subprocess.CompletedProcess(command, int(bool(fails) and fails in ran[-1]))

        monkeypatch.setattr(subprocess, "run", record)
        monkeypatch.setattr(sys, "argv", ["make_model.py", str(recipe), "--runs", str(tmp_path / "runs"), *options])
        script.main()
        return ran

    run.recipe, run.folder = recipe, tmp_path
    return run


def test_each_cycle_starts_from_the_one_before_and_what_is_averaged_is_tuned_and_packaged(call, tmp_path):
    first, second, average, tune, package = call()
    runs = tmp_path / "runs"
    assert first == f"-m polypseg train --runs {runs} --name small-1 --config configs/demo.toml --no-evaluate"
    assert second.endswith(f"--no-evaluate --set train.seed=1 --set train.start_from={runs}/small-1")
    assert average.endswith(f"average_runs.py {runs}/small-1 {runs}/small-2:last --out {runs}/small")
    assert tune == f"-m polypseg evaluate {runs}/small --tune-threshold"
    assert f"package_model.py {runs}/small --name small --about a small one --version 2.0 --precision fp16" in package
    assert package.endswith(f"--notes {tmp_path}/small.md --default --evaluate test --negatives none=data/none")


def test_what_failed_is_where_the_next_call_goes_on(call):
    with pytest.raises(SystemExit, match=r"^average ended with code 1; the same command goes on from here$"):
        call(fails="average_runs")
    assert [command.split()[0].rpartition("/")[2] for command in call()] == [
        "average_runs.py",
        "-m",
        "package_model.py",
    ]
    assert call() == []


def test_training_that_has_begun_is_resumed(call, tmp_path):
    begun = tmp_path / "runs" / "small-1"
    begun.mkdir(parents=True)
    (begun / "config.toml").write_text("")
    assert call("--until", "train-1") == [
        f"-m polypseg train --runs {tmp_path / 'runs'} --name small-1 --resume --no-evaluate"
    ]


def test_changed_recipe_does_again_what_follows_from_it(call):
    call()
    call.recipe.write_text(RECIPE.replace('version = "2.0"', 'version = "2.1"'))
    (package,) = call()
    assert "--version 2.1" in package


def test_another_environment_clone_or_place_of_the_data_does_nothing_again(call, script, monkeypatch):
    call()
    monkeypatch.setattr(script, "POLYPSEG", ("/elsewhere/python", "-m", "polypseg"))
    monkeypatch.setattr(script, "SCRIPTS", Path("/elsewhere/scripts"))
    monkeypatch.setattr(sys, "executable", "/elsewhere/python")
    assert call("--set", "sources.a.path=/elsewhere/data") == []


@pytest.mark.parametrize(("file", "text", "first"), [("configs/demo.toml", "[train]\nepochs = 4\n", "train"),
                                                     ("small.md", "- fails less", "package")])  # fmt: skip
def test_changed_config_or_notes_do_again_what_depends_on_them(call, file, text, first):
    call()
    (call.folder / file).write_text(text)
    assert first in call()[0]


def test_comment_in_a_config_changes_nothing(call):
    call()
    (call.folder / "configs" / "demo.toml").write_text("# three of them\n[train]\nepochs = 3\n")
    assert call() == []


def test_file_of_before_with_digests_of_commands_is_understood(call, script, tmp_path):
    recipe = script.tomllib.loads(RECIPE)
    steps = script.steps_of(recipe, call.recipe, tmp_path / "runs", [])
    (tmp_path / "runs").mkdir()
    done = {step.name: script.hashlib.sha256(script.json.dumps(step.command).encode()).hexdigest() for step in steps}
    (tmp_path / "runs" / "small-steps.json").write_text(script.json.dumps(done))
    assert call() == []


def test_config_that_is_not_there_is_one_line(call):
    (call.folder / "configs" / "demo.toml").unlink()
    with pytest.raises(
        SystemExit, match=r"^configs.demo.toml: cannot be read \(No such file or directory\); the recip"
    ):
        call()


def test_list_runs_nothing_and_an_unknown_step_is_one_line(call, capsys):
    assert call("--list") == []
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        "train-1",
        "train-2",
        "average",
        "tune",
        "package",
    ]
    with pytest.raises(SystemExit, match=r"--until export: no such step; expected one of \['train-1', .*'package'\]"):
        call("--until", "export")


def test_recipes_of_the_package_name_configs_and_notes_that_are_there(script):
    recipes = sorted((ROOT / "configs" / "packaged").glob("*.toml"))
    assert recipes
    for path in recipes:
        recipe = script.tomllib.loads(path.read_text(encoding="utf-8"))
        assert [step.name for step in script.steps_of(recipe, path, Path("runs"), [])][-3:] == [
            "average",
            "tune",
            "package",
        ]
        assert all((ROOT / cycle["config"]).is_file() for cycle in recipe["train"])
        assert path.with_name(recipe["notes"]).is_file()
