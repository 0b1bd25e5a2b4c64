import numpy as np

from polypseg.config import DataConfig
from polypseg.data.epochs import training_plan
from polypseg.data.mix_up import ALPHA, kept_shares, mixed

KEY = (7, 11)


def roll(batch):
    return np.roll(batch, 1, axis=0)


def test_mixture_by_hand():
    images = np.array([0.0, 1.0, 0.5], np.float32).reshape(3, 1, 1, 1) * np.ones((3, 2, 2, 3), np.float32)
    masks = np.array([1, 0, 0], np.float32).reshape(3, 1, 1, 1) * np.ones((3, 2, 2, 1), np.float32)
    kept = np.array([0.5, 0.75, 1.0], np.float32).reshape(3, 1, 1, 1)
    mixture, references = mixed(images, masks, kept, roll)
    # the first with the last: (0 + 0.5) / 2; the second with the first: 0.75 * 1 + 0.25 * 0; the third as it is
    np.testing.assert_array_equal(mixture[:, 0, 0], np.repeat([[0.25], [0.75], [0.5]], 3, axis=1))
    np.testing.assert_array_equal(references[:, 1, 1, 0], [0.5, 0.25, 0.0])
    assert mixture.dtype == references.dtype == np.float32


def test_shares_kept_are_in_proportion():
    kept = kept_shares(4000, KEY, 0.3)
    assert kept.shape == (4000, 1, 1, 1)
    assert kept.dtype == np.float32
    changed = kept[kept < 1]
    assert abs(len(changed) / 4000 - 0.3) < 0.03  # four standard deviations
    assert changed.min() >= 0.5
    # The larger of a beta-distributed x and 1 - x: its mean is 1/2 + E|x - 1/2|, by numerical integration.
    x = (np.arange(1_000_000) + 0.5) / 1_000_000
    density = (x * (1 - x)) ** (ALPHA - 1)
    expected = 0.5 + np.average(abs(x - 0.5), weights=density)
    assert abs(changed.mean() - expected) < 0.02


def test_none_are_mixed_without_a_share_and_all_with_a_whole_one():
    assert (kept_shares(100, KEY, 0.0) == 1).all()
    assert (kept_shares(100, KEY, 1.0) < 1).mean() > 0.95  # a draw near 0 rounds to 1


def test_key_decides():
    first = kept_shares(50, KEY, 0.5)
    np.testing.assert_array_equal(first, kept_shares(50, np.array(KEY, np.int32), 0.5))
    assert not np.array_equal(first, kept_shares(50, (7, 12), 0.5))


def test_batch_of_one_stays_as_it_is():
    image, mask = np.full((1, 2, 2, 3), 0.25, np.float32), np.ones((1, 2, 2, 1), np.float32)
    mixture, reference = mixed(image, mask, np.full((1, 1, 1, 1), 0.5, np.float32), roll)
    np.testing.assert_array_equal(mixture, image)
    np.testing.assert_array_equal(reference, mask)


def test_config_hands_the_share_on():
    assert training_plan(DataConfig(mix_up=0.4), seed=3).mix_up == 0.4
    assert training_plan(DataConfig(), seed=3).mix_up == 0.0
