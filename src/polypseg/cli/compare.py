"""`polypseg compare`: two or more evaluations, image by image."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polypseg.cli.console import FigureFormat, console

if TYPE_CHECKING:
    from polypseg.evaluate.compare import PairedResult
    from polypseg.records.evaluation import Evaluation
    from polypseg.report.figures import SampleRow


def compare(
    evaluations: Annotated[
        list[Path],
        typer.Argument(
            metavar="A B [C …]",
            help="Run folders (their test split), folders written by polypseg evaluate, or scores.csv files.",
        ),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN", help="Column of scores.csv; can be repeated.", show_default="Dice, IoU and others"
        ),
    ] = None,
    cases: Annotated[
        int, typer.Option(min=0, help="Number of images in the figure: those with the largest differences.")
    ] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of bootstrap and permutation test.")] = 0,
    resamples: Annotated[int, typer.Option(min=100, help="Resamples of bootstrap and permutation test.")] = 10_000,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for comparison.json, comparison.csv and the figures.")
    ] = Path("comparison"),
    file_format: Annotated[
        FigureFormat, typer.Option("--format", help="File format of the figures.")
    ] = FigureFormat.png,
) -> None:
    """Compare evaluations over the same images: differences, intervals, p-values, and where they differ most.

    The difference of an image is A's score minus B's. The interval is a bootstrap over images (over sequences or
    patients if the data have them). The p-values are Wilcoxon's signed-rank test and a permutation test, adjusted for
    the number of pairs (Holm) if there are more than two evaluations. Images without a polyp are compared separately.

    Evaluations of different images, references, splits or settings are refused.

    [bold]Examples[/bold]

    polypseg compare runs/unet runs/attention-unet

    polypseg compare runs/kvasir/evaluation/cvc-clinicdb results/PraNet/CVC-ClinicDB-evaluation --metric dice
    """
    from polypseg.cli.scores_table import comparison_table
    from polypseg.evaluate.compare import METRICS, comparable_scores, save_comparison
    from polypseg.evaluate.compare import compare as compare_evaluations
    from polypseg.records.evaluation import open_evaluation
    from polypseg.records.lock import alone_in

    opened = list(zip(_labels(evaluations), map(open_evaluation, evaluations), strict=True))
    metrics = tuple(metric or METRICS)
    results = compare_evaluations(opened, metrics, max(cases, 10), num_resamples=resamples, seed=seed)
    for group in _by_pair(results):
        console.print(comparison_table(group))
    scores = comparable_scores(opened)
    labelled = [(label, each) for (label, _), each in zip(opened, scores, strict=True)]
    out.mkdir(parents=True, exist_ok=True)
    with alone_in(out):
        written = save_comparison(results, labelled, out)
        drawn = _draw_cases(dict(opened), results, metrics[0], cases, out, file_format.value)
    if cases and not drawn:
        console.print("no figure: the evaluations are equal, or their images or masks are missing")
    written += drawn
    if len(opened) > 2:
        console.print("p-values are adjusted for the number of pairs (Holm)")
    console.print(f"wrote {', '.join(map(str, written))}")


def _labels(paths: list[Path]) -> list[str]:
    """Short names that tell the evaluations apart: the last part of each path, or more of it where that repeats."""
    parts = [list(path.parent.parts if path.name == "scores.csv" else path.parts) or [str(path)] for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(each[-length:]) for each in parts]
        if len(set(labels)) == len(labels):
            return labels
    return [str(path) for path in paths]


def _by_pair(results: list["PairedResult"]) -> list[list["PairedResult"]]:
    """The results of each pair of evaluations, images with and without a polyp apart."""
    groups: dict[tuple[str, str, str], list[PairedResult]] = {}
    for result in results:
        groups.setdefault((result.first, result.second, result.images), []).append(result)
    return list(groups.values())


def _draw_cases(
    opened: dict[str, "Evaluation"], results: list["PairedResult"], metric: str, count: int, out: Path, ending: str
) -> list[Path]:
    """A picture for each pair: the images in which they differ most, the one above the other."""
    from polypseg.report.figures import case_figure

    written = []
    for result in results:
        if result.metric != metric or result.images != "polyp" or not count or not result.largest:
            continue
        names = [case.name for case in result.largest[:count]]
        rows = {label: _sample_rows(opened[label], names) for label in (result.first, result.second)}
        if all(rows.values()):
            safe = "-".join(label.replace("/", "_") for label in rows)
            written.append(case_figure(rows, out / f"largest_differences_{safe}.{ending}"))
    return written


def _sample_rows(evaluation: "Evaluation", names: list[str]) -> "list[SampleRow]":
    """The pictures of some images under one evaluation; those that are not at hand are left out."""
    from polypseg.errors import PolypsegError

    scores = evaluation.scores()
    dice = dict(zip(scores.names, scores.dice.tolist(), strict=True))
    rows = []
    for name in names:
        try:
            rows.append(_sample_row(evaluation, name, dice[name]))
        except (PolypsegError, StopIteration, KeyError):
            continue
    return rows


def _sample_row(evaluation: "Evaluation", name: str, dice: float) -> "SampleRow":
    """The picture of one image; on grey where the image itself is not known."""
    import numpy as np

    from polypseg.preprocess import MaskRule, read_image, read_mask
    from polypseg.report.figures import SampleRow

    sample = next(sample for sample in evaluation.record().samples if sample.name == name)
    if sample.reference is None:
        raise KeyError(name)
    reference = read_mask(sample.reference.path, MaskRule.parse(sample.mask_rule))
    image = read_image(sample.image.path) if sample.image else np.full((*reference.shape, 3), 60, np.uint8)
    return SampleRow(name, image, reference, evaluation.predicted_mask(name), dice)
