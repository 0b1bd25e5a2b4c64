"""Round trips: masks into every format and back."""

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.data.catalogue import find_samples
from polypseg.data.conversion import ConversionOptions, convert
from polypseg.data.samples import load_sample
from polypseg.errors import DataError
from polypseg.formats.writing import FORMATS


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYPSEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def masks():
    """Two polyps, none, and one that is round."""
    rows, columns = np.mgrid[:32, :44]
    two = np.zeros((24, 30), bool)
    two[2:9, 3:12], two[14:20, 11:29] = True, True
    return {"a": two, "b": np.zeros((20, 20), bool), "c": (rows - 16) ** 2 + (columns - 20) ** 2 < 100}


@pytest.fixture
def source(tmp_path, masks):
    folder = tmp_path / "source"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for place, (name, mask) in enumerate(masks.items()):
        pixels = np.random.default_rng(place).integers(0, 255, (*mask.shape, 3), dtype=np.uint8)
        PillowImage.fromarray(pixels).save(folder / "images" / f"{name}.png")
        PillowImage.fromarray(mask).save(folder / "masks" / f"{name}.png")
    (folder / "groups.csv").write_text("frame,group,centre\na,p1,\nb,p1,\nc,p2,north\n")
    return folder


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_gives_back_images_masks_and_groups(tmp_path, source, masks, name):
    done = convert(source, tmp_path / "there", name)
    assert (done.num_frames, done.num_polyps, done.num_empty) == (3, 3, 1)
    back = convert(tmp_path / "there", tmp_path / "back", "masks")
    assert (back.num_frames, back.num_polyps, back.num_empty) == (3, 3, 1)
    for folder in ("there", "back"):
        samples, faults = find_samples(tmp_path / folder)
        assert faults == []
        assert [(s.name, s.group, s.centre) for s in samples] == [
            ("a", "p1", None), ("b", "p1", None), ("c", "p2", "north"),
        ]  # fmt: skip
        for sample, original in zip(samples, find_samples(source)[0], strict=True):
            image, mask = load_sample(sample)
            np.testing.assert_array_equal(image, load_sample(original)[0])
            np.testing.assert_array_equal(mask, masks[sample.name])


def test_an_annotation_file_and_its_images_may_lie_apart(tmp_path, source):
    convert(source, tmp_path / "coco", "coco")
    (tmp_path / "coco" / "annotations.json").rename(tmp_path / "alone.json")
    done = convert(tmp_path / "alone.json", tmp_path / "out", "masks", ConversionOptions(source / "images"))
    assert (done.source, done.num_frames) == ("COCO (alone.json)", 3)
    with pytest.raises(DataError, match="no image of that name"):
        convert(tmp_path / "alone.json", tmp_path / "other", "masks", ConversionOptions(tmp_path / "cache"))


def test_what_cannot_be_used_stops_or_is_left_out_on_request(tmp_path, source):
    (source / "masks" / "a.png").unlink()
    (source / "groups.csv").unlink()
    with pytest.raises(DataError, match="no mask of that name"):
        convert(source, tmp_path / "out", "coco")
    assert not (tmp_path / "out").exists()
    with pytest.warns(UserWarning, match="left out 1 file"):
        assert convert(source, tmp_path / "out", "coco", ConversionOptions(skip_bad=True)).num_frames == 2


def test_frames_without_masks_are_empty_only_where_that_is_said(tmp_path, source):
    with pytest.raises(DataError, match="--empty-masks"):
        convert(source / "images", tmp_path / "out", "coco")
    done = convert(source / "images", tmp_path / "out", "coco", ConversionOptions(empty_masks=True))
    assert (done.num_frames, done.num_empty) == (3, 3)


@pytest.mark.parametrize("name", ["a.csv", "a.json"])
def test_a_file_of_no_format_is_refused(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(DataError, match="of no annotation format that is known"):
        convert(tmp_path / name, tmp_path / "out", "coco")
