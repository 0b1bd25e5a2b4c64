"""How fast corrections pay: a simulated labeller, whose corrections are the references of CVC-ClinicDB's sequences.

    python benchmarks/simulated_labeller.py cvc-clinicdb --reference kvasir-seg --out labeller
    python benchmarks/simulated_labeller.py cvc-clinicdb --out labeller --draw docs/images/simulated_labeller.png

For each seed a third of the sequences is unseen: nothing of it is labelled, every fourth frame of it measures. From the
others frames are labelled, the most useful first or at random, 20 and 60 in all; after each step the served model is
trained again as `polypseg annotate` does it, passes the gate or not, and the Dice of the trained model and of what is
then served is measured on the unseen sequences. What is done is in OUT/results.csv; the same command goes on where it
was stopped. `--shown` makes the trainings shorter than those of the program: its rows say so.

The design was fixed before the first row: 3 seeds, 2 orders, 0, 20 and 60 frames, the means of the seeds compared by
their paired differences. CVC-ClinicDB is a test set: nothing is chosen by these figures.
"""

import argparse
import csv
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from retraining import InProcess

from polypseg.annotate.beginning import begin_project
from polypseg.annotate.project import Project, opened_project
from polypseg.annotate.proposals import Proposals
from polypseg.annotate.queue import by_usefulness
from polypseg.annotate.reference import store_reference
from polypseg.annotate.training import Recipe
from polypseg.data.catalogue import find_samples
from polypseg.data.samples import Sample, load_sample
from polypseg.metrics.overlap import dice
from polypseg.metrics.statistics import bootstrap_mean
from polypseg.predict.predictor import Predictor, load
from polypseg.preprocess import read_image
from polypseg.records.atomic import write_text
from polypseg.serve.served import ServedFile, ServedHistory

COLUMNS = ("seed", "order", "labelled", "shown", "trained", "dice", "low", "high", "frames", "sequences", "passed",
           "seconds")  # fmt: skip
ORDERS = ("useful", "random")
EVERY = 4
"""Of a sequence's frames, which are alike, every fourth measures."""


class Setting(NamedTuple):
    """One curve.

    Attributes:
        seed: Of the sequences, and of the random order.
        order: useful or random.
        samples: All frames with their references, by name.
        unseen: Those that measure.
        folder: Of the project.
        recipe: Of its trainings.
    """

    seed: int
    order: str
    samples: dict[str, Sample]
    unseen: list[Sample]
    folder: Path
    recipe: Recipe


class Measured(NamedTuple):
    """Mean Dice of a model on the unseen frames, and its interval over sequences."""

    dice: float
    low: float
    high: float


def main() -> None:
    arguments = _arguments()
    results = arguments.out / "results.csv"
    if arguments.draw:
        draw(_rows(results), arguments.draw)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    samples = {sample.name: sample for sample in find_samples(arguments.data)[0]}
    for seed in arguments.seeds:
        for order in ORDERS:
            setting = _setting(samples, seed, order, arguments)
            for row in steps(setting, arguments.steps, _rows(results)):
                write_text(results, _table([*_rows(results), row]))
                print(", ".join(f"{key} {row[key]}" for key in COLUMNS), flush=True)


def steps(setting: Setting, counts: list[int], done: list[dict[str, str]]) -> Iterator[dict[str, str]]:
    """A row for each number of labelled frames, 0 first; those that are done are passed over."""
    rows = {int(r["labelled"]): r for r in done if r["seed"] == str(setting.seed) and r["order"] == setting.order}
    with opened_project(setting.folder) as project:
        models = ServedHistory(setting.folder)
        served = models.at_start(None)
        if 0 not in rows:
            before = _measured(setting, load(served.path))
            rows[0] = _row(setting, 0, (before, before), (True, 0.0))
            yield rows[0]
        standing = Measured(*(float(rows[max(rows)][key]) for key in ("dice", "low", "high")))
        for count in counts:
            if count in rows:
                continue
            label(project, setting, served, count)
            start = models.start(served, load(served.path), project.name)
            trained = InProcess(setting.folder, start, setting.recipe).work()
            found, is_better = _measured(setting, load(trained.path)), not trained.comparison.is_worse
            if is_better:
                served, standing = models.trained(trained.path), found
                models.note(served, "it passed the comparison")
            yield _row(setting, count, (found, standing), (is_better, trained.seconds))


def label(project: Project, setting: Setting, served: ServedFile, count: int) -> None:
    """Correct frames until so many are labelled; a kill in the middle loses none."""
    if setting.order == "random":
        order = list(project.frames.values())
        random.Random(setting.seed).shuffle(order)
    else:
        proposals, predictor = Proposals(project.folder, served.digest), load(served.path)
        for frame in project.frames.values():
            if proposals.look(frame.name) is None:
                proposals.keep(frame.name, predictor.predict(read_image(frame.image_path)))
        order = by_usefulness(project, proposals)
    for frame in order:
        if len(project.labelled()) >= count:
            return
        if project.last(frame) is None:
            mask = load_sample(setting.samples[frame.name])[1]
            project.save(frame, "corrected", mask, "the references", 0, f"{served.model} sha256:{served.digest}")


def _setting(samples: dict[str, Sample], seed: int, order: str, arguments: argparse.Namespace) -> Setting:
    """A project of the sequences that are labelled; it is made where it is not there yet."""
    groups = sorted({sample.group or "" for sample in samples.values()}, key=lambda name: (len(name), name))
    random.Random(seed).shuffle(groups)
    unseen = set(groups[: len(groups) // 3])
    place = arguments.out / f"seed-{seed}-{order}"
    frames = place / "frames"
    pool = [sample for sample in samples.values() if sample.group not in unseen]
    if not (place / "project" / "project.json").is_file():
        shutil.rmtree(place, ignore_errors=True)
        frames.mkdir(parents=True)
        for sample in pool:
            shutil.copy(sample.image_path, frames / f"{sample.name}{sample.image_path.suffix}")
        rows = "".join(f"{sample.name},{sample.group}\n" for sample in pool)
        write_text(frames / "groups.csv", f"frame,group\n{rows}")
        begin_project(frames, place / "project", f"seed {seed} {order}")
    if arguments.reference:
        store_reference(place / "project", arguments.reference)
    measured = [sample for name in sorted(unseen) for sample in _of_group(samples, name)[::EVERY]]
    return Setting(seed, order, samples, measured, place / "project", Recipe(num_shown=arguments.shown))


def _of_group(samples: dict[str, Sample], group: str) -> list[Sample]:
    return sorted((s for s in samples.values() if s.group == group), key=lambda s: (len(s.name), s.name))


def _measured(setting: Setting, predictor: Predictor) -> Measured:
    scores, groups = [], []
    for sample in setting.unseen:
        image, reference = load_sample(sample)
        scores.append(dice(predictor.predict(image).mask, reference))
        groups.append(sample.group or sample.name)
    found = bootstrap_mean(scores, groups)
    return Measured(found.value, found.low, found.high)


def _row(setting: Setting, labelled: int, found: tuple[Measured, Measured], how: tuple[bool, float]) -> dict[str, str]:
    """A row of the table; of what was trained and of what is served, whether it passed, and in how many seconds."""
    trained, served = found
    sequences = len({sample.group for sample in setting.unseen})
    values = (
        setting.seed, setting.order, labelled, setting.recipe.num_shown, f"{trained.dice:.4f}", f"{served.dice:.4f}",
        f"{served.low:.4f}", f"{served.high:.4f}", len(setting.unseen), sequences, "yes" if how[0] else "no",
        f"{how[1]:.0f}",
    )  # fmt: skip
    return dict(zip(COLUMNS, map(str, values), strict=True))


def draw(rows: list[dict[str, str]], path: Path) -> None:
    """Curves alone, of each trained model and of what the gate lets be served: means, and thin lines for each seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(8, 3.6), sharey=True, layout="constrained")
    for axes, column, title in zip(panels, ("trained", "dice"), ("the trained model", "what is served"), strict=True):
        for order, colour in zip(ORDERS, ("#0b6e99", "#b3541e"), strict=True):
            seeds = sorted({row["seed"] for row in rows if row["order"] == order})
            curves = [curve for seed in seeds if (curve := _curve(rows, order, seed, column))]
            for curve in curves:
                axes.plot(*zip(*sorted(curve.items()), strict=True), color=colour, alpha=0.35, linewidth=1)
            shared = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
            means = [float(np.mean([curve[count] for curve in curves])) for count in shared]
            words = "most useful first" if order == "useful" else "at random"
            axes.plot(shared, means, color=colour, marker="o", label=f"{words}, {len(seeds)} seeds")
        axes.set_title(title)
        axes.set_xlabel("corrected frames")
    panels[0].set_ylabel("mean Dice on unseen sequences")
    panels[1].legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=150)


def _curve(rows: list[dict[str, str]], order: str, seed: str, column: str) -> dict[int, float]:
    return {int(r["labelled"]): float(r[column]) for r in rows if r["order"] == order and r["seed"] == seed}


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def _table(rows: list[dict[str, str]]) -> str:
    return "\n".join([",".join(COLUMNS), *(",".join(row[key] for key in COLUMNS) for row in rows)]) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="frames in sequences, with masks (CVC-ClinicDB)")
    parser.add_argument("--reference", type=Path, help="data set of which a share is mixed in and compared on")
    parser.add_argument("--out", type=Path, default=Path("labeller"))
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 60], help="labelled frames in all")
    parser.add_argument("--shown", type=int, default=Recipe().num_shown, help="images shown in each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--draw", type=Path, help="only draw what is in OUT/results.csv")
    return parser.parse_args()


if __name__ == "__main__":
    main()
