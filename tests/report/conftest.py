"""A handmade evaluation whose figures can be worked out in the head, and the run that it judges.

Four images of 20x20 pixels, the polyp a square of 10x10 (25 % of the image, so large):

exact         predicted as it is                    Dice 1,   IoU 1
half <b>&     its left half predicted               Dice 2*50/(50+100) = 2/3,  IoU 1/2
missed        nothing predicted                     Dice 0,   IoU 0
clean         no polyp; 40 pixels predicted (10 %)

Mean Dice 5/9 = 0.556, mean IoU 0.5, median Dice 0.667. The run was trained on `twin`, whose bytes are those of exact.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polypseg.config import load_config
from polypseg.evaluate.evaluation import evaluate
from polypseg.evaluate.plan import Plan, plan_predictions
from polypseg.evaluate.selection import ImageToScore, add_digests, label_splits
from polypseg.evaluate.summary import SummaryOptions
from polypseg.progress import silent
from polypseg.records.digests import file_digests
from polypseg.records.environment import TrainingFacts, add_start
from polypseg.records.evaluation_record import EvaluationSource
from polypseg.records.run import Run, write_config, write_history
from polypseg.records.split import Split, SplitEntry
from polypseg.report.report_input import read_report_input

OPTIONS = SummaryOptions(num_resamples=200)
HALF = "half <b>&"
NAMES = ("clean", "exact", HALF, "missed")


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_data(folder: Path, grey: bool = True) -> None:
    """images/, masks/ and maps/ of the four; with `grey` the maps hold probabilities, 0.2 and 0.8."""
    square = np.zeros((20, 20), bool)
    square[5:15, 5:15] = True
    left = square & (np.arange(20) < 10)
    stripe = np.zeros((20, 20), bool)
    stripe[:2] = True
    predicted = {"clean": stripe, "exact": square, HALF: left, "missed": np.zeros_like(square)}
    low, high = (51, 204) if grey else (0, 255)
    for number, (name, found) in enumerate(predicted.items()):
        image = np.random.default_rng(number).integers(0, 255, (20, 20, 3), np.uint8)
        save(folder / "images" / f"{name}.png", image)
        save(folder / "masks" / f"{name}.png", np.uint8(255) * (square & (name != "clean")))
        levels = np.where(found, high, low).astype(np.uint8)
        if grey:
            levels[-1, :12] = range(40, 52)  # a probability map has many levels; two alone would be taken for labels
        save(folder / "maps" / f"{name}.png", levels)


def score_maps(folder: Path, names: Path | None = None, grey: bool = True):
    """The evaluation of the handmade maps as another program's."""
    write_data(folder, grey)
    if names is not None:
        for path in folder.glob("*/*.png"):
            if path.stem not in names:
                path.unlink()
    plan = plan_predictions(folder / "maps", folder / "masks", folder / "images")
    return evaluate(
        plan, folder / "evaluation", summary_options=OPTIONS, command="polypseg evaluate --predictions maps"
    )


def write_run(folder: Path, data: Path) -> Run:
    """A run with everything that a report reads; its model is a file of other bytes."""
    run = Run(folder)
    run.best_path.parent.mkdir(parents=True)
    run.best_path.write_bytes(b"a model")
    write_config(run, load_config(overrides=["train.epochs=7", "model.filters=24"]))
    digests = file_digests(list(data.glob("*/*.png")))
    entries = {
        name: SplitEntry("test", digests[data / "images" / f"{name}.png"], digests[data / "masks" / f"{name}.png"], "B")
        for name in NAMES
    }
    twin = SplitEntry("train", entries["exact"].image_digest, "1" * 64, "A")
    entries |= {"twin": twin, "other": SplitEntry("validation", "2" * 64, "3" * 64, "C")}
    Split("ratio: made by hand", 3, entries).save(run.splits_path)
    row = {
        "loss": 0.5,
        "dice": 0.6,
        "iou": 0.4,
        "val_dice": 0.5,
        "val_iou": 0.4,
        "learning_rate": 1e-3,
        "seconds": 60.0,
    }
    write_history(run, [{"epoch": e, **row, "val_loss": loss} for e, loss in ((1, 0.9), (2, 0.4), (3, 0.7))])
    facts = TrainingFacts(backend="jax", num_parameters=1_234_567)
    add_start(run.environment_path, data, ["bad.jpg"], 0, facts)
    return run


def score_run(run: Run, data: Path, label: str = "test"):
    """The evaluation of the run on the four, their maps in the place of the model's."""
    split = run.split()
    cases = add_digests(
        [ImageToScore(n, *(data / f / f"{n}.png" for f in ("images", "masks", "maps")), group="B") for n in NAMES],
        silent,
    )
    source = EvaluationSource(
        kind="run",
        run=str(run.folder),
        model=str(run.best_path),
        model_digest=file_digests([run.best_path])[run.best_path],
        size=256,
        engine="keras",
        data=str(data),
        split=label,
        split_source=split.source,
        split_digest=split.digest(),
        checkpoint_chosen_by="lowest val_loss on the validation split",
    )
    plan = Plan(label_splits(cases, split, True), label, 0.5, "default", source, run=run, manifest=split)
    folder = run.folder / "evaluation" / label
    return evaluate(plan, folder, None, OPTIONS, search_leaks=False, command="polypseg evaluate runs/kvasir")


@pytest.fixture(scope="session")
def saved_maps(tmp_path_factory) -> Path:
    """A folder with the handmade data and their evaluation; do not write into it."""
    folder = tmp_path_factory.mktemp("maps")
    score_maps(folder)
    return folder


@pytest.fixture(scope="session")
def saved_run(tmp_path_factory) -> Path:
    """A run folder with its evaluation, its data beside it; do not write into it."""
    folder = tmp_path_factory.mktemp("run")
    write_data(folder / "data")
    run = write_run(folder / "kvasir", folder / "data")
    score_run(run, folder / "data")
    return run.folder


@pytest.fixture(scope="session")
def maps_record(saved_maps):
    return read_report_input(saved_maps / "evaluation")


@pytest.fixture(scope="session")
def run_record(saved_run):
    return read_report_input(saved_run)


@pytest.fixture
def own_run(saved_run, tmp_path) -> Path:
    """A copy of the run that a test may damage; its data stay where they are."""
    return Path(shutil.copytree(saved_run, tmp_path / "kvasir"))
