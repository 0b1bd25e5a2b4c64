"""`polypseg show`: the pictures of a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polypseg.cli.console import FigureFormat, console

if TYPE_CHECKING:
    from polypseg.records.run import Run


def show(
    run: Annotated[Path, typer.Argument(help="A run folder, as runs/NAME.")],
    data: Annotated[Path | None, typer.Option(help="Folder of the run's data, if it was moved.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Number of validation samples to draw.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed that chooses the samples.")] = 0,
    file_format: Annotated[
        FigureFormat, typer.Option("--format", help="File format of the figures.")
    ] = FigureFormat.png,
) -> None:
    """Draw the figures of a run into its folder figures/.

    Draws training curves, random validation samples (image, reference, prediction, Dice, and the attention of the level
    that agrees best with the prediction), the attention of every level, the graph of the model, and the scores if the
    run was evaluated.

    [bold]Example[/bold]

    polypseg show runs/kvasir --samples 8 --seed 3
    """
    for path in draw_run(run, samples, seed, data, file_format.value):
        console.print(f"wrote {path}")


def draw_run(
    folder: Path, num_samples: int = 5, seed: int = 0, data: Path | None = None, file_format: str = "png"
) -> list[Path]:
    """Draw the pictures of a run.

    Args:
        folder: The run folder.
        num_samples: Of the validation split, in the figure.
        seed: Draws them.
        data: Where the run's data are now; None for where they were.
        file_format: png, svg or pdf; the model's graph comes as png and svg in any case.

    Returns:
        The paths of the pictures.

    Raises:
        BusyError: Another process draws them.
        RunError: Not a run, or no epoch of it is finished.
    """
    from polypseg.cli.console import import_keras_quietly
    from polypseg.records.lock import alone_in
    from polypseg.records.run import open_run

    import_keras_quietly()
    run = open_run(folder)
    if run.members():
        return _draw_group(run, num_samples, seed, data, file_format)
    run.figures_folder.mkdir(exist_ok=True)
    with alone_in(run.figures_folder):
        return _draw(run, num_samples, seed, data, file_format)


def _draw(run: "Run", num_samples: int, seed: int, data: Path | None, file_format: str) -> list[Path]:
    """As `draw_run`, of one run whose pictures nobody else draws."""
    from dataclasses import replace

    import numpy as np

    from polypseg.cli.console import track
    from polypseg.data.samples import load_sample
    from polypseg.metrics.overlap import dice
    from polypseg.models.graph import draw_model
    from polypseg.predict.engines.keras_engine import KerasEngine
    from polypseg.predict.predictor import PredictOptions, Predictor
    from polypseg.records.threshold import load_threshold
    from polypseg.report.figures import SampleRow, attention_figure, sample_figure, training_curves
    from polypseg.train.samples import run_samples

    history = run.history()
    stored = load_threshold(run.folder)
    field = run.config().data.field
    engine = KerasEngine(run.best_path, stored.threshold, peak_threshold=stored.peak_threshold, field=field)
    monitor = run.config().train.monitor
    written = [training_curves(history, run.figures_folder / f"training_curves.{file_format}", monitor)]
    written += draw_model(engine.model, run.figures_folder / "model")
    found, _ = run_samples(run, data)
    validation = run.split().select(found, "validation")
    count = min(num_samples, len(validation))
    chosen = np.random.default_rng(seed).choice(len(validation), count, replace=False)
    has_gates = bool(engine.facts.attention_levels)
    predictor = Predictor(engine, PredictOptions(attention=has_gates))
    rows = []
    for index in track(chosen, "drawing samples", count):
        sample = validation[int(index)]
        image, reference = load_sample(sample)
        prediction = predictor.predict(image)
        row = SampleRow(sample.name, image, reference, prediction.mask, dice(prediction.mask, reference))
        if has_gates:
            maps, shown = dict(prediction.attention()), prediction.level_to_show()
            row = replace(row, attention=maps[shown], level=shown)
            labels = {level: f"level {level}{', agrees best' if level == shown else ''}" for level in maps}
            path = run.figures_folder / f"attention_{sample.name}.{file_format}"
            written.append(attention_figure(image, [(labels[level], maps[level]) for level in maps], path))
        rows.append(row)
    written.append(sample_figure(rows, run.figures_folder / f"validation_samples.{file_format}"))
    return written + _draw_test_scores(run, file_format)


def _draw_group(group: "Run", num_samples: int, seed: int, data: Path | None, file_format: str) -> list[Path]:
    """The pictures of each member, in the member's folder, and the test scores of the ensemble."""
    members = group.members()
    written = [path for member in members for path in draw_run(member.folder, num_samples, seed, data, file_format)]
    group.figures_folder.mkdir(exist_ok=True)
    return written + _draw_test_scores(group, file_format)


def _draw_test_scores(run: "Run", file_format: str) -> list[Path]:
    from polypseg.records.evaluation import run_evaluation
    from polypseg.report.figures import score_figure

    evaluation = run_evaluation(run, "test")
    if not evaluation.scores_path.is_file():
        return []
    scores = evaluation.scores()
    return [score_figure(scores.dice, scores.values["polyp_share"], run.figures_folder / f"test_scores.{file_format}")]
