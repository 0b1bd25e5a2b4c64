"""The progress of a training in the terminal: a bar for the epoch that runs, a line for each that is done."""

from pathlib import Path
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from polypseg.cli.console import console, messages

EPOCH = (
    "epoch {epoch:3.0f}  loss {loss:.4f}  Dice {dice:.4f}  IoU {iou:.4f}  |  "
    "validation: loss {val_loss:.4f}  Dice {val_dice:.4f}  IoU {val_iou:.4f}  |  "
    "rate {learning_rate:.1e}  {seconds:.0f} s"
)


def tell_epoch(row: dict[str, float]) -> None:
    """Print one line with the figures of an epoch."""
    console.print(EPOCH.format_map(row))


def split_lines(run_folder: Path) -> list[str]:
    """How many images train, validate and test, a line for each source of the data and one for all."""
    from polypseg.records.run import open_run
    from polypseg.records.split import SPLIT_NAMES
    from polypseg.train.samples import source_counts

    split = open_run(run_folder).split()
    rows = source_counts(split)
    rows["images"] = {side: len(split.names(side)) for side in SPLIT_NAMES}
    width = max(len(name) for name in rows)
    return [
        f"{name:{width}}  " + ", ".join(f"{count} {side}" for side, count in sides.items())
        for name, sides in rows.items()
    ]


class TrainingProgress:
    """A bar over the batches of the running epoch, hidden where there is no terminal; first the sizes of the splits.

    Args:
        num_epochs: Of the training.
        run_folder: Of the run, whose split is there when the first batch is shown.
    """

    def __init__(self, num_epochs: int, run_folder: Path) -> None:
        self._num_epochs, self._run_folder = num_epochs, run_folder
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=messages, transient=True, disable=not messages.is_terminal)
        self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> "TrainingProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def callback(self) -> Any:
        """A Keras callback that moves the bar."""
        import keras

        bar, task, num_epochs, run_folder = self._bar, self._task, self._num_epochs, self._run_folder

        class ShowBatches(keras.callbacks.Callback):  # type: ignore[misc]
            def on_train_begin(self, logs: Any = None) -> None:
                for line in split_lines(run_folder):
                    console.print(line, highlight=False)
                console.print("the first epoch takes longer than the others: the network is compiled")

            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                bar.reset(task, total=self.params.get("steps"), description=f"epoch {epoch + 1} of {num_epochs}")

            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                figures = f"  loss {logs['loss']:.3f}" if logs and "loss" in logs else ""
                bar.update(task, completed=batch + 1, description=f"epoch {self._epoch(bar)}{figures}")

            def on_test_begin(self, logs: Any = None) -> None:
                bar.update(task, description="validating")

            @staticmethod
            def _epoch(shown: Progress) -> str:
                return shown.tasks[0].description.removeprefix("epoch ").split("  ")[0]

        return ShowBatches()
