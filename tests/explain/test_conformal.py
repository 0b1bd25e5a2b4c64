"""Holding a risk: steps by hand, the theorem by counting every case, bounds against SciPy."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from polypseg.errors import UsageError
from polypseg.explain.conformal import (
    controlled_step,
    fewest_units,
    hoeffding_bentkus,
    never_rising,
    unit_losses,
)

THREE = np.array([[1.0, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("level", "step"),
    [
        # (2 + 1) / 4 = 0.75, (0.5 + 1) / 4 = 0.375, (0 + 1) / 4 = 0.25
        (0.75, 0),
        (0.74, 1),
        (0.375, 1),
        (0.37, 2),
        (0.25, 2),
        (0.24, None),
    ],
)
def test_the_first_step_that_holds_on_average(level, step):
    assert controlled_step(THREE, level) == step


def test_with_a_confidence_the_fewest_units_by_hand():
    # without any loss p = (1 - level)^n: 0.9^21 = 0.1094 > 0.1, 0.9^22 = 0.0985
    assert controlled_step(np.zeros((22, 2)), 0.1, 0.9) == 0
    assert controlled_step(np.zeros((21, 2)), 0.1, 0.9) is None
    one_lost = np.zeros((30, 2))
    one_lost[0, 0] = 1
    # e · P(Bin(30, 0.1) <= 1) = e (0.9^30 + 30 · 0.1 · 0.9^29) = e · 0.1837 = 0.4994; Hoeffding is no smaller:
    # h(1/30, 0.1) = ln(1/3)/30 + 29/30 ln(0.96667/0.9) = 0.03246, exp(-30 · 0.03246) = 0.3777 > 0.1
    assert controlled_step(one_lost, 0.1, 0.9) == 1
    assert hoeffding_bentkus(1 / 30, 30, 0.1) == pytest.approx(0.3777, abs=2e-4)


@pytest.mark.parametrize(("level", "confidence"), [(0.05, None), (0.1, None), (0.3, None), (0.1, 0.9), (0.2, 0.95)])
def test_one_unit_less_than_the_fewest_holds_nothing(level, confidence):
    count = fewest_units(level, confidence)
    assert controlled_step(np.zeros((count, 3)), level, confidence) == 0
    if count > 1:
        assert controlled_step(np.zeros((count - 1, 3)), level, confidence) is None


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_shares_outside_of_0_and_1_are_refused(value):
    with pytest.raises(UsageError, match=r"level .*: expected a share between 0 and 1"):
        fewest_units(value)
    with pytest.raises(UsageError, match=r"confidence .*: expected a value between 0 and 1"):
        controlled_step(THREE, 0.5, value)


def test_bentkus_is_scipys_binomial():
    for mean, count, level in product((0.0, 0.05, 0.3), (5, 40, 2000), (0.05, 0.2)):
        below = np.e * binom.cdf(np.ceil(count * mean - 1e-12), count, level)
        low = min(mean, level)
        parts = (low * np.log(low / level) if low else 0) + (1 - low) * np.log((1 - low) / (1 - level))
        expected = min(1.0, below, np.exp(-count * parts))
        assert hoeffding_bentkus(mean, count, level) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=5, max_size=9), st.integers(1, 9))
def test_on_average_it_holds_for_every_population(rows, tenths):
    """Each unit left out once: the mean loss of the one left out is at most the level, whatever the losses are."""
    level = tenths / 10
    falling = never_rising(np.array([[*row, 0] for row in rows]) / 4)
    lost = []
    for place in range(len(falling)):
        step = controlled_step(np.delete(falling, place, axis=0), level)
        lost.append(0.0 if step is None else falling[place, step])
    assert np.mean(lost) <= level + 1e-9


def test_with_a_confidence_a_false_promise_is_as_rare_as_said():
    """Losses of 0 or 1 with a true risk of 0.21: the chance that a level of 0.2 is promised, from the binomial law."""
    count, level, confidence = 40, 0.2, 0.9
    chance = 0.0
    for hits in range(count + 1):
        losses = np.zeros((count, 2))
        losses[:hits, 0] = 1
        if controlled_step(losses, level, confidence) == 0:
            chance += binom.pmf(hits, count, 0.21)
    assert 0 < chance <= 1 - confidence


def test_losses_of_units_and_what_never_rises_by_hand():
    # unit 0 has the frames 0 and 2: (0.2 + 0.6) / 2 and (0 + 0.4) / 2
    found = unit_losses(np.array([[0.2, 0.0], [1.0, 1.0], [0.6, 0.4]]), [0, 1, 0])
    np.testing.assert_allclose(found, [[0.4, 0.2], [1.0, 1.0]])
    assert never_rising(np.array([[0.0, 0.3, 0.1]])).tolist() == [[0.3, 0.3, 0.1]]
