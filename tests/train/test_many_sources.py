"""Trainings on several folders of data: what is recorded, resumed, warned of; and the lit field in training."""

import runpy
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from polypseg.config import config_from, load_config, load_run_config
from polypseg.data.batches import make_readers
from polypseg.data.catalogue import find_samples
from polypseg.data.named_splits import SplitFiles
from polypseg.data.samples import load_sample
from polypseg.data.sources import with_folders
from polypseg.data.splits import make_split
from polypseg.data.synthetic import make_synthetic
from polypseg.export.onnx import export_model
from polypseg.predict.engines.opening import open_engine
from polypseg.records.gates import load_gates
from polypseg.train.fit import resume, train
from polypseg.train.named_models import SeenImagesWarning, warn_of_seen_images
from polypseg.train.samples import PartedGroupsWarning, run_samples, source_counts, split_samples
from train.eager import eagerly

SMALL = {
    "split": {"near_duplicate_bits": -1, "validation": 0.25, "test": 0.25},
    "data": {"size": 32, "batch_size": 4, "augment": "flip"},
    "model": {"filters": 4, "depth": 1},
    "train": {"epochs": 2, "tensorboard": False},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("data")
    for seed, (name, count) in enumerate((("north", 12), ("south", 8), ("empty", 10))):
        make_synthetic(base / name, count, seed=seed, side_range=(40, 48))
    for mask in (base / "empty" / "masks").iterdir():
        mask.unlink()
    (base / "empty" / "masks").rmdir()
    return base


def config_of(folders, **sources):
    config = config_from({**SMALL, "sources": sources})
    return with_folders(config, [folders / "north", folders / "south"], [folders / "empty"])


@pytest.fixture(scope="module")
def run(folders, tmp_path_factory):
    config = config_of(folders, empty={"weight": 0.5, "test": 0.0})
    with eagerly():
        return train(None, tmp_path_factory.mktemp("runs") / "many", config)


def test_run_records_its_sources(run, folders):
    config = run.config()
    assert set(config.sources) == {"north", "south", "empty"}
    assert config.sources["empty"].path == str((folders / "empty").resolve())
    counts = source_counts(run.split())
    assert counts["empty"]["test"] == 0
    assert sum(sum(sides.values()) for sides in counts.values()) == 30
    assert run.environment().sources == counts
    assert len(run.history()) == 2


def test_resume_goes_on_with_all_sources_and_equals_an_uninterrupted_run(folders, tmp_path):
    config = config_of(folders, empty={"weight": 0.5, "test": 0.0})
    whole = train(None, tmp_path / "whole", config)
    short = train(
        None, tmp_path / "short", config.model_copy(update={"train": config.train.model_copy(update={"epochs": 1})})
    )
    again = resume(short.folder, epochs=2)
    losses = [[row[key] for row in each.history() for key in ("loss", "val_loss")] for each in (whole, again)]
    assert losses[0] == losses[1]


def test_moved_sources_are_found_in_one_folder(run, folders, tmp_path):
    moved = tmp_path / "moved"
    folders.rename(moved)
    try:
        samples, _ = run_samples(run, moved)
        assert len(samples) == 30
    finally:
        moved.rename(folders)


def test_mean_of_runs_of_several_sources_measures_them_all(run, folders, tmp_path, monkeypatch, capsys):
    script = Path(__file__).parents[2] / "scripts" / "average_runs.py"
    made, moved = tmp_path / "mean", tmp_path / "moved"
    monkeypatch.setattr(sys, "argv", [script.name, str(run.folder), "--out", str(made), "--data", str(moved)])
    folders.rename(moved)
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        moved.rename(folders)
    assert f"wrote {made}" in capsys.readouterr().out
    assert load_gates(made).num_frames == len(run.split().names("validation"))


def split_of_north(folders, seed):
    samples, _ = find_samples(folders / "north")
    return make_split(samples, config_from({"split": {**SMALL["split"], "seed": seed}}).split)


def test_start_that_saw_test_images_is_told_by_name(run, folders, tmp_path):
    seen = {name for side in ("train", "validation") for name in run.split().names(side)}
    split = split_of_north(folders, seed=5)
    for start in (run.folder, run.best_path, export_model(run.folder, tmp_path / "start.onnx").path):
        config = config_from({"train": {"start_from": str(start)}})
        with pytest.warns(SeenImagesWarning) as caught:
            warn_of_seen_images(config, split)
        told = " ".join(str(warning.message) for warning in caught)
        for side in ("test", "validation"):
            known = [name for name in split.names(side) if f"north_{name}" in seen]
            assert known, "a seed with which nothing is seen twice proves nothing"
            assert f"was trained on {len(known)} of the {len(split.names(side))} {side} images" in told
            assert all(name in told for name in known)


def test_start_that_saw_none_of_them_is_silent(run, folders, tmp_path):
    other = make_synthetic(tmp_path / "other", 10, seed=77, side_range=(40, 48))
    split = make_split(other, config_from({"split": SMALL["split"]}).split)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_seen_images(config_from({"train": {"start_from": str(run.folder)}}), split)
        warn_of_seen_images(load_config(), split)


def test_own_lists_that_part_a_sequence_are_followed_and_told(folders, tmp_path):
    samples, _ = find_samples(folders / "north")  # sequences of four, so that every second name parts each of them
    (tmp_path / "test.txt").write_text("\n".join(sample.name for sample in samples[::2]))
    (tmp_path / "validation.txt").write_text(samples[1].name)
    with pytest.warns(PartedGroupsWarning, match="lie in several of your splits"):
        split = split_samples(
            samples, config_from(SMALL), SplitFiles(None, None, tmp_path / "validation.txt", tmp_path / "test.txt")
        )
    assert split.names("test") == [sample.name for sample in samples[::2]]


class TestField:
    @pytest.fixture
    def framed(self, tmp_path):
        """Frames whose picture lies small in a black canvas."""
        samples = make_synthetic(tmp_path / "framed", 16, seed=4, side_range=(40, 48))
        for sample in samples:
            image, mask = cv2.imread(str(sample.image_path)), cv2.imread(str(sample.mask_path), 0)
            image = np.maximum(image, 40)  # lit to the rim
            height, width = image.shape[:2]
            for pixels, path in ((image, sample.image_path), (mask, sample.mask_path)):
                canvas = np.zeros((3 * height, 3 * width, *pixels.shape[2:]), np.uint8)
                canvas[height : 2 * height, width : 2 * width] = pixels
                cv2.imwrite(str(path), canvas)
        return tmp_path / "framed", samples

    def test_batches_show_the_lit_field_as_prediction_does(self, framed):
        sample = framed[1][0]
        image, mask = load_sample(sample, 32, "auto")
        assert image.min() > 20  # no black of the canvas
        whole, _ = load_sample(sample, 32, "whole")
        assert (whole == 0).all(-1).mean() > 0.5
        assert mask.mean() == pytest.approx(9 * load_sample(sample, 32, "whole")[1].mean(), rel=0.35)

    def test_setting_reaches_the_reader_and_the_model(self, framed, tmp_path):
        folder, samples = framed
        for rule in ("auto", "whole"):
            config = config_from(
                {**SMALL, "data": {**SMALL["data"], "field": rule}, "train": {"epochs": 1, "tensorboard": False}}
            )
            made = train(folder, tmp_path / rule, config)
            assert make_readers(samples, made.split(), config.data, config.split)["train"].field == rule
            assert open_engine(made.folder).facts.field == rule
            assert open_engine(made.best_path).facts.field == rule
            assert export_model(made.folder, tmp_path / f"{rule}.onnx").facts.field == rule

    def test_run_of_before_is_run_without(self, tmp_path):
        path = tmp_path / "config.toml"
        path.write_text("[data]\nsize = 64\n")
        assert load_run_config(path).data.field == "whole"
        assert load_config(path).data.field == "auto"
