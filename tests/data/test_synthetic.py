"""The synthetic data set: what is promised of names, sizes, masks and seeds."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from polypseg.data.catalogue import find_samples
from polypseg.data.samples import check_samples, load_sample
from polypseg.data.scene import MIN_POLYP_SHARE, draw_frame, draw_scene
from polypseg.data.synthetic import FRAMES_PER_SEQUENCE, make_synthetic, synthetic_image
from polypseg.errors import DataError, UsageError


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_make_synthetic_writes_samples_that_can_be_used(tmp_path: Path) -> None:
    samples = make_synthetic(tmp_path / "set", num_images=5, side_range=(48, 80))
    usable, faults, _ = check_samples(samples)
    assert (len(usable), faults) == (5, [])
    assert [sample.name for sample in samples] == [f"synthetic_{number:05d}" for number in range(1, 6)]
    found, unpaired = find_samples(tmp_path / "set")
    assert unpaired == []
    assert found == samples  # the groups come back from sequences.csv


def test_make_synthetic_groups_four_frames_to_a_sequence(tmp_path: Path) -> None:
    samples = make_synthetic(tmp_path, num_images=6, side_range=(32, 32))
    assert [sample.group for sample in samples] == ["0001"] * FRAMES_PER_SEQUENCE + ["0002"] * 2
    with (tmp_path / "sequences.csv").open(newline="") as opened:
        rows = list(csv.reader(opened))
    assert rows[0] == ["frame", "sequence"]
    assert rows[1:] == [[sample.name, sample.group] for sample in samples]


def test_make_synthetic_same_seed_gives_the_same_bytes_however_many_are_asked_for(tmp_path: Path) -> None:
    make_synthetic(tmp_path / "few", num_images=3, seed=7, side_range=(32, 48))
    make_synthetic(tmp_path / "many", num_images=6, seed=7, side_range=(32, 48))
    few, many = _bytes(tmp_path / "few" / "masks"), _bytes(tmp_path / "many" / "masks")
    assert few.items() <= many.items()
    assert _bytes(tmp_path / "few" / "images").items() <= _bytes(tmp_path / "many" / "images").items()


def test_make_synthetic_another_seed_gives_other_masks(tmp_path: Path) -> None:
    make_synthetic(tmp_path / "a", num_images=2, seed=0, side_range=(32, 32))
    make_synthetic(tmp_path / "b", num_images=2, seed=1, side_range=(32, 32))
    assert all(
        first != second
        for first, second in zip(
            _bytes(tmp_path / "a" / "masks").values(), _bytes(tmp_path / "b" / "masks").values(), strict=True
        )
    )


def test_make_synthetic_frames_of_a_sequence_are_seen_through_one_endoscope(tmp_path: Path) -> None:
    samples = make_synthetic(tmp_path, num_images=24, side_range=(64, 64))
    outlines: dict[str | None, set[tuple[bool, ...]]] = {}
    for sample in samples:
        image = load_sample(sample)[0]
        # Upper left corner and the middle of the lower left quarter: black by surround and by panel.
        outline = tuple(bool(image[row, column].max() < 20) for row, column in ((1, 1), (56, 8)))
        outlines.setdefault(sample.group, set()).add(outline)
    assert all(len(seen) == 1 for seen in outlines.values())
    assert len(set.union(*outlines.values())) > 1


@pytest.mark.parametrize(("empty_share", "num_empty"), [(0.0, 0), (0.25, 4), (0.5, 8), (1.0, 16)])
def test_make_synthetic_empty_share_counts_sequences(tmp_path: Path, empty_share: float, num_empty: int) -> None:
    # 16 frames are 4 sequences: a share of 0.25 is one sequence, 4 frames.
    samples = make_synthetic(tmp_path, num_images=16, side_range=(16, 16), empty_share=empty_share)
    assert sum(not load_sample(sample)[1].any() for sample in samples) == num_empty


def test_make_synthetic_sides_stay_in_range_and_vary(tmp_path: Path) -> None:
    samples = make_synthetic(tmp_path, num_images=12, side_range=(20, 40))
    shapes = [load_sample(sample)[0].shape[:2] for sample in samples]
    assert all(20 <= side <= 40 for shape in shapes for side in shape)
    assert len(set(shapes)) > 6


def test_make_synthetic_masks_are_black_and_white(tmp_path: Path) -> None:
    for sample in make_synthetic(tmp_path, num_images=4, side_range=(32, 48)):
        assert sample.mask_path is not None
        with PillowImage.open(sample.mask_path) as mask:
            assert mask.mode == "L"
            assert set(np.unique(np.asarray(mask))) == {0, 255}


def test_make_synthetic_refuses_a_folder_with_images(tmp_path: Path) -> None:
    make_synthetic(tmp_path, num_images=1, side_range=(16, 16))
    with pytest.raises(DataError, match="already holds files; expected a new or empty folder"):
        make_synthetic(tmp_path, num_images=1, side_range=(16, 16))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_images": 0}, "num_images 0: expected at least 1"),
        ({"side_range": (8, 32)}, r"side_range \(8, 32\): expected .* at least 16"),
        ({"side_range": (64, 32)}, "side_range"),
        ({"empty_share": 1.5}, "empty_share 1.5: expected a share"),
    ],
)
def test_make_synthetic_impossible_numbers_are_refused(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_synthetic(tmp_path / "set", **options)
    assert not (tmp_path / "set").exists()


def test_make_synthetic_tells_of_its_progress(tmp_path: Path) -> None:
    told = []

    def track(items, description, total):
        told.append((description, total))
        yield from items

    make_synthetic(tmp_path, num_images=2, side_range=(16, 16), track=track)
    assert told == [("drawing frames", 2)]


@example(seed=459, height=16, width=94, with_polyp=True)  # long and narrow: the polyp had to grow
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    height=st.integers(16, 96),
    width=st.integers(16, 96),
    with_polyp=st.booleans(),
)
def test_synthetic_image_holds_a_polyp_exactly_if_asked_to(
    seed: int, height: int, width: int, with_polyp: bool
) -> None:
    image, mask = synthetic_image(np.random.default_rng(seed), (height, width), with_polyp)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    assert mask.shape == (height, width)
    assert mask.dtype == np.bool_
    assert mask.any() == with_polyp
    if with_polyp:
        assert mask.mean() >= MIN_POLYP_SHARE


def test_synthetic_image_polyp_lies_where_something_is_visible() -> None:
    for seed in range(20):
        image, mask = synthetic_image(np.random.default_rng(seed), (96, 128))
        # The surround is black; what the endoscope shows is brighter but for a few dark pixels of the lumen.
        assert np.mean(image[mask].max(axis=1) > 10) > 0.97


def test_synthetic_image_is_red_as_mucosa_is() -> None:
    means = np.mean([synthetic_image(np.random.default_rng(seed), (64, 64))[0].mean((0, 1)) for seed in range(20)], 0)
    assert means[0] > 1.2 * means[1] > 1.2 * means[2]


def test_draw_frame_one_scene_keeps_its_colours_and_moves_its_polyp() -> None:
    scene = draw_scene(np.random.default_rng(3))
    first, second = (draw_frame(scene, np.random.default_rng(seed), (96, 96)) for seed in (0, 1))
    assert (first[1] != second[1]).any()
    other = draw_scene(np.random.default_rng(4))
    assert not np.allclose(scene.mucosa, other.mucosa)


def test_synthetic_image_too_small_is_refused() -> None:
    with pytest.raises(UsageError, match="size 8x64: expected at least 16"):
        synthetic_image(np.random.default_rng(0), (8, 64))
