import keras
import numpy as np
import pytest

from polypseg.data.augment import PRESETS, RandomAffine, augment
from polypseg.errors import UsageError


def pair(count=6, side=32):
    generator = np.random.default_rng(0)
    images = generator.random((count, side, side, 3), np.float32)
    masks = np.zeros((count, side, side, 1), np.float32)
    masks[:, 4:14, 6:26] = 1
    return images, masks


def numbers(*tensors):
    return [keras.ops.convert_to_numpy(tensor) for tensor in tensors]


@pytest.mark.parametrize("preset", PRESETS)
def test_mask_stays_two_valued_and_image_in_range(preset):
    for seed in range(5):
        image, mask = numbers(*augment(*pair(), seed=seed, preset=preset))
        assert set(np.unique(mask)) <= {0.0, 1.0}
        assert image.min() >= 0
        assert image.max() <= 1
        assert (image.shape, mask.shape, image.dtype) == ((6, 32, 32, 3), (6, 32, 32, 1), np.float32)


def test_flip_is_the_pair_or_its_mirror_image():
    images, masks = pair(count=40)
    flipped, flipped_masks = numbers(*augment(images, masks, seed=4))
    is_same = [np.array_equal(a, b) for a, b in zip(images, flipped, strict=True)]
    is_mirrored = [np.array_equal(a[:, ::-1], b) for a, b in zip(images, flipped, strict=True)]
    assert all(s != m for s, m in zip(is_same, is_mirrored, strict=True))
    assert 8 <= sum(is_mirrored) <= 32  # 40 fair coins: outside with a chance below 1e-4
    for mask, flipped_mask, mirrored in zip(masks, flipped_masks, is_mirrored, strict=True):
        np.testing.assert_array_equal(flipped_mask, mask[:, ::-1] if mirrored else mask)


def test_image_and_mask_move_alike():
    # A smooth image that is bright exactly on the mask: geometry alone must keep them on top of each other.
    _, masks = pair()
    layer = RandomAffine(0.5, scale=(0.75, 1.35), shift=0.1, flip=True, fill_mode="constant", fill_value=0.0)
    drawn = layer.get_random_transformation({"images": masks}, training=True, seed=keras.random.SeedGenerator(3))
    images = numbers(layer.transform_images(keras.ops.convert_to_tensor(np.repeat(masks, 3, -1)), drawn))[0]
    moved = numbers(layer.transform_segmentation_masks(keras.ops.convert_to_tensor(masks), drawn))[0]
    assert np.mean((images[..., :1] > 0.5) != (moved > 0.5)) < 0.01
    assert np.mean((moved > 0.5) != (masks > 0.5)) > 0.05  # and they did move


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [  # a matrix leads from a pixel (x, y) of the result to its place in the 5x5 image; the centre is (2, 2)
        ({"factor": (0.25, 0.25)}, [0, -1, 4, 1, 0, 0, 0, 0]),  # a quarter turn: (x, y) comes from (4 - y, x)
        ({"factor": 0.0, "scale": (2.0, 2.0)}, [0.5, 0, 1, 0, 0.5, 1, 0, 0]),  # twice as large about the centre
        ({"factor": 0.0}, [1, 0, 0, 0, 1, 0, 0, 0]),
    ],
)
def test_affine_matrix_by_hand(arguments, expected):
    layer = RandomAffine(**{"scale": (1.0, 1.0), "shift": 0.0, "flip": False, **arguments})
    drawn = layer.get_random_transformation({"images": np.zeros((1, 5, 5, 3), np.float32)}, training=True)
    np.testing.assert_allclose(numbers(drawn["rotation_matrix"])[0][0], expected, atol=1e-6)


@pytest.mark.parametrize("preset", ["flip", "standard"])
def test_seed_decides_alone(preset):
    images, masks = pair()
    first = numbers(*augment(images, masks, seed=7, preset=preset))
    again = numbers(*augment(images, masks, seed=7, preset=preset))
    other = numbers(*augment(images, masks, seed=8, preset=preset))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_none_changes_nothing():
    images, masks = pair()
    same = numbers(*augment(images, masks, preset="none"))
    np.testing.assert_array_equal(same[0], images)
    np.testing.assert_array_equal(same[1], masks)


def test_single_pair_keeps_its_rank():
    images, masks = pair()
    image, mask = numbers(*augment(images[0], masks[0], seed=1, preset="standard"))
    assert (image.shape, mask.shape) == ((32, 32, 3), (32, 32, 1))


def test_same_inside_tf_data_as_outside():
    tf = pytest.importorskip("tensorflow")
    images, masks = pair()
    dataset = tf.data.Dataset.from_tensors((images, masks)).map(lambda i, m: augment(i, m, 5, "standard"))
    inside = next(iter(dataset))
    outside = augment(images, masks, 5, "standard")
    np.testing.assert_allclose(inside[0], numbers(*outside)[0], atol=1e-5)
    np.testing.assert_array_equal(inside[1], numbers(*outside)[1])


def test_unknown_preset_lists_the_choices():
    with pytest.raises(UsageError, match="did you mean 'standard'"):
        augment(*pair(), preset="standart")


def test_without_a_seed_each_call_draws_anew():
    tf = pytest.importorskip("tensorflow")
    images, masks = pair(count=1)

    def is_mirrored(image):
        return np.array_equal(np.asarray(image), images[0][:, ::-1])

    called = {is_mirrored(numbers(*augment(images[0], masks[0]))[0]) for _ in range(30)}
    mapped = tf.data.Dataset.from_tensors((images[0], masks[0])).repeat(30).map(augment)
    assert called == {is_mirrored(image) for image, _ in mapped} == {True, False}  # missed with a chance of 2 in 10^9


def test_mixed_precision_leaves_the_augmentation_alone():
    images, masks = pair()
    before = numbers(*augment(images, masks, 3, "standard"))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        after = numbers(*augment(images, masks, 3, "standard"))
    finally:
        keras.config.set_dtype_policy("float32")
    assert after[0].dtype == np.float32
    np.testing.assert_array_equal(after[0], before[0])
