"""What polypseg 0.1 saved opens, is scored, goes on and is reported by the polypseg of today.

tests/data_files/old_run was written by polypseg 0.1.0 (commit b744297): 12 images of `polypseg data synth`, then

    polypseg train --data data --name old --epochs 1 --no-evaluate --set data.size=32 --set model.filters=4 \
        --set model.depth=1 --set train.average=0.5 --set data.negatives=0.1 --set split.validation=0.34 \
        --set split.test=0.34 --set split.near_duplicate_bits=-1 --set train.tensorboard=false --set data.batch_size=4
    polypseg evaluate runs/old --tune-threshold --unperturbed
    polypseg evaluate runs/old
    polypseg predict runs/old data/images -o predicted
"""

import json
import math

import pytest
from typer.testing import CliRunner

from polypseg.cli import app
from polypseg.records.evaluation import open_evaluation
from polypseg.records.evaluations import read_evaluations
from polypseg.records.reading import as_json
from polypseg.records.run import open_run
from polypseg.records.split import load_split
from polypseg.records.threshold import load_threshold
from polypseg.records.training_state import load_state

TEST = ["synthetic_00009", "synthetic_00010", "synthetic_00011", "synthetic_00012"]


def polypseg(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_every_file_opens_as_what_it_was(old):
    run = open_run(old / "run")
    config = run.config()
    assert (config.data.size, config.model.filters, config.train.epochs) == (32, 4, 1)
    assert run.environment().packages["keras"] == "3.15.1"
    assert run.environment().starts[0].first_epoch == 1
    assert [row["val_loss"] for row in run.history()] == [pytest.approx(0.7772, abs=1e-4)]
    assert load_split(old / "run" / "splits.json").names("test") == TEST
    state = load_state(run.last_folder)
    assert state is not None
    assert (state.epoch, state.finished) == (1, True)
    assert state.callbacks["ModelCheckpoint"]["best"] == state.history[0]["val_loss"]
    threshold = load_threshold(run.folder)
    assert (threshold.threshold, threshold.num_frames) == (45.5 / 255, 4)
    assert threshold.words == "chosen on the validation split"


def test_an_old_evaluation_opens(old):
    found = open_evaluation(old / "run")
    assert list(found.scores().names) == TEST
    record, summary = found.record(), found.summary()
    assert (record.settings.min_area_px, record.settings.peak_threshold) == (10, 0)
    assert record.samples[0].image.path.endswith("data/images/synthetic_00009.jpg")
    assert (record.samples[0].group, record.samples[0].prediction) == ("0003", None)
    assert (summary.provenance.kind, summary.provenance.tta, summary.provenance.leaks.pairs) == ("run", "none", ())
    assert summary.strata["polyp area"]["small (< 5 %)"].num_images == summary.num_polyp_images == 4
    assert (summary.negatives, summary.model_size.size, summary.intervals.over) == (None, 32, "groups")
    counted = read_evaluations(open_run(old / "run"))
    assert [(each.split, each.splits) for each in counted] == [
        ("validation", ("validation",)),
        ("test", ("test",)),
    ]
    assert found.histograms().shape == (4, 2, 256)
    assert found.curves().threshold.shape == (256,)
    mean = summary.metrics["dice"].mean
    assert math.isclose(mean, found.scores().values["dice"].mean())


def test_an_old_run_is_scored_as_it_was(old):
    before = open_evaluation(old / "run").scores()
    polypseg("evaluate", old / "run", "--data", old / "data", "--out", old / "again")
    after = open_evaluation(old / "again").scores()
    assert after.names == before.names
    assert after.text.reference_digest == before.text.reference_digest
    assert after.values["dice"] == pytest.approx(before.values["dice"], abs=1e-3)


def test_an_old_evaluation_is_reported(old):
    polypseg("report", old / "run", "-o", old / "report.html")
    page = (old / "report.html").read_text()
    for told in ("largest mean Dice over the images with a polyp, 4 images", "synthetic_00009", "lowest val_loss"):
        assert told in page


def test_an_old_prediction_goes_on(old):
    (old / "predicted" / "masks" / "synthetic_00003.png").unlink()
    told = polypseg("predict", old / "run", old / "data" / "images", "-o", old / "predicted", "--resume")
    assert "predicted 12 images" in told  # 0.1 kept no digests of the inputs: none is known to be the same
    assert (old / "predicted" / "masks" / "synthetic_00003.png").is_file()


def test_an_evaluation_is_written_as_it_was_read(old):
    """What 0.1 saved has the same keys and values when it is written again: the file formats have not changed."""
    for read, path in (
        (lambda found: found.summary(), "summary.json"),
        (lambda found: found.record(), "evaluation.json"),
    ):
        saved = json.loads((old / "run" / "evaluation" / "test" / path).read_text())
        assert json.loads(as_json(read(open_evaluation(old / "run")))) == saved
    environment = open_run(old / "run").environment()
    assert json.loads(as_json(environment)) == json.loads((old / "run" / "environment.json").read_text())


@pytest.mark.slow
def test_an_old_training_goes_on(old):
    told = polypseg(
        "train", "--runs", old, "--name", "run", "--data", old / "data", "--resume", "--epochs", "2", "--no-evaluate"
    )
    assert "epoch   2" in told
    run = open_run(old / "run")
    assert [row["epoch"] for row in run.history()] == [1, 2]
    assert len(run.environment().starts) == 2
