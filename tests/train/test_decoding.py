"""Before the first step of a training each image is decoded once, to be checked and to be split."""

import pytest

from polypseg.config import config_from
from polypseg.data import duplicates, samples
from polypseg.data.named_splits import SplitFiles
from polypseg.data.splits import make_split
from polypseg.preprocess import read_image
from polypseg.train.samples import seen_images, split_samples, usable_samples

CONFIG = config_from({"split": {"kind": "ratio", "validation": 0.25, "test": 0.25}})


def test_images_are_decoded_once_and_the_split_is_the_same(sample_folder, monkeypatch):
    read = []

    def reading(path, *arguments):
        read.append(path)
        return read_image(path, *arguments)

    for module in (samples, duplicates):
        monkeypatch.setattr(module, "read_image", reading)
    seen = seen_images(CONFIG, SplitFiles())
    found, _ = usable_samples(sample_folder, CONFIG, seen=seen)
    split = split_samples(found, CONFIG, SplitFiles(), seen=seen)
    assert sorted(read) == sorted(sample.image_path for sample in found)
    assert split == make_split(found, CONFIG.split)  # which reads them all again
    assert len(read) == 2 * len(found)


@pytest.mark.parametrize("kept", ["manifest", "no search"])
def test_no_fingerprints_are_made_where_none_are_looked_for(tmp_path, kept):
    files = SplitFiles(manifest=tmp_path / "splits.json") if kept == "manifest" else SplitFiles()
    config = CONFIG if kept == "manifest" else config_from({"split": {"near_duplicate_bits": -1}})
    assert seen_images(config, files) is None
