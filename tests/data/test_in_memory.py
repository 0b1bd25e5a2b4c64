"""Groups and checks of a data set in memory; its loading is tested beside the samples (test_samples.py)."""

import numpy as np
import pytest

from polypseg.config import DataConfig, SplitConfig
from polypseg.data.batches import get_tf_dataset, make_readers
from polypseg.data.in_memory import PolypDataset, checked_dataset, load_polyp_dataset
from polypseg.data.synthetic import make_synthetic
from polypseg.errors import DataError, UsageError

RATIO = SplitConfig(kind="ratio", validation=0.25, test=0.25, near_duplicate_bits=-1)


def arrays(count=4, **changes):
    given = {
        "images": np.full((count, 8, 8, 3), 0.5, np.float32),
        "masks": np.zeros((count, 8, 8, 1), np.float32),
        "names": [f"frame_{index}" for index in range(count)],
    }
    return tuple({**given, **changes}.values())


@pytest.fixture
def folder(tmp_path):
    make_synthetic(tmp_path, 12, seed=1, side_range=(16, 24))
    for path in tmp_path.glob("*.csv"):
        path.unlink()
    stems = sorted(path.stem for path in (tmp_path / "images").iterdir())
    rows = [f"{stem},{index // 3}" for index, stem in enumerate(stems)]  # four sequences of three frames
    (tmp_path / "sequences.csv").write_text("\n".join(["frame,sequence", *rows]))
    return tmp_path


def test_groups_beside_the_images_come_along_and_the_rest_unpacks_as_ever(folder):
    data = load_polyp_dataset(folder / "images", folder / "masks", size=16)
    images, masks, names = data
    assert (len(images), len(masks), len(names)) == (12, 12, 12)
    assert data.groups == [str(index // 3) for index in range(12)]


def test_split_of_arrays_keeps_a_sequence_on_one_side(folder):
    data = load_polyp_dataset(folder / "images", folder / "masks", size=16)
    group_of = dict(zip(data.names, data.groups, strict=True))
    image_of = {image.tobytes(): name for name, image in zip(data.names, np.rint(data.images * 255), strict=True)}
    for seed in range(5):
        split = RATIO.model_copy(update={"seed": seed})
        readers = make_readers(data, None, DataConfig(size=16, augment="none"), split)
        sides = []
        for reader in readers.values():
            read, _ = reader.read(np.arange(reader.count))
            sides.append({group_of[image_of[image.astype(np.float32).tobytes()]] for image in read})
        assert sum(len(side) for side in sides) == 4  # each of the four sequences on one side alone
        assert all(sides)


def test_file_of_groups_that_lacks_an_image_stops_the_loading(folder):
    lines = (folder / "sequences.csv").read_text().splitlines()
    (folder / "sequences.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(DataError, match=r"does not tell the group of 1 of 12 images"):
        load_polyp_dataset(folder / "images", folder / "masks", size=16)


@pytest.mark.slow
def test_plain_tuple_is_taken_for_a_data_set():
    noise = np.random.default_rng(0).random((8, 16, 16, 3), np.float32)
    data = (noise, np.zeros((8, 16, 16, 1)), [str(index) for index in range(8)])
    batches = get_tf_dataset(data, config=DataConfig(size=16, batch_size=2), split_config=RATIO)
    assert sum(len(images) for images, _ in batches.train) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.full((4, 8, 8, 3), 255, np.uint8)}, r"values from 255 to 255: expected \[0, 1\]; divide"),
        ({"images": np.full((4, 8, 8, 3), np.nan)}, r"values from nan to nan: expected \[0, 1\]"),
        ({"images": np.full((4, 8, 8, 3), -1.0)}, r"values from -1 to -1"),
        ({"images": np.zeros((4, 8, 8))}, r"images of shape \(4, 8, 8\): expected \(N, size, size, 3\)"),
        ({"images": np.zeros((4, 8, 9, 3))}, r"images of shape \(4, 8, 9, 3\)"),
        ({"masks": np.zeros((4, 8, 8))}, r"masks of shape \(4, 8, 8\): expected \(4, 8, 8, 1\)"),
        ({"masks": np.full((4, 8, 8, 1), 255)}, r"masks with values other than 0 and 1; cut 0..255 at > 127"),
        ({"names": ["a", "a", "b", "c"]}, r"3 different names for 4 images"),
        ({"names": ["a", "b", "c"]}, r"3 different names for 4 images"),
        ({"more": None}, r"a tuple of 4: expected \(images, masks, names\)"),
    ],
)
def test_arrays_that_are_not_what_they_should_be_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        checked_dataset(arrays(**changes))


def test_groups_of_another_length_are_refused():
    with pytest.raises(UsageError, match=r"3 groups for 4 images"):
        checked_dataset(PolypDataset(*arrays(), groups=["a", "a", "b"]))
