"""How faithful a map is: curves by hand on models whose answer can be counted."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from polypseg.explain.faithfulness import energy_inside, faithfulness, rank_correlation

SIZE = 8
PIXELS = np.random.default_rng(5).random((SIZE, SIZE, 3)).astype(np.float32)
LEFT = np.zeros((SIZE, SIZE), bool)
LEFT[:, :4] = True


def unchanged(batch):
    """A model that says 1 where a pixel is as it was: its answer is the share of the mask that is still there."""
    return (batch == PIXELS).all(axis=-1, keepdims=True).astype(np.float32)


@pytest.mark.parametrize(
    ("values", "deletion", "insertion"),
    [
        # four steps of 16 pixels, the mask has 32. Answers of deletion 1, 1/2, 0, 0, 0, of insertion 0, 1/2, 1, 1, 1:
        # (1/2 + 1/2) / 4 = 0.25 and (1/2 + 1 + 1 + 1/2) / 4 = 0.75
        (LEFT, 0.25, 0.75),
        (~LEFT, 0.75, 0.25),  # the wrong half first
    ],
)
def test_areas_by_hand(values, deletion, insertion):
    rng = np.random.default_rng(0)
    found = faithfulness(unchanged, PIXELS, LEFT, values.astype(np.float32), rng, num_steps=4)
    assert found == pytest.approx((deletion, insertion), abs=1e-6)


def test_a_constant_map_is_as_good_as_chance():
    found = [
        faithfulness(unchanged, PIXELS, LEFT, np.zeros((SIZE, SIZE), np.float32), np.random.default_rng(seed), 8)
        for seed in range(20)
    ]
    # each pixel is as likely to go early as late: the answer falls along a straight line, 0.5 below it
    assert np.mean(found, axis=0) == pytest.approx((0.5, 0.5), abs=0.03)


def test_energy():
    values = np.where(LEFT, 3, 1).astype(np.float32)
    assert energy_inside(values, LEFT) == pytest.approx(0.75)
    assert energy_inside(values * 0, LEFT) == 0.5  # a map of zeros is no better than the area


def test_rank_correlation_is_scipys():
    rng = np.random.default_rng(2)
    for _ in range(5):
        first, second = rng.integers(0, 4, (2, 6, 7)).astype(np.float32)
        expected = spearmanr(first.ravel(), second.ravel()).statistic
        assert rank_correlation(first, second) == pytest.approx(expected, abs=1e-9)
    assert rank_correlation(first, np.ones_like(first)) == 0
