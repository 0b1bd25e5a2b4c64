"""`polypseg train`: from a folder of images to a trained, scored and pictured run."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polypseg.cli.mask_options import MaskChannel, PolypColours, PolypLabels, PolypValues

if TYPE_CHECKING:
    from polypseg.config import Config
    from polypseg.data.named_splits import SplitFiles
    from polypseg.preprocess import MaskRule
    from polypseg.records.run import Run


def train(
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of images and masks (see `polypseg data check`); can be repeated."),
    ] = None,
    negatives: Annotated[
        list[Path] | None, typer.Option(help="Folder of frames without a polyp and without masks; can be repeated.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the run; it is written to RUNS/NAME.")] = "polypseg",
    runs: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file with the settings that differ from the defaults, or the name of an included one."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Change one setting; can be repeated.")
    ] = None,
    splits: Annotated[
        Path | None, typer.Option(help="Use this split: a splits.json, or a CSV with the columns name and split.")
    ] = None,
    train_names: Annotated[
        Path | None, typer.Option(help="Text file of the names to train on, one per line; the others are skipped.")
    ] = None,
    validation_names: Annotated[Path | None, typer.Option(help="The same for the validation split.")] = None,
    test_names: Annotated[Path | None, typer.Option(help="The same for the test split.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue RUNS/NAME after its last finished epoch.")] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Total number of epochs; also with --resume.")] = None,
    devices: Annotated[
        int | None,
        typer.Option(min=0, help="GPUs that share each batch (JAX backend); 0: all; also with --resume."),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Cross-validation with this many folds: RUNS/NAME/fold-1, …")
    ] = None,
    seeds: Annotated[str | None, typer.Option(metavar="0,1,2", help="One run per seed: RUNS/NAME/seed-0, …")] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Skip samples that cannot be used, and list them.")
    ] = False,
    empty_masks: Annotated[
        bool, typer.Option("--empty-masks", help="Accept data in which no mask contains a polyp.")
    ] = False,
    polyp_values: PolypValues = "",
    polyp_colours: PolypColours = "",
    mask_channel: MaskChannel = "",
    polyp_labels: PolypLabels = "",
    evaluate: Annotated[
        bool, typer.Option("--evaluate/--no-evaluate", help="Evaluate the test split once, at the end.")
    ] = True,
) -> None:
    """Train a model, evaluate it on its test split and draw figures.

    Checks and splits the data, trains up to train.epochs epochs with Adam, keeps the model of the lowest
    validation loss (ModelCheckpoint), halves the learning rate on a plateau (ReduceLROnPlateau) and stops early
    (EarlyStopping). Every epoch is saved: after an interruption, --resume continues.

    The split of Kvasir-SEG is the official 880/120, with 80 of the 880 as validation; any other folder is
    split by ratio, with sequences and near-duplicates on one side. The test split chooses nothing.

    With --folds, RUNS/NAME is an ensemble of its folds that evaluate, predict and show use like a model. The ensemble
    is evaluated on the test split once, each fold on its own validation images. With --seeds, the runs differ only in
    their seed, and the mean of their test figures is printed with its interval.

    [bold]Examples[/bold]

    polypseg train --data data/kvasir-seg --name kvasir --set model.filters=32

    polypseg train --name kvasir --resume

    polypseg train --name kvasir --resume --epochs 80

    polypseg train --data data/kvasir-seg --name five --folds 5
    """
    from polypseg.cli.console import require_keras
    from polypseg.errors import UsageError
    from polypseg.preprocess import mask_rule

    require_keras()
    from polypseg.data.named_splits import SplitFiles

    rule = mask_rule(polyp_values, polyp_colours, mask_channel, polyp_labels)
    run_folder = runs / name
    split_files = SplitFiles(splits, train_names, validation_names, test_names)
    if resume:
        changes = settings or config or split_files != SplitFiles() or skip_bad or folds or seeds or negatives
        if changes or empty_masks or rule:
            raise UsageError(
                "--resume uses the settings of the run; only --epochs and --devices can change. "
                "For other settings start a new run (--name)"
            )
        with _told_how_to_go_on(run_folder, runs, name):
            _resume(run_folder, data[0] if data else None, epochs, devices)
    else:
        overrides = [*(settings or []), *(["data.skip_bad=true"] if skip_bad else [])]
        overrides += ["data.empty_masks=true"] if empty_masks else []
        overrides += rule_settings(rule)
        overrides += [f"train.epochs={epochs}"] if epochs is not None else []
        overrides += [f"train.devices={devices}"] if devices is not None else []
        overrides += [f"split.folds={folds}"] if folds is not None else []
        with _told_how_to_go_on(run_folder, runs, name):
            _start(run_folder, data or [], negatives or [], config, overrides, split_files, _numbers(seeds))
    _finish(run_folder, evaluate)


@contextmanager
def _told_how_to_go_on(run_folder: Path, runs: Path, name: str) -> Iterator[None]:
    """Ctrl-C in a training ends with the number of the last saved epoch and the command that goes on from it."""
    try:
        yield
    except KeyboardInterrupt:
        from polypseg.cli.console import messages
        from polypseg.records.run import Run
        from polypseg.records.training_state import load_state

        states = [load_state(run.last_folder) for run in Run(run_folder).members() or [Run(run_folder)]]
        num_epochs = sum(state.epoch for state in states if state)
        where = "" if runs == Path("runs") else f"--runs {runs} "
        again = f"continue with: polypseg train {where}--name {name} --resume"
        if not (run_folder / "config.toml").is_file():
            again = "start it again with the same command"
        messages.print(f"stopped; {num_epochs} epochs are saved; {again}", markup=False)
        raise typer.Exit(130) from None


def rule_settings(rule: "MaskRule") -> list[str]:
    """The settings that record what means polyp in the masks."""
    colours = ", ".join(f'"{colour}"' for colour in rule.colours)
    settings = [f"data.polyp_values=[{', '.join(map(str, rule.values))}]"] if rule.values else []
    settings += [f"data.polyp_colours=[{colours}]"] if rule.colours else []
    settings += [f"data.polyp_labels={json.dumps(rule.labels)}"] if rule.labels else []
    return settings + ([f'data.mask_channel="{rule.channel}"'] if rule.channel else [])


def _numbers(text: str | None) -> list[int]:
    """Whole numbers with commas between them; none without a text."""
    from polypseg.errors import UsageError

    try:
        numbers = [int(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise UsageError(f"--seeds {text!r}: expected whole numbers with commas, as 0,1,2") from error
    if any(number < 0 for number in numbers):
        raise UsageError(f"--seeds {text!r}: expected numbers of at least 0")
    return numbers


def _with_start(settings: "Config") -> "Config":
    """The settings, with the network of the model to start from; the name of a packaged or a hub's one is its path."""
    from polypseg.predict.engines.hub import is_hub
    from polypseg.predict.engines.packaged import packaged_models, resolve
    from polypseg.train.named_models import with_network_of_start

    start = settings.train.start_from
    preset = start if start in {model.name for model in packaged_models()} else None
    if preset is not None or is_hub(start):
        train = settings.train.model_copy(update={"start_from": str(resolve(start))})
        settings = settings.model_copy(update={"train": train})
    return with_network_of_start(settings, preset)


def _start(
    run_folder: Path,
    folders: list[Path],
    negatives: list[Path],
    config: Path | None,
    overrides: list[str],
    split_files: "SplitFiles",
    seeds: list[int],
) -> None:
    from polypseg.cli.console import import_keras_quietly, track
    from polypseg.cli.training_progress import TrainingProgress, tell_epoch
    from polypseg.config import load_config
    from polypseg.data.sources import with_folders
    from polypseg.errors import UsageError

    settings = with_folders(load_config(config, overrides), folders, negatives)
    if not (settings.sources or folders):
        raise UsageError("--data is missing: the folder of images and masks (polypseg data synth makes one)")
    data = None if settings.sources else folders[0]
    import_keras_quietly()
    from polypseg.train.fit import train
    from polypseg.train.group import train_group

    settings = _with_start(settings)

    with TrainingProgress(settings.train.epochs, run_folder) as progress:
        shown = track, tell_epoch, [progress.callback()]
        if seeds or settings.split.folds:
            train_group(data, run_folder, settings, seeds, split_files, *shown)
        else:
            train(data, run_folder, settings, split_files, *shown)


def _resume(run_folder: Path, data: Path | None, epochs: int | None, devices: int | None) -> None:
    from polypseg.cli.console import import_keras_quietly, track
    from polypseg.cli.training_progress import TrainingProgress, tell_epoch
    from polypseg.errors import UsageError
    from polypseg.records.run import open_run

    run = open_run(run_folder)
    is_group = bool(run.members())
    if is_group and epochs is not None:
        raise UsageError(f"{run_folder} is a group of runs, which continues as planned; remove --epochs")
    last = epochs or run.config().train.epochs
    import_keras_quietly()
    from polypseg.train.fit import resume
    from polypseg.train.group import resume_group

    with TrainingProgress(last, run_folder) as progress:
        shown = track, tell_epoch, [progress.callback()]
        if is_group:
            resume_group(run_folder, data, *shown, devices)
        else:
            resume(run_folder, data, epochs, *shown, devices)


def _finish(run_folder: Path, evaluate: bool) -> None:
    """Pictures and test figures of what came to its end; of a cross-validation the out-of-fold scores too."""
    from polypseg.cli.console import console
    from polypseg.cli.show import draw_run
    from polypseg.records.run import open_run

    run = open_run(run_folder)
    is_cross_validation = bool(run.config().split.folds)
    if is_cross_validation:
        _evaluate(run_folder, split="validation")
    if evaluate and not run.split().names("test"):
        console.print("the split has no test samples: nothing was evaluated")
    elif evaluate and run.members() and not is_cross_validation:
        _score_seeds(run_folder)
    elif evaluate:
        _evaluate(run_folder)
    for path in draw_run(run_folder):
        console.print(f"wrote {path}")
    _measure_gates(run)


def _measure_gates(run: "Run") -> None:
    """Measures the attention gates of a run, or of each member of a group, and says which of them do not work."""
    from polypseg.cli.console import console, messages, track
    from polypseg.cli.scores_table import gate_table
    from polypseg.explain.gates import measure_run_gates

    members = run.members()
    for member in members or [run]:
        record = measure_run_gates(member, track=track)
        if record is None:
            continue
        name = member.folder.name if members else ""
        console.print(gate_table(record, name))
        for text in record.warnings():
            messages.print(f"[yellow]note:[/yellow] {name}{': ' if name else ''}{text}")


def _evaluate(run_folder: Path, split: str | None = None) -> None:
    from polypseg.cli.evaluate import evaluate

    evaluate(model=str(run_folder), split=split)


def _score_seeds(run_folder: Path) -> None:
    """Each member's test figures, and what they say together."""
    from polypseg.cli.console import console
    from polypseg.evaluate.group import seed_figures
    from polypseg.records.run import open_run

    for member in open_run(run_folder).members():
        _evaluate(member.folder)
    record = seed_figures(run_folder)
    for figure, found in (("dice", record.dice), ("iou", record.iou)):
        limits = found.low is not None and found.high is not None
        interval = f" (95 % {found.low:.4f} to {found.high:.4f}, Student's t)" if limits else ""
        mean = "unknown" if found.mean is None else f"{found.mean:.4f}"
        console.print(f"{figure} over {record.num_runs} seeds: {mean}{interval}")
    console.print(f"wrote {run_folder / 'seeds.json'}")
