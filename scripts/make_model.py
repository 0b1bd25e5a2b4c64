"""Makes a packaged model in one command: trains, averages, tunes, exports, proves, scores and packages.

    python scripts/make_model.py configs/packaged/polyp-lite.toml

Each step is a command that you could type; it is printed before it runs. Its result lies in runs/NAME. Start the same
command again after an interruption: a step that was finished is skipped, and a training goes on after its last epoch.
A step is done again where its settings, its config or its notes changed, or a step before it is done again; where the
clone, the environment and the data lie does not matter.
`--until STEP` stops after a step, `--list` shows the steps and which are done.

The recipe is a TOML file:

    name, version, about, default   as `polypseg models` shows them
    precision                       of the packaged file: fp32, fp16 or int8
    notes                           Markdown for the card, beside the recipe: known failures
    [[train]]                       one cycle: config, and settings = ["train.seed=1", ...]; each later cycle starts
                                    from the weights of the one before
    average                         the weights that are averaged: "N" for the best of cycle N, "N:last" for its last
                                    epoch
    evaluate, negatives             what the card tells, as of package_model.py: scored once, with the file itself
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from polypseg.records.atomic import write_text
from polypseg.records.run import Run

POLYPSEG = (sys.executable, "-m", "polypseg")
SCRIPTS = Path(__file__).parent


class Step(NamedTuple):
    """One command, the name that it is remembered by once it is done, and what its result depends on."""

    name: str
    command: tuple[str, ...]
    depends_on: tuple[Any, ...]

    @property
    def digest(self) -> str:
        """Of what the result depends on."""
        return hashlib.sha256(json.dumps(self.depends_on, sort_keys=True, default=str).encode()).hexdigest()

    @property
    def earlier_digest(self) -> str:
        """Of the command with all its paths, as files of before have it."""
        return hashlib.sha256(json.dumps(self.command).encode()).hexdigest()


def steps_of(recipe: dict[str, Any], path: Path, runs: Path, sources: Sequence[str]) -> list[Step]:
    """The steps in order.

    Args:
        recipe: As read from its file.
        path: The recipe's own path.
        runs: The folder of the runs.
        sources: More settings of the trainings: where the data lie.
    """
    name = recipe["name"]
    run = runs / name
    found, start = [], []
    for number, cycle in enumerate(recipe["train"], 1):
        settings = [*cycle.get("settings", ()), *sources, *start]
        command = (*POLYPSEG, "train", "--runs", str(runs), "--name", f"{name}-{number}", "--config", cycle["config"])
        flags = [part for setting in settings for part in ("--set", setting)]
        config = tomllib.loads(_text(Path(cycle["config"])))
        matters = (config, *cycle.get("settings", ()), number > 1)
        found.append(Step(f"train-{number}", (*command, "--no-evaluate", *flags), matters))
        start = [f"train.start_from={runs / f'{name}-{number}'}"]
    averaged = [f"{runs / name}-{source}" for source in recipe["average"]]
    average = (sys.executable, str(SCRIPTS / "average_runs.py"), *averaged, "--out", str(run))
    found.append(Step("average", average, tuple(recipe["average"])))
    found.append(Step("tune", (*POLYPSEG, "evaluate", str(run), "--tune-threshold"), (name,)))
    typed = [f"python scripts/make_model.py {path}"]
    package = [sys.executable, str(SCRIPTS / "package_model.py"), str(run), "--name", name]
    for option in ("about", "version", "precision"):
        package += [f"--{option}", recipe[option]]
    package += ["--command", "\n".join(typed), "--notes", str(path.with_name(recipe["notes"]))]
    package += ["--default"] if recipe["default"] else []
    for option in ("evaluate", "negatives"):
        package += [part for value in recipe.get(option, ()) for part in (f"--{option}", value)]
    notes = _text(path.with_name(recipe["notes"]))
    told = ("about", "version", "precision", "default", "evaluate", "negatives")
    found.append(Step("package", tuple(package), (name, notes, *(recipe.get(key) for key in told))))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SystemExit(f"{path}: cannot be read ({error.strerror}); the recipe names it, seen from here") from error


def resumed(step: Step, runs: Path) -> tuple[str, ...]:
    """The command of a step; of a training that has begun, the one that goes on with it."""
    if not step.name.startswith("train-"):
        return step.command
    folder = runs / step.command[step.command.index("--name") + 1]
    if not Run(folder).config_path.exists():
        return step.command
    return (*POLYPSEG, "train", "--runs", str(runs), "--name", folder.name, "--resume", "--no-evaluate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--set", dest="sources", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--until", metavar="STEP")
    parser.add_argument("--list", action="store_true", help="show the steps and stop")
    options = parser.parse_args()
    recipe = tomllib.loads(options.recipe.read_text(encoding="utf-8"))
    steps = steps_of(recipe, options.recipe, options.runs, options.sources)
    if options.until is not None and options.until not in [step.name for step in steps]:
        raise SystemExit(f"--until {options.until}: no such step; expected one of {[step.name for step in steps]}")
    done_path = options.runs / f"{recipe['name']}-steps.json"
    done = json.loads(done_path.read_text(encoding="utf-8")) if done_path.exists() else {}
    options.runs.mkdir(parents=True, exist_ok=True)
    is_done = True
    for step in steps:
        # what follows from a step is done again with it
        is_done = is_done and done.get(step.name) in (step.digest, step.earlier_digest)
        print(f"{step.name}: {'done' if is_done else ' '.join(step.command[1:])}", flush=True)
        if not (is_done or options.list):
            finished = subprocess.run(resumed(step, options.runs), check=False).returncode
            if finished != 0:
                raise SystemExit(f"{step.name} ended with code {finished}; the same command goes on from here")
            done[step.name] = step.digest
            write_text(done_path, json.dumps(done, indent=1))
        if step.name == options.until:
            break


if __name__ == "__main__":
    main()
