"""`polypseg train`: from a folder of images to a trained, scored and pictured run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer


def train(
    data: Annotated[
        Path | None, typer.Option(help="Folder of images and masks, in any layout that `polypseg data check` knows.")
    ] = None,
    name: Annotated[str, typer.Option(help="The run is written to RUNS/NAME.")] = "polypseg",
    runs: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    config: Annotated[Path | None, typer.Option(help="TOML file; what it leaves out keeps its default.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Change one setting; repeatable.")
    ] = None,
    splits: Annotated[Path | None, typer.Option(help="Split manifest (splits.json) to follow.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with RUNS/NAME after its last whole epoch, as if nothing happened.")
    ] = False,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Last epoch; with --resume, of the run that goes on (now or later).")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out samples that cannot be used; list them.")
    ] = False,
    evaluate: Annotated[
        bool, typer.Option("--evaluate/--no-evaluate", help="Score the test split at the end (once, and counted).")
    ] = True,
) -> None:
    """Train a model, score it on its test split and draw its pictures.

    Checks and splits the data, trains up to train.epochs epochs with Adam, keeps the model of the lowest
    validation loss (ModelCheckpoint), halves the rate on a plateau (ReduceLROnPlateau), stops early
    (EarlyStopping), and saves all that a resume needs after each epoch. Kill it at any moment; --resume goes on.

    The split of Kvasir-SEG is the official 880/120, with 80 of the 880 as validation; any other folder is
    split by ratio, with sequences and near-duplicates on one side. Nothing is chosen on the test split.

    [bold]Examples[/bold]

    polypseg train --data data/kvasir-seg --name kvasir --set model.filters=32

    polypseg train --name kvasir --resume

    polypseg train --name kvasir --resume --epochs 80
    """
    from polypseg.errors import UsageError

    run_folder = runs / name
    if resume:
        if settings or config or splits or skip_bad:
            raise UsageError(
                "--resume goes on with the settings of the run; of them only --epochs can change. "
                "For other settings start a new run (--name)"
            )
        with _told_how_to_go_on(run_folder, runs, name):
            _resume(run_folder, data, epochs)
    else:
        if data is None:
            raise UsageError("--data is missing: the folder of images and masks (polypseg data synth makes one)")
        overrides = [*(settings or []), *(["data.skip_bad=true"] if skip_bad else [])]
        overrides += [f"train.epochs={epochs}"] if epochs is not None else []
        with _told_how_to_go_on(run_folder, runs, name):
            _start(run_folder, data, config, overrides, splits)
    _finish(run_folder, evaluate)


@contextmanager
def _told_how_to_go_on(run_folder: Path, runs: Path, name: str) -> Iterator[None]:
    """Ctrl-C in a training ends with the number of the last saved epoch and the command that goes on from it."""
    try:
        yield
    except KeyboardInterrupt:
        from polypseg.cli.console import messages
        from polypseg.train.state import load_state

        state = load_state(run_folder / "checkpoints" / "last")
        where = "" if runs == Path("runs") else f"--runs {runs} "
        again = f"go on with: polypseg train {where}--name {name} --resume"
        if not (run_folder / "config.toml").is_file():
            again = "start it again with the same command"
        messages.print(f"stopped; {state.epoch if state else 0} epochs are saved. To {again}", markup=False)
        raise typer.Exit(130) from None


def _start(run_folder: Path, data: Path, config: Path | None, overrides: list[str], splits: Path | None) -> None:
    from polypseg.cli.console import import_keras_quietly, track
    from polypseg.cli.training_progress import TrainingProgress, tell_epoch
    from polypseg.config import load_config

    settings = load_config(config, overrides)
    import_keras_quietly()
    from polypseg.train.fit import train

    with TrainingProgress(settings.train.epochs) as progress:
        train(data, run_folder, settings, splits, track, tell_epoch, [progress.callback()])


def _resume(run_folder: Path, data: Path | None, epochs: int | None) -> None:
    from polypseg.cli.console import import_keras_quietly, track
    from polypseg.cli.training_progress import TrainingProgress, tell_epoch
    from polypseg.train.run import open_run

    last = epochs or open_run(run_folder).config().train.epochs
    import_keras_quietly()
    from polypseg.train.fit import resume

    with TrainingProgress(last) as progress:
        resume(run_folder, data, epochs, track, tell_epoch, [progress.callback()])


def _finish(run_folder: Path, evaluate: bool) -> None:
    """Pictures and test figures of a run that came to its end."""
    from polypseg.cli.console import console
    from polypseg.cli.show import draw_run
    from polypseg.train.run import open_run

    if evaluate and not open_run(run_folder).split().names("test"):
        console.print("the split has no test samples: nothing was scored")
    elif evaluate:
        from polypseg.cli.evaluate import evaluate as run_evaluation

        run_evaluation(model=str(run_folder))
    for path in draw_run(run_folder):
        console.print(f"wrote {path}")
