"""Cross-validation: every sample but the test's is validated on once, and what belongs together stays together."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from polypseg.config import SplitConfig
from polypseg.data.folds import make_folds
from polypseg.data.samples import Sample
from polypseg.data.splits import make_split
from polypseg.errors import SplitError


def config(folds=3, **settings):
    return SplitConfig(
        kind="ratio", **{"validation": 0.2, "test": 0.2, "near_duplicate_bits": -1, **settings}, folds=folds
    )


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Twenty samples of noise; those of one group have consecutive numbers."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    found = []
    for number in range(20):
        image, mask = folder / f"s{number:02d}.png", folder / f"m{number:02d}.png"
        cv2.imwrite(str(image), cv2.resize(generator.integers(0, 255, (6, 6, 3)).astype(np.uint8), (48, 48)))
        cv2.imwrite(str(mask), np.full((48, 48), 255, np.uint8))
        found.append(Sample(image.stem, image, mask, group="a" if number < 4 else None))
    return found


def names(split, kind):
    return set(split.names(kind))


def test_each_sample_is_validated_on_once_and_the_test_split_never(samples):
    folds = make_folds(samples, config())
    test = names(folds.whole, "test")
    assert test == names(make_split(samples, config(folds=0)), "test")  # the same as that of a single run
    assert len(test) == 4
    everything = {sample.name for sample in samples}
    assert names(folds.whole, "train") == everything - test
    validated = [name for part in folds.parts for name in part.names("validation")]
    assert sorted(validated) == sorted(everything - test)
    for part in folds.parts:
        assert names(part, "test") == test
        assert names(part, "train") == everything - test - names(part, "validation")
    assert len({part.digest() for part in folds.parts}) == 3


def test_folds_are_of_one_size_but_for_a_sample(samples):
    alone = [replace(sample, group=None) for sample in samples]
    sizes = [len(part.names("validation")) for part in make_folds(alone, config()).parts]
    assert sorted(sizes) == [5, 5, 6]  # sixteen in three


def test_groups_and_near_duplicates_stay_together(samples, tmp_path):
    twin = tmp_path / "twin.png"
    image = cv2.imread(str(samples[10].image_path))
    cv2.imwrite(str(twin), np.clip(image.astype(int) + 2, 0, 255).astype(np.uint8))
    together = [*samples, Sample("twin", twin, samples[10].mask_path)]
    for seed in range(4):
        for part in make_folds(together, config(seed=seed, near_duplicate_bits=4)).parts:
            assert len({part.entries[f"s{number:02d}"].split for number in range(4)}) == 1
            assert part.entries["twin"].split == part.entries["s10"].split


def test_what_is_near_a_test_image_is_never_validated_on(samples, tmp_path):
    # A manifest that was made elsewhere parts a group: two of its four are test.
    given = make_split([replace(sample, group=None) for sample in samples], config(folds=0))
    entries = {n: replace(e, split="test" if n in ("s00", "s01") else "train") for n, e in given.entries.items()}
    folds = make_folds(samples, config(), manifest=replace(given, entries=entries))
    assert names(folds.whole, "test") == {"s00", "s01"}
    assert all(part.entries[name].split == "train" for part in folds.parts for name in ("s02", "s03"))


def test_seed_decides_alone_and_the_order_of_the_files_does_not(samples):
    def digests(given, seed):
        return [part.digest() for part in make_folds(given, config(seed=seed)).parts]

    assert digests(samples, 1) == digests(samples[::-1], 1)
    assert digests(samples, 1) != digests(samples, 2)


def test_more_folds_than_groups_are_refused(samples):
    with pytest.raises(SplitError, match=r"samples that must stay together form [0-9]+ groups, too few for 50 folds"):
        make_folds(samples, config(folds=50))


@pytest.mark.data
def test_kvasir_folds_leave_the_official_test_alone(real_data: Path):
    from polypseg.data.catalogue import find_samples
    from polypseg.data.official import official_test_names

    found, _ = find_samples(real_data / "kvasir-seg")
    folds = make_folds(found, SplitConfig(folds=5, near_duplicate_bits=-1))
    official = official_test_names([sample.name for sample in found])
    assert names(folds.whole, "test") == official
    assert [len(part.names("validation")) for part in folds.parts] == [176] * 5
