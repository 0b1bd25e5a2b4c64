import numpy as np
import pytest

from polypseg.config import SplitConfig
from polypseg.data.samples import Sample
from polypseg.data.splits import assign, make_split, verify_split
from polypseg.data.synthetic import make_synthetic
from polypseg.errors import SplitError
from polypseg.records.split import load_split

NO_SEARCH = {"near_duplicate_bits": -1}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return make_synthetic(tmp_path_factory.mktemp("set"), 12, seed=3, side_range=(48, 64))


def counts(assigned):
    return {name: list(assigned).count(name) for name in ("train", "validation", "test")}


def names(count):
    return [f"image_{index:03d}" for index in range(count)]


def test_ratio_gives_the_wanted_counts():
    config = SplitConfig(kind="ratio", validation=0.1, test=0.2)
    assigned, source = assign(names(50), [None] * 50, [], config)
    assert counts(assigned) == {"train": 35, "validation": 5, "test": 10}
    assert source == "ratio: validation 0.1, test 0.2"


def test_seed_draws_another_split_and_the_same_again():
    def drawn(seed):
        return assign(names(50), [None] * 50, [], SplitConfig(kind="ratio", seed=seed))[0]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_groups_and_near_duplicates_stay_on_one_side():
    # Groups a (0-4) and b (5-9); 4 and 5 look alike, so that all ten belong together; so do 20 and 30.
    groups = ["a"] * 5 + ["b"] * 5 + [None] * 30
    for seed in range(20):
        config = SplitConfig(kind="ratio", validation=0.2, test=0.3, seed=seed)
        assigned, _ = assign(names(40), groups, [[4, 5], [20, 30]], config)
        assert len(set(assigned[:10])) == 1
        assert assigned[20] == assigned[30]
        assert set(assigned) == {"train", "validation", "test"}


def test_few_large_groups_give_a_split_each():
    # Wanted is 1 of 12 for validation and test; every group has 3 or more: the smaller ones overshoot least.
    groups = ["a"] * 3 + ["b"] * 4 + ["c"] * 5
    assigned, _ = assign(names(12), groups, [], SplitConfig(kind="ratio"))
    assert counts(assigned) == {"train": 5, "validation": 4, "test": 3}


@pytest.mark.parametrize(
    ("groups", "test", "message"), [("aaaaaa", 0.0, "nothing to train on"), ("aaaaaa", 0.1, "nothing for validation")]
)
def test_nothing_left_for_a_split_is_an_error(groups, test, message):
    with pytest.raises(SplitError, match=f"6 samples in 1 group that must stay together leave {message}"):
        assign(names(6), list(groups), [], SplitConfig(kind="ratio", test=test))


def test_official_split_is_refused_for_other_data():
    with pytest.raises(SplitError, match="these 6 samples are not Kvasir-SEG's 1,000"):
        assign(names(6), [None] * 6, [], SplitConfig(kind="official"))


def test_manifest_comes_back_as_it_was(samples, tmp_path):
    split = make_split(samples, SplitConfig(validation=0.25, test=0.25))
    split.save(tmp_path / "splits.json")
    assert load_split(tmp_path / "splits.json") == split
    verify_split(split, samples)


def test_order_of_the_samples_does_not_matter(samples):
    config = SplitConfig(validation=0.25, test=0.25)
    assert make_split(samples[::-1], config) == make_split(samples, config)


def test_changed_file_is_refused_by_name(samples, tmp_path):
    split = make_split(samples, SplitConfig(**NO_SEARCH))
    copy = tmp_path / samples[2].image_path.name
    copy.write_bytes(samples[2].image_path.read_bytes() + b"\0")
    changed = [*samples[:2], Sample(samples[2].name, copy, samples[2].mask_path), *samples[3:]]
    with pytest.raises(SplitError, match=f"1 file is not what it was .*\n  .*{copy.name}"):
        verify_split(split, changed)


def test_missing_sample_is_refused_by_name(samples):
    split = make_split(samples, SplitConfig(**NO_SEARCH))
    with pytest.raises(SplitError, match=samples[0].name):
        verify_split(split, samples[1:])


def test_repeated_names_are_refused(samples):
    with pytest.raises(SplitError, match="sample names repeat"):
        make_split([*samples, samples[0]], SplitConfig(**NO_SEARCH))


@pytest.mark.slow
def test_copy_of_an_image_stays_with_it(samples, tmp_path):
    copy = tmp_path / "zz_copy.jpg"
    copy.write_bytes(samples[0].image_path.read_bytes())
    with_copy = [*samples, Sample("zz_copy", copy, samples[0].mask_path)]
    sides = set()
    for seed in range(8):
        split = make_split(with_copy, SplitConfig(kind="ratio", validation=0.2, test=0.2, seed=seed))
        assert split.entries["zz_copy"].split == split.entries[samples[0].name].split
        sides.add(split.entries["zz_copy"].split)
    assert len(sides) > 1  # it is drawn like any other, not pinned to one side


@pytest.mark.data
def test_official_split_of_kvasir_seg(real_data):
    def listed(name):
        return (real_data / "kvasir-seg" / "splits" / name).read_text().split()

    train, test = listed("official-train-880.txt"), listed("official-test-120.txt")
    everything = sorted(train + test)
    look_alike = [[everything.index(test[0]), everything.index(train[0])]]
    assigned, _ = assign(everything, [None] * 1000, look_alike, SplitConfig())
    where = dict(zip(everything, assigned, strict=True))
    assert {name for name in everything if where[name] == "test"} == set(test)
    assert counts(assigned) == {"train": 800, "validation": 80, "test": 120}
    assert where[train[0]] == "train"
    other, _ = assign(everything, [None] * 1000, [], SplitConfig(seed=1))
    assert [n for n, s in zip(everything, other, strict=True) if s == "test"] == sorted(test)
    assert np.mean([a != b for a, b in zip(assigned, other, strict=True)]) > 0.05
