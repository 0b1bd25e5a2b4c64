"""Which recipe trains a model again from a few corrections, so that it gains on the new hospital and forgets least.

    python benchmarks/retraining.py MODEL --new bkai-neopolyp --known kvasir-seg --out trials

The model has never seen the new hospital; 25 of its frames are corrected by their references, and each candidate of
`CANDIDATES` trains the model again as `polypseg annotate` does. OUT/results.csv tells, for each: the mean Dice on
other frames of the new hospital and on the project's reference set, less that of the model before, and whether the gate
lets it pass. The same command goes on where it was stopped.

The rule, fixed before the first run: of the candidates that lose at most 0.01 on the reference set in each trial, the
one that gains most on the unseen frames on average; of gains within 0.01 of each other, the one that loses least.
"""

import argparse
import csv
import random
import shutil
from pathlib import Path

from typer.main import get_command

from polypseg.annotate.beginning import begin_project
from polypseg.annotate.gate import Compared, Models, compare_models
from polypseg.annotate.project import opened_project
from polypseg.annotate.reference import store_reference
from polypseg.annotate.training import Recipe, StartModel, Training
from polypseg.cli import app
from polypseg.data.catalogue import find_samples
from polypseg.data.samples import Sample, load_sample
from polypseg.errors import ProjectError
from polypseg.predict.predictor import load
from polypseg.records.atomic import write_text
from polypseg.records.project import SetComparison

LAST = Recipe(freezes_normalisation=True, ema_momentum=0.0)
"""Keeps the weights of the last step."""
CANDIDATES = {
    "rate 3e-4": LAST._replace(learning_rate=3e-4, freezes_normalisation=False),
    "rate 3e-4, frozen normalisation": LAST._replace(learning_rate=3e-4),
    "rate 1e-4, frozen normalisation": LAST._replace(learning_rate=1e-4),
    "rate 1e-4": LAST._replace(learning_rate=1e-4, freezes_normalisation=False),
    "rate 3e-4, frozen normalisation, twice the known images": LAST._replace(learning_rate=3e-4, known_share=2.0),
    "rate 1e-4, frozen normalisation, mean of the weights": LAST._replace(learning_rate=1e-4, ema_momentum=0.95),
    "rate 3e-5, frozen normalisation": LAST._replace(learning_rate=3e-5),
}
"""The last two were added when the first two had been measured, and lost."""
COLUMNS = ("new", "seed", "recipe", "shown", "unseen_before", "unseen", "low", "high", "held_out", "known_before",
           "known", "passed", "seconds")  # fmt: skip


class InProcess(Training):
    """A training whose commands run here, so that a trial does not pay for starting three programs."""

    def _child(self, arguments: list[str]) -> None:
        import keras

        keras.backend.clear_session()
        if get_command(app)(arguments, standalone_mode=False):
            raise ProjectError(f"polypseg {arguments[0]} failed: see above")


def main() -> None:
    arguments = _arguments()
    results = arguments.out / "results.csv"
    arguments.out.mkdir(parents=True, exist_ok=True)
    for new in arguments.new:
        samples = {sample.name: sample for sample in find_samples(new)[0]}
        for seed in arguments.seeds:
            pool, unseen = _drawn(list(samples.values()), seed)
            for name in arguments.recipes:
                recipe = CANDIDATES[name]
                if any(row["new"] == new.name and row["seed"] == str(seed) and row["recipe"] == name
                       for row in _rows(results)):  # fmt: skip
                    continue
                folder = _project(arguments.out / f"{new.name}-{seed}", samples, pool, arguments.known)
                recipe = recipe._replace(num_shown=arguments.shown)
                row = {"new": new.name, "seed": str(seed), "recipe": name, "shown": str(arguments.shown)}
                row |= trial(folder, arguments.model, recipe, unseen)
                write_text(results, _table([*_rows(results), row]))
                print(", ".join(f"{key} {row[key]}" for key in COLUMNS), flush=True)


def trial(folder: Path, model: Path, recipe: Recipe, unseen: list[Compared]) -> dict[str, str]:
    """Train again, and compare before and after."""
    old = load(model)
    start = StartModel(str(model.resolve()), model, "trial", "0", old.threshold, old.peak_threshold)
    trained = InProcess(folder, start, recipe).work()
    found = compare_models(Models(old, load(trained.path), ("", "")), unseen, []).project
    project, known = trained.comparison.project, trained.comparison.reference
    assert isinstance(known, SetComparison)
    values = {"unseen_before": found.old, "unseen": found.difference, "low": found.low, "high": found.high,
              "held_out": project.difference, "known_before": known.old, "known": known.difference}  # fmt: skip
    told = {key: f"{value:.4f}" for key, value in values.items()}
    return told | {"passed": "no" if trained.comparison.is_worse else "yes", "seconds": f"{trained.seconds:.0f}"}


def _drawn(samples: list[Sample], seed: int) -> tuple[list[Sample], list[Compared]]:
    """25 frames to label, and 60 of other groups to measure."""
    groups = sorted({sample.group or sample.name for sample in samples})
    random.Random(seed).shuffle(groups)
    place = {group: number for number, group in enumerate(groups)}
    ordered = sorted(samples, key=lambda sample: (place[sample.group or sample.name], sample.name))
    labelled = ordered[:25]
    taken = {sample.group or sample.name for sample in labelled}
    others = [sample for sample in ordered if (sample.group or sample.name) not in taken and sample.mask_path]
    return labelled, [Compared(s.image_path, s.mask_path, s.group or s.name) for s in others[:60] if s.mask_path]


def _project(place: Path, samples: dict[str, Sample], pool: list[Sample], known: Path) -> Path:
    """The project with its corrections, made once and trained by each candidate."""
    folder, frames = place / "project", place / "frames"
    if (place / "made").is_file():
        return folder
    shutil.rmtree(place, ignore_errors=True)
    frames.mkdir(parents=True)
    for sample in pool:
        shutil.copy(sample.image_path, frames / f"{sample.name}{sample.image_path.suffix}")
    begin_project(frames, folder, place.name)
    store_reference(folder, known)
    with opened_project(folder) as project:
        for frame in project.frames.values():
            project.save(frame, "corrected", load_sample(samples[frame.name])[1], "the references", 0, "")
    write_text(place / "made", "")
    return folder


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def _table(rows: list[dict[str, str]]) -> str:
    return "\n".join([",".join(COLUMNS), *(",".join(f'"{row[key]}"' for key in COLUMNS) for row in rows)]) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model that has not seen the new hospital")
    parser.add_argument("--new", type=Path, nargs="+", required=True, help="images and masks of the new hospital")
    parser.add_argument("--known", type=Path, required=True, help="what the model was trained on")
    parser.add_argument("--out", type=Path, default=Path("trials"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--recipes", nargs="+", default=list(CANDIDATES), choices=CANDIDATES, help="all by default")
    parser.add_argument("--shown", type=int, default=Recipe().num_shown, help="images shown in each training")
    return parser.parse_args()


if __name__ == "__main__":
    main()
