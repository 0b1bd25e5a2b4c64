import numpy as np
import pytest

from polypseg.config import DataConfig, SplitConfig
from polypseg.data.batches import PyBatches, SampleReader, get_tf_dataset, make_readers, tf_batches
from polypseg.data.epochs import BatchPlan, EpochCounter
from polypseg.data.in_memory import load_polyp_dataset
from polypseg.data.samples import load_sample
from polypseg.data.splits import make_split
from polypseg.data.synthetic import make_synthetic
from polypseg.errors import DataError, SplitError, UsageError

pytestmark = pytest.mark.keras

CONFIG = DataConfig(size=32, batch_size=4, augment="flip")
RATIO = SplitConfig(kind="ratio", validation=0.25, test=0.25, near_duplicate_bits=-1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    make_synthetic(folder, 20, seed=5, side_range=(40, 64))
    return folder


@pytest.fixture(scope="module")
def samples(folder):
    from polypseg.data.samples import pair_samples

    return pair_samples(folder / "images", folder / "masks")[0]


def all_of(dataset):
    batches = [(images.numpy(), masks.numpy()) for images, masks in dataset]
    return np.concatenate([b[0] for b in batches]), np.concatenate([b[1] for b in batches])


def as_rows(images):
    return sorted(image.tobytes() for image in images)


def test_three_datasets_of_the_promised_kind(samples):
    datasets = get_tf_dataset(samples, config=CONFIG, split_config=RATIO)
    for dataset, count in zip(datasets, (10, 5, 5), strict=True):
        images, masks = all_of(dataset)
        assert (images.shape, masks.shape) == ((count, 32, 32, 3), (count, 32, 32, 1))
        assert (images.dtype, masks.dtype) == (np.float32, np.float32)
        assert 0 <= images.min() < images.max() <= 1
        assert set(np.unique(masks)) == {0.0, 1.0}
        assert len(dataset) == -(-count // 4)


def test_validation_is_what_the_files_hold(samples):
    split = make_split(samples, RATIO)
    validation = get_tf_dataset(samples, split, CONFIG).validation
    expected = [load_sample(sample, 32) for sample in split.select(samples, "validation")]
    for _ in range(2):  # the second time from the cache
        images, masks = all_of(validation)
        np.testing.assert_allclose(images, np.stack([e[0] for e in expected]) / 255, atol=1e-6)
        np.testing.assert_array_equal(masks[..., 0], np.stack([e[1] for e in expected]))


def test_epochs_differ_in_order_and_hold_the_same_images(samples):
    config = DataConfig(size=32, batch_size=4, augment="none")
    train = get_tf_dataset(samples, config=config, split_config=RATIO).train
    first, second = all_of(train)[0], all_of(train)[0]
    assert not np.array_equal(first, second)
    assert as_rows(first) == as_rows(second)


def test_seed_repeats_the_epochs_and_another_does_not(samples):
    def two_epochs(seed):
        train = get_tf_dataset(samples, config=CONFIG, split_config=RATIO, seed=seed).train
        return np.concatenate([all_of(train)[0], all_of(train)[0]])

    assert np.array_equal(two_epochs(1), two_epochs(1))
    assert not np.array_equal(two_epochs(1), two_epochs(2))


def test_epoch_counter_begins_where_it_is_set(samples):
    reader, plan = SampleReader(samples, 32, keep=True), BatchPlan(4, "standard", True, 0)
    through = tf_batches(reader, plan)
    epochs = [all_of(through)[0] for _ in range(3)]
    counter = EpochCounter()
    counter.next_epoch = 2
    np.testing.assert_array_equal(all_of(tf_batches(reader, plan, counter))[0], epochs[2])


def test_streaming_gives_what_the_cache_gives(samples):
    def train(cache):
        config = DataConfig(size=32, batch_size=4, augment="flip", cache=cache)
        dataset = get_tf_dataset(samples, config=config, split_config=RATIO).train
        return np.concatenate([all_of(dataset)[0], all_of(dataset)[0]])

    np.testing.assert_array_equal(train("memory"), train("none"))


def test_cache_limit_decides_where_cache_is_unset(samples):
    def keeps(**settings):
        return make_readers(samples, None, DataConfig(size=32, **settings), RATIO)["train"]._keep

    assert keeps()
    assert not keeps(cache_limit_mib=0)
    assert keeps(cache_limit_mib=0, cache="memory")
    assert not keeps(cache="none")


def test_data_in_memory_are_split_and_batched(folder):
    data = load_polyp_dataset(folder / "images", folder / "masks", size=32)
    datasets = get_tf_dataset(data, config=CONFIG, split_config=RATIO)
    images = np.concatenate([all_of(dataset)[0] for dataset in datasets])
    assert len(images) == 20
    np.testing.assert_allclose(all_of(datasets.test)[0].mean(), all_of(datasets.test)[0].mean())


def test_data_in_memory_follow_a_manifest(folder, samples):
    split = make_split(samples, RATIO)
    data = load_polyp_dataset(folder / "images", folder / "masks", size=32)
    from_memory = all_of(get_tf_dataset(data, split, CONFIG).test)
    from_disk = all_of(get_tf_dataset(samples, split, CONFIG).test)
    np.testing.assert_allclose(from_memory[0], from_disk[0], atol=1e-6)
    np.testing.assert_array_equal(from_memory[1], from_disk[1])


def test_manifest_of_other_data_is_refused(folder, samples):
    split = make_split(samples, RATIO)
    with pytest.raises(SplitError, match="not in the data"):
        get_tf_dataset(samples[:5], split, CONFIG)
    data = load_polyp_dataset(folder / "images", folder / "masks", size=32)
    fewer = type(data)(data.images[:5], data.masks[:5], data.names[:5])
    with pytest.raises(UsageError, match="not in the data"):
        get_tf_dataset(fewer, split, CONFIG)


def test_file_that_vanishes_is_kept_as_the_error(samples, tmp_path):
    import dataclasses

    broken = [dataclasses.replace(samples[0], image_path=tmp_path / "gone.jpg"), *samples[1:]]
    reader = SampleReader(broken, 32, keep=False)
    with pytest.raises(DataError, match=r"no such file|cannot read"):
        reader.read(np.array([0, 1]))
    assert isinstance(reader.error, DataError)


def test_py_batches_without_tensorflow_are_the_same(samples):
    reader, plan = SampleReader(samples, 32, keep=True), BatchPlan(8, "flip", True, 3)
    batches = PyBatches(reader, plan, EpochCounter())
    tensors = tf_batches(reader, plan, EpochCounter())
    for _ in range(2):
        batches.on_epoch_begin()
        images = np.concatenate([batches[index][0] for index in range(len(batches))])
        np.testing.assert_allclose(images, all_of(tensors)[0], atol=1e-6)
