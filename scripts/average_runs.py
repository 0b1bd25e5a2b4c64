"""Makes a run whose weights are the mean of other runs' weights, batch normalisation measured again.

    python scripts/average_runs.py runs/second runs/third:last --out runs/polyp-lite

Several runs share a network and a start (`train.start_from`), else their mean is nothing. A run gives its best model,
with `:last` the averaged weights of its last epoch; so `runs/first:last` alone gives that epoch. Settings, split and
record of the new run are those of the first.

Reference:
    Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018, algorithm 1.
"""

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

import polypseg.train.keras_classes  # noqa: F401  (what compiled models need)
from polypseg.data.batches import make_readers
from polypseg.data.epochs import training_plan
from polypseg.data.splits import verify_split
from polypseg.explain.gates import measure_run_gates
from polypseg.models.checkpoint import load_model, save_model
from polypseg.models.deep_supervision import without_supervised_levels
from polypseg.records.atomic import write_text
from polypseg.records.run import Run, open_run
from polypseg.records.training_state import load_state
from polypseg.report.tables import GATE_COLUMNS, gate_rows
from polypseg.train.normalisation import calibration_batches, measure_normalisation
from polypseg.train.samples import run_samples, training_draws

NUM_IMAGES = 512
"""Training images, changed as the training changes them, that batch normalisation is measured on."""


def weights(source: str) -> list[NDArray[np.float32]]:
    """Of a run's best model, or with `:last` the averages of its last epoch."""
    run = open_run(source.removesuffix(":last"))
    if not source.endswith(":last"):
        return load_model(run.best_path).get_weights()
    state = load_state(run.last_folder)
    if state is None:
        raise SystemExit(f"{run.folder}: no epoch is finished")
    model = load_model(state.model_path, compiled=True)
    if getattr(model.optimizer, "use_ema", False):
        model.optimizer.finalize_variable_values(model.trainable_variables)  # the averages take the weights' place
    return without_supervised_levels(model).get_weights()


def training_images(run: Run, data: Path | None) -> Iterator[NDArray[np.float32]]:
    """Batches as the run's training changed them."""
    config, split = run.config(), run.split()
    samples, _ = run_samples(run, data)
    verify_split(split, samples)
    reader = make_readers(samples, split, config.data, config.split)["train"]
    plan = training_plan(config.data, config.train.seed, training_draws(samples, split, config))
    return calibration_batches(reader, plan, NUM_IMAGES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN[:last]")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new run")
    parser.add_argument(
        "--data", type=Path, help="where the first run's images are now; of several sources, the folder above"
    )
    options = parser.parse_args()
    if options.out.exists():
        raise SystemExit(f"{options.out} is there already; name another folder (--out)")
    first, made = (
        open_run(options.runs[0].removesuffix(":last")),
        Run(options.out.with_name(f"{options.out.name}.part")),
    )
    shutil.rmtree(made.folder, ignore_errors=True)  # of a call that was stopped
    model: keras.Model = load_model(first.best_path)
    model.set_weights([np.mean(same, axis=0) for same in zip(*map(weights, options.runs), strict=True)])
    measure_normalisation(model, training_images(first, options.data))
    made.best_path.parent.mkdir(parents=True)
    for path in (first.config_path, first.splits_path, first.history_path):
        shutil.copy(path, made.folder)
    chosen_by = f"the mean of the weights of {' and '.join(options.runs)}"
    record = first.environment().model_copy(update={"checkpoint_chosen_by": chosen_by})
    write_text(made.environment_path, record.model_dump_json(indent=1, exclude_unset=True))
    save_model(model, made.best_path)
    gates = measure_run_gates(made, options.data)
    for row in gate_rows(gates) if gates else []:
        print("  ".join([f"{row[0]}:", *map(" ".join, zip(GATE_COLUMNS, row[1:], strict=True))]))
    made.folder.rename(options.out)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
