"""Batches: from samples and a split to `tf.data.Dataset`s, or to a `keras.utils.PyDataset` without TensorFlow.

Decisions:
- Samples are decoded and resized once and then kept as bytes (cache "memory"), or again in each epoch
  (cache "none"), so that memory stays flat however many there are. Floats exist a batch at a time.
- One reader serves both kinds of data set, and augmentation is the same code.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from polypseg.config import DataConfig, SplitConfig
from polypseg.data.augment import augment
from polypseg.data.duplicates import join, similar_pairs
from polypseg.data.epochs import BatchPlan, EpochCounter, training_plan
from polypseg.data.fingerprints import fingerprint
from polypseg.data.frame_synthesis import synthesise
from polypseg.data.in_memory import PolypDataset, checked_dataset
from polypseg.data.samples import Sample, load_sample
from polypseg.data.splits import assign, make_split
from polypseg.errors import PolypsegError, UsageError, missing_extra, plural
from polypseg.preprocess import FieldRule, normalise
from polypseg.progress import Track, silent, slow_steps_told
from polypseg.records.split import SPLIT_NAMES, Split

if TYPE_CHECKING:
    import tensorflow as tf

MEBIBYTE = 2**20


class SampleReader:
    """Reads samples by their place in the list, squeezed to one size, and keeps them if asked to.

    Attributes:
        count: How many samples there are.
        size: Side of the square in pixels.
        field: What of a frame is squeezed to it.
        error: What a read ended with; a pipeline in another thread can only fail, and its caller looks here.
    """

    def __init__(self, samples: Sequence[Sample], size: int, keep: bool, field: FieldRule = "whole") -> None:
        self.count, self.size, self.field = len(samples), size, field
        self.error: PolypsegError | None = None
        self._samples = samples
        self._pool = ThreadPoolExecutor(os.cpu_count())
        self._images = np.empty((self.count if keep else 0, size, size, 3), np.uint8)
        self._masks = np.empty((self.count if keep else 0, size, size, 1), np.uint8)
        self._is_kept = np.zeros(self.count, bool)
        self._keep = keep

    def read(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Images (B, size, size, 3) uint8 and masks (B, size, size, 1) uint8 of 0 and 1.

        Raises:
            PolypsegError: A file cannot be used; it is also kept in `error`.
        """
        images = np.empty((len(indices), self.size, self.size, 3), np.uint8)
        masks = np.empty((len(indices), self.size, self.size, 1), np.uint8)

        def fill(place: int) -> None:
            index = indices[place]
            if self._keep and self._is_kept[index]:
                images[place], masks[place] = self._images[index], self._masks[index]
                return
            image, mask = load_sample(self._samples[index], self.size, self.field)
            images[place], masks[place, ..., 0] = image, mask
            if self._keep:
                self._images[index], self._masks[index] = images[place], masks[place]
                self._is_kept[index] = True

        try:
            if self._keep and self._is_kept[indices].all():
                return self._images[indices], self._masks[indices]
            list(self._pool.map(fill, range(len(indices))))
        except PolypsegError as error:
            self.error = error
            raise
        return images, masks


class ArrayReader(SampleReader):
    """The same for a data set that `load_polyp_dataset` brought into memory."""

    def __init__(self, data: PolypDataset, indices: Sequence[int]) -> None:
        super().__init__([], data.images.shape[1], keep=False)
        self.count = len(indices)
        self._data, self._indices = data, np.asarray(indices, np.int64)

    def read(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """As `SampleReader.read`."""
        chosen = self._indices[indices]
        return np.rint(self._data.images[chosen] * 255).astype(np.uint8), self._data.masks[chosen].astype(np.uint8)


class TfDatasets(NamedTuple):
    """What `get_tf_dataset` returns: three `tf.data.Dataset`s of batches (images, masks).

    Images are (B, size, size, 3) float32 in [0, 1], masks (B, size, size, 1) float32 in {0, 1}.
    """

    train: "tf.data.Dataset"
    validation: "tf.data.Dataset"
    test: "tf.data.Dataset"


def get_tf_dataset(
    data: PolypDataset | tuple[Any, ...] | Sequence[Sample],
    split: Split | None = None,
    config: DataConfig = DataConfig(),  # noqa: B008 (frozen)
    split_config: SplitConfig = SplitConfig(),  # noqa: B008 (frozen)
    seed: int = 0,
    track: Track = slow_steps_told,
) -> TfDatasets:
    """The data, split into train, validation and test, as batches for `model.fit`.

    Training batches are shuffled again each epoch and augmented; all are cached as the config says and
    prefetched.

    Args:
        data: What `load_polyp_dataset` returned, or (images, masks, names) made alike, or samples
            (`find_samples`), which are read as needed.
        split: A manifest; without one, `split_config` makes a split.
        config: Size, batch size, augmentation preset, cache. The size of data in memory is their own.
        split_config: Ratios, official split, seed.
        seed: Order and augmentation follow from it.
        track: Shows the progress of the search for near-duplicates, which takes half a minute for 1,000 images.

    Raises:
        MissingExtraError: TensorFlow is not installed.
        SplitError: No split can be made.
        UsageError: The manifest names a sample that is not in the data, or the arrays do not hold what they should.

    Example:
        data = load_polyp_dataset("Kvasir-SEG/images", "Kvasir-SEG/masks", size=256)
        train, validation, test = get_tf_dataset(data)
    """
    readers = make_readers(data, split, config, split_config, track)
    plans = (training_plan(config, seed), *[BatchPlan(config.batch_size, "none", False, seed)] * 2)
    return TfDatasets(*(tf_batches(readers[n], plan) for n, plan in zip(SPLIT_NAMES, plans, strict=True)))


def make_readers(
    data: PolypDataset | tuple[Any, ...] | Sequence[Sample],
    split: Split | None,
    config: DataConfig,
    split_config: SplitConfig,
    track: Track = silent,
) -> dict[str, SampleReader]:
    """A reader for each of the three splits."""
    if isinstance(data, tuple):
        data = checked_dataset(data)
        where = {name: index for index, name in enumerate(data.names)}
        assigned = {n: split.names(n) for n in SPLIT_NAMES} if split else _assign_arrays(data, split_config, track)
        missing = [name for names in assigned.values() for name in names if name not in where]
        if missing:
            raise UsageError(
                f"the manifest names {plural(len(missing), 'sample that is', 'samples that are')} "
                f"not in the data, first {missing[0]}"
            )
        return {n: ArrayReader(data, [where[name] for name in assigned[n]]) for n in SPLIT_NAMES}
    split = split or make_split(data, split_config, track)
    needed = len(data) * config.size**2 * 4
    keep = config.cache == "memory" or (config.cache is None and needed <= config.cache_limit_mib * MEBIBYTE)
    return {n: SampleReader(split.select(data, n), config.size, keep, config.field) for n in SPLIT_NAMES}


def _assign_arrays(data: PolypDataset, config: SplitConfig, track: Track) -> dict[str, list[str]]:
    """The names of each split of a data set in memory, near-duplicates together."""
    order = sorted(range(len(data.names)), key=lambda index: data.names[index])
    joined = []

    def images() -> Iterator[NDArray[np.uint8]]:
        return (np.rint(data.images[index] * 255).astype(np.uint8) for index in order)

    if config.near_duplicate_bits >= 0:
        prints = [fingerprint(image) for image in track(images(), "looking for near-duplicates", len(order))]
        joined = join(len(order), similar_pairs(prints, config.near_duplicate_bits, track))
    names = [data.names[index] for index in order]
    assigned, _ = assign(names, [data.groups[index] for index in order], joined, config)
    return {n: [name for name, split in zip(names, assigned, strict=True) if split == n] for n in SPLIT_NAMES}


BatchTransform = Callable[[Any, Any], Any]
"""Batches of images and masks to what shall be answered in the masks' stead (train/teacher.py)."""


def tf_batches(
    reader: SampleReader,
    plan: BatchPlan,
    counter: EpochCounter | None = None,
    change_masks: BatchTransform | None = None,
) -> "tf.data.Dataset":
    """The reader's samples as a `tf.data.Dataset` of batches; each iteration is one epoch.

    Args:
        reader: Reads them.
        plan: Order, augmentation, synthesis.
        counter: Of the epochs.
        change_masks: Changes the masks of a finished batch.

    Raises:
        MissingExtraError: TensorFlow is not installed.
    """
    try:
        import tensorflow as tf
    except ModuleNotFoundError as error:
        raise missing_extra("tensorflow", "train") from error

    counter = counter or EpochCounter()
    size, count = reader.size, reader.count
    num_shown = plan.num_shown(count)

    def begin() -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        return plan.epoch(count, counter.begin() if plan.shuffled else 0)

    def batches_of_epoch(_: Any) -> Any:
        order, keys = tf.numpy_function(begin, [], (tf.int64, tf.int32))
        indices = tf.data.Dataset.from_tensor_slices(tf.ensure_shape(order, (num_shown,))).batch(plan.batch_size)
        return tf.data.Dataset.zip((indices, tf.data.Dataset.from_tensor_slices(tf.ensure_shape(keys, (None, 2)))))

    def read_synthesised(indices: NDArray[np.int64], key: Any) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return synthesise(*reader.read(indices), key, plan.synthesis)

    def read(indices: Any, key: Any) -> tuple[Any, Any, Any]:
        images, masks = tf.numpy_function(read_synthesised, [indices, key], (tf.uint8, tf.uint8))
        return tf.ensure_shape(images, (None, size, size, 3)), tf.ensure_shape(masks, (None, size, size, 1)), key

    def finish(images: Any, masks: Any, key: Any) -> tuple[Any, Any]:
        images = tf.cast(images, tf.float32) / 255.0
        changed: tuple[Any, Any] = augment(images, tf.cast(masks, tf.float32), key, plan.preset)
        return changed

    steps = -(-num_shown // plan.batch_size)
    batches = tf.data.Dataset.range(1).flat_map(batches_of_epoch)
    batches = batches.map(read, num_parallel_calls=2).map(finish, num_parallel_calls=tf.data.AUTOTUNE)
    batches = batches if change_masks is None else _with_changed_masks(batches, change_masks)
    return batches.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(4)


def _with_changed_masks(batches: "tf.data.Dataset", change_masks: BatchTransform) -> "tf.data.Dataset":
    """The batches with their masks changed; in the graph of the pipeline where TensorFlow is Keras' backend too."""
    import tensorflow as tf

    def outside(images: Any, masks: Any) -> Any:
        return keras.ops.convert_to_numpy(change_masks(images, masks))

    def change(images: Any, masks: Any) -> tuple[Any, Any]:
        if keras.backend.backend() == "tensorflow":
            return images, change_masks(images, masks)
        return images, tf.ensure_shape(tf.numpy_function(outside, [images, masks], tf.float32), masks.shape)

    return batches.map(change)


class PyBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """The same batches without TensorFlow, in order and content, as a `keras.utils.PyDataset` of NumPy arrays."""

    def __init__(
        self,
        reader: SampleReader,
        plan: BatchPlan,
        counter: EpochCounter | None = None,
        change_masks: BatchTransform | None = None,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self._reader, self._plan, self._soften = reader, plan, change_masks
        self._counter = counter or EpochCounter()
        self._order, self._keys = plan.epoch(reader.count, 0)

    def __len__(self) -> int:
        return -(-self._plan.num_shown(self._reader.count) // self._plan.batch_size)

    def on_epoch_begin(self) -> None:
        """Draw the order of the epoch that begins (Keras calls this)."""
        self._order, self._keys = self._plan.epoch(self._reader.count, self._counter.begin())

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        chosen = self._order[index * self._plan.batch_size : (index + 1) * self._plan.batch_size]
        key = [int(part) for part in self._keys[index]]
        images, masks = synthesise(*self._reader.read(chosen), key, self._plan.synthesis)
        changed = augment(
            keras.ops.convert_to_tensor(normalise(images)),
            keras.ops.convert_to_tensor(masks.astype(np.float32)),
            key,
            self._plan.preset,
        )
        softened = changed[1] if self._soften is None else self._soften(*changed)
        return keras.ops.convert_to_numpy(changed[0]), keras.ops.convert_to_numpy(softened)


BatchMaker = Callable[[SampleReader, BatchPlan, EpochCounter, BatchTransform | None], Any]


def batch_maker() -> BatchMaker:
    """`tf_batches` where TensorFlow is installed, else `PyBatches`."""
    try:
        import tensorflow  # noqa: F401
    except ModuleNotFoundError:
        return PyBatches
    return tf_batches
