"""A model trained again from a project: `polypseg train` and `polypseg export` as child processes, then the gate.

Decisions:
- It begins with the served model and sees corrected frames and the stored share of what the model knew, about as many
  of each: a few corrections are shown several times an epoch, in new augmentations.
- A low rate that rises and comes down to 0, normalisation as it was, and the mean of the weights over the steps: of
  five recipes tried (benchmarks/retraining.py) the one that forgets least. About 1,300 images are shown in all, for
  minutes on two cores. docs/explanation/experiments.md says what came of it.
- The children end with this process, however that ends (`child.py`). What they print goes to a file beside the model.
- A training that is cancelled leaves nothing in the project.
"""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import monotonic
from typing import NamedTuple, TypeVar

import tomli_w

from polypseg.annotate.gate import Models, compare_models, held_out_frames, reference_frames
from polypseg.annotate.reference import reference_of
from polypseg.data.project_frames import labelled_samples
from polypseg.errors import ProjectError, RunError
from polypseg.predict.predictor import load
from polypseg.progress import Track, silent
from polypseg.records.atomic import write_text
from polypseg.records.digests import model_file_digest
from polypseg.records.project import COMPARISON_NAME, MODEL_FILE, MODELS, REFERENCE, GateComparison
from polypseg.records.run import Run
from polypseg.records.threshold import Threshold, save_threshold

MOST_REPEATED = 4
"""A corrected frame is shown so often an epoch at most."""

FEWEST_EPOCHS = 4

FEWEST_TRAINING = 4
"""Fewer corrected frames than these, beside those that are held out, are too few to train with."""

T = TypeVar("T")
CHILD = Path(__file__).with_name("child.py")


class CancelledError(ProjectError):
    """Somebody ended a training."""


class Recipe(NamedTuple):
    """How a model is trained again.

    Attributes:
        num_shown: About so many images are shown in a training, repetitions included.
        learning_rate: The highest.
        freezes_normalisation: Whether batch normalisation stays as it is in the served model.
        known_share: So many images of the reference set are shown for each of the project, where it has as many.
        ema_momentum: Of the mean of the weights over the steps, as `train.ema_momentum`; 0 for the last ones.
    """

    num_shown: int = 1300
    learning_rate: float = 1e-4
    freezes_normalisation: bool = True
    known_share: float = 1.0
    ema_momentum: float = 0.95


class StartModel(NamedTuple):
    """The model that a training begins with.

    Attributes:
        model: As `--set train.start_from` takes it: a packaged name, a run or a file.
        path: Its file or run, as it is served.
        name: Of the new model.
        version: Of the new model.
        threshold: Of the served model, which the new one keeps.
        peak_threshold: The same.
    """

    model: str
    path: Path
    name: str
    version: str
    threshold: float
    peak_threshold: float


class Trained(NamedTuple):
    """A trained model.

    Attributes:
        path: Its file.
        comparison: With the one that it began with.
        seconds: That all of it took.
    """

    path: Path
    comparison: GateComparison
    seconds: float


class Training:
    """One training of a project's frames, with all that follows.

    Args:
        folder: Of the project.
        start: What it begins with.
        recipe: How it is trained.

    Attributes:
        run: Its run folder, PROJECT/models/NUMBER.
        epochs: That it will take.
        stage: training or comparing.
    """

    def __init__(self, folder: Path, start: StartModel, recipe: Recipe = Recipe()) -> None:  # noqa: B008 (frozen)
        self._folder, self._start, self._recipe = folder, start, recipe
        self._is_cancelled = threading.Event()
        self.run = Run(folder / MODELS / str(_next_number(folder / MODELS)))
        self.epochs, self.stage = 0, "training"
        self._sources = self._counted()

    def work(self, track: Track = silent) -> Trained:
        """Train, export and compare.

        Args:
            track: Shows the progress of the comparison.

        Raises:
            CancelledError: It was cancelled; nothing of it is kept.
            ProjectError: A step failed; the message has its last words.
        """
        try:
            return self._work(track)
        except CancelledError:
            self._remove()
            raise

    def _work(self, track: Track) -> Trained:
        began = monotonic()
        config = self._write_config()
        name, runs = self.run.folder.name, str(self.run.folder.parent)
        self._child(["train", "--config", str(config), "--name", name, "--runs", runs, "--no-evaluate"])
        start = self._start
        kept = Threshold(
            threshold=start.threshold,
            peak_threshold=start.peak_threshold,
            chosen_on="",
            chosen_by="kept from the model that the training began with",
        )
        save_threshold(self.run.folder, kept)
        out = self.run.folder / MODEL_FILE
        names = ["--name", start.name, "--model-version", start.version]
        self._child(["export", str(self.run.folder), "--out", str(out), *names])
        self.stage = "comparing"
        comparison = self._compare(out, track)
        self._refuse_cancelled()
        write_text(self.run.folder / COMPARISON_NAME, comparison.model_dump_json(indent=1) + "\n")
        return Trained(out, comparison, monotonic() - began)

    def cancel(self) -> None:
        """End it at the next moment; from any thread."""
        self._is_cancelled.set()

    def epochs_done(self) -> int:
        """How many epochs are saved."""
        try:
            return len(self.run.history()) if self.run.history_path.is_file() else 0
        except RunError:
            return 0

    def _counted(self) -> tuple[int, int]:
        """How many frames of the project train, and how many of the reference set.

        Raises:
            ProjectError: They are too few.
        """
        samples, faults = labelled_samples(self._folder)
        if faults:
            raise ProjectError(f"{faults[0].name}: {faults[0].reason}")
        train = [sample for sample in samples if not sample.is_held_out]
        num_held_out = len(samples) - len(train)
        if len(train) < FEWEST_TRAINING or not num_held_out:
            raise ProjectError(
                f"{self._folder}: {len(train)} labelled frames to train with and {num_held_out} to compare models on; "
                f"at least {FEWEST_TRAINING} and 1 are needed: label more frames, of more than one group"
            )
        reference = reference_of(self._folder)
        return len(train), reference.train if reference else 0

    def _write_config(self) -> Path:
        """The settings of the training, as a file beside the run."""
        num_project, num_reference = self._sources
        recipe = self._recipe
        most = recipe.num_shown / (FEWEST_EPOCHS * num_project * (1 + recipe.known_share))
        repeated = max(1.0, min(MOST_REPEATED, (num_reference or 64) / num_project, most))
        sources: dict[str, dict[str, object]] = {
            "project": {"path": str(self._folder.resolve()), "split": "ratio", "validation": 0.15, "weight": repeated}
        }
        shown = repeated * num_project
        if num_reference:
            share = min(1.0, recipe.known_share * shown / num_reference)
            path = self._folder.resolve() / REFERENCE / "train"
            known = {"path": str(path), "split": "ratio", "validation": 0.2, "test": 0.0, "weight": share}
            sources |= {"reference": known}
            shown += share * num_reference
        self.epochs = max(FEWEST_EPOCHS, min(20, round(recipe.num_shown / shown)))
        config = {
            "sources": sources,
            "data": {"augment": "strong"},
            "loss": {"dice_weight": 1.0},
            "train": {
                "start_from": self._start.model,
                "epochs": self.epochs,
                "optimizer": "adamw",
                "learning_rate": recipe.learning_rate,
                "freeze_normalisation": recipe.freezes_normalisation,
                "ema_momentum": recipe.ema_momentum,
                "encoder_rate": 0.33,
                "weight_decay": 0.01,
                "clip_norm": 5.0,
                "schedule": "one_cycle",
                "monitor": "val_dice",
                "early_stopping_patience": self.epochs,
                "tensorboard": False,
            },
        }
        self.run.folder.parent.mkdir(parents=True, exist_ok=True)
        path = self.run.folder.with_suffix(".toml")
        write_text(path, tomli_w.dumps(config))
        return path

    def _child(self, arguments: list[str]) -> None:
        """Run a command in a process of its own until it ends or is cancelled."""
        self._refuse_cancelled()
        log = self.run.folder.with_suffix(".log")
        with log.open("ab") as opened:
            process = subprocess.Popen(
                [sys.executable, str(CHILD), *arguments], stdin=subprocess.PIPE, stdout=opened, stderr=opened
            )
            try:
                while process.poll() is None:
                    if self._is_cancelled.wait(0.2):
                        process.kill()
            finally:
                process.kill()
                process.wait()
                if process.stdin is not None:
                    process.stdin.close()
        self._refuse_cancelled()
        if process.returncode:
            raise ProjectError(f"polypseg {arguments[0]} failed: {_last_words(log)} (all of it: {log})")

    def _compare(self, new: Path, track: Track) -> GateComparison:
        reference = reference_of(self._folder)
        old = self._start.path
        models = Models(load(old), load(new), (model_file_digest(old), model_file_digest(new)))
        frames = held_out_frames(self._folder), reference_frames(self._folder, reference.groups if reference else {})

        def watched(items: Iterable[T], description: str, total: int) -> Iterator[T]:
            for item in track(items, description, total):
                self._refuse_cancelled()
                yield item

        return compare_models(models, *frames, watched)

    def _refuse_cancelled(self) -> None:
        if self._is_cancelled.is_set():
            raise CancelledError("the training was cancelled")

    def _remove(self) -> None:
        """Remove its run, settings and log; another training may take its number."""
        shutil.rmtree(self.run.folder, ignore_errors=True)
        for suffix in (".toml", ".log"):
            self.run.folder.with_suffix(suffix).unlink(missing_ok=True)


def _next_number(folder: Path) -> int:
    taken = [int(path.stem) for path in folder.glob("*") if path.stem.isdecimal()] if folder.is_dir() else []
    return max(taken, default=0) + 1


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("error:")]
    return (told or lines or ["no word"])[-1].removeprefix("error: ")
