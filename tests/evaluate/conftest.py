"""A run without a framework: its model takes the red channel for the probability."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.config import Config, SplitConfig
from polypseg.data.catalogue import find_samples
from polypseg.records.digests import file_digests
from polypseg.records.model_facts import ModelFacts
from polypseg.records.run import Run, write_config
from polypseg.records.split import Split, SplitEntry
from polypseg.records.threshold import load_threshold

SIZE = 8


class RedEngine:
    """An engine of 8 px whose probability is the red channel."""

    name = "red"
    size = SIZE

    def __init__(self, threshold=0.5, peak_threshold=0.0):
        self.threshold = threshold
        self.facts = ModelFacts(size=SIZE, threshold=threshold, peak_threshold=peak_threshold)
        self.num_images = 0

    def run(self, batch):
        assert batch.shape[1:] == (SIZE, SIZE, 3)
        self.num_images += len(batch)
        return batch[..., :1]


def write_image(path, red):
    """Write an RGB image whose red channel is `red` (H, W) uint8; green and blue make it unlike others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    red = np.asarray(red, np.uint8)
    noise = np.random.default_rng(zlib.crc32(path.stem.encode())).integers(0, 255, (*red.shape, 2), dtype=np.uint8)
    PillowImage.fromarray(np.dstack([red, noise])).save(path)


def write_mask(path, mask):
    """Write a mask (H, W) as black and white, or a grey map (H, W) uint8 as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(mask)
    PillowImage.fromarray(array.astype(np.uint8) * 255 if array.dtype == bool else array.astype(np.uint8)).save(path)


def rectangle(height, width, rows, columns):
    """A mask that is True in rows[0]:rows[1], columns[0]:columns[1]."""
    mask = np.zeros((height, width), bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


def make_run(folder, data, splits):
    """A run folder on `data`, with `splits` = name of a sample to its split."""
    run = Run(folder)
    run.best_path.parent.mkdir(parents=True)
    run.best_path.write_bytes(b"red")
    write_config(run, Config(split=SplitConfig(kind="ratio")))
    samples, _ = find_samples(data)
    paths = [path for sample in samples for path in (sample.image_path, sample.mask_path)]
    digests = file_digests(paths)
    entries = {
        s.name: SplitEntry(splits[s.name], digests[s.image_path], digests[s.mask_path], s.group)
        for s in samples
        if s.name in splits
    }
    Split("by hand", 0, entries).save(run.splits_path)
    record = {"data": str(Path(data).resolve()), "checkpoint_chosen_by": "lowest val_loss on the validation split"}
    run.environment_path.write_text(json.dumps(record))
    return run


def make_data(folder):
    """Six samples of unlike sizes. The red model finds the left half of each polyp exactly, at probability 0.8.

    The polyp is 4 wide and 4 high; found are its 2 left columns: Dice 2*8/(8+16) = 2/3, IoU 1/2, recall 1/2,
    precision 1.
    """
    for number in range(6):
        height, width = 8 * (1 + number % 2), 8 * (1 + number % 3)
        scale = height // 8, width // 8
        mask = np.kron(rectangle(8, 8, (2, 6), (2, 6)), np.ones(scale, bool)) > 0
        red = np.kron(rectangle(8, 8, (2, 6), (2, 4)), np.ones(scale, bool)) * 204
        write_image(folder / "images" / f"s{number}.png", red)
        write_mask(folder / "masks" / f"s{number}.png", mask)
    return folder


SPLITS = {"s0": "train", "s1": "train", "s2": "validation", "s3": "validation", "s4": "test", "s5": "test"}


def open_red_engine(model):
    """What `open_engine` gives here: the red model at the run's stored threshold."""
    stored = load_threshold(Path(model))
    return RedEngine(stored.threshold, stored.peak_threshold)


@pytest.fixture
def data(tmp_path):
    """The folder of `make_data`."""
    return make_data(tmp_path / "data")


@pytest.fixture
def run(tmp_path, data, monkeypatch):
    """A run on `data`: s0 and s1 train, s2 and s3 validation, s4 and s5 test."""
    monkeypatch.setattr("polypseg.evaluate.plan.open_engine", open_red_engine)
    return make_run(tmp_path / "runs" / "red", data, SPLITS)
