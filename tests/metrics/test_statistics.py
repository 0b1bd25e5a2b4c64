import itertools
import math

import numpy as np
import pytest
from scipy import stats

from polypseg.errors import ScoreError, UsageError
from polypseg.metrics import statistics
from polypseg.metrics.statistics import (
    bootstrap_mean,
    bootstrap_means,
    bootstrap_ratio,
    compare_paired,
    holm,
)

VALUES = np.random.default_rng(0).beta(8, 2, 120)


def test_bootstrap_mean_equals_scipy():
    interval = bootstrap_mean(VALUES, num_resamples=20_000)
    expected = stats.bootstrap([VALUES], np.mean, n_resamples=20_000, method="percentile", rng=1)
    assert interval.value == pytest.approx(VALUES.mean())
    # two Monte Carlo estimates of one quantile
    assert interval.low == pytest.approx(expected.confidence_interval.low, abs=0.001)
    assert interval.high == pytest.approx(expected.confidence_interval.high, abs=0.001)


def test_bootstrap_mean_all_resamples_of_two_values():
    # 0 and 1 drawn twice: means 0, ½, 1 with ¼, ½, ¼; the middle half is ½ alone, the middle 95 % is all
    assert bootstrap_mean([0, 1], confidence=0.4)[1:3] == (0.5, 0.5)
    assert bootstrap_mean([0, 1], confidence=0.95)[1:3] == (0, 1)


def test_bootstrap_mean_confidence_widens():
    narrow, wide = bootstrap_mean(VALUES, confidence=0.5), bootstrap_mean(VALUES, confidence=0.99)
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


def test_bootstrap_mean_seed_repeats():
    assert bootstrap_mean(VALUES, seed=3) == bootstrap_mean(VALUES, seed=3)
    assert bootstrap_mean(VALUES, seed=3)[1:3] != bootstrap_mean(VALUES, seed=4)[1:3]


def test_bootstrap_mean_number_of_resamples_acts():
    assert bootstrap_mean(VALUES, num_resamples=50)[1:3] != bootstrap_mean(VALUES, num_resamples=5000)[1:3]


def test_bootstrap_mean_does_not_depend_on_the_batches(monkeypatch):
    whole = bootstrap_mean(VALUES, num_resamples=300)
    monkeypatch.setattr(statistics, "_BATCH", 1000)
    assert bootstrap_mean(VALUES, num_resamples=300)[1:3] == pytest.approx(whole[1:3])


def test_bootstrap_mean_missing_values_are_counted():
    with_gaps = np.concatenate([VALUES, [math.nan, math.nan]])
    interval = bootstrap_mean(with_gaps)
    assert (interval.num_values, interval.num_missing) == (120, 2)
    assert interval.value == pytest.approx(VALUES.mean())
    assert interval.low < interval.value < interval.high


@pytest.mark.parametrize(("values", "missing"), [([], 0), ([math.nan], 1), ([math.nan] * 3, 3)])
def test_bootstrap_mean_without_a_value_is_nan(values, missing):
    interval = bootstrap_mean(values)
    assert all(math.isnan(figure) for figure in interval[:3])
    assert (interval.num_values, interval.num_missing) == (0, missing)


def test_bootstrap_mean_single_value():
    assert bootstrap_mean([0.7])[:3] == (0.7, 0.7, 0.7)


def test_bootstrap_mean_groups_are_drawn_whole():
    # frames of one video are copies: 4 videos of 30 equal frames hold 4 values, not 120
    videos = np.array([0.2, 0.6, 0.8, 0.9])
    frames, groups = np.repeat(videos, 30), np.repeat(list("abcd"), 30)
    grouped = bootstrap_mean(frames, groups.tolist())
    assert grouped[1:3] == pytest.approx(bootstrap_mean(videos)[1:3])
    single = bootstrap_mean(frames)
    assert grouped.high - grouped.low > 3 * (single.high - single.low)


def test_bootstrap_mean_groups_weigh_by_their_images():
    # drawn twice from {a: 1 image of 0, b: 3 images of 1}: 0, 3/4, 1
    interval = bootstrap_mean([0, 1, 1, 1], ["a", "b", "b", "b"], confidence=0.4)
    assert interval[:3] == pytest.approx((0.75, 0.75, 0.75))


def test_bootstrap_means_columns_equal_single_ones():
    table = np.column_stack([VALUES, np.where(VALUES > 0.9, np.nan, VALUES)])
    assert bootstrap_means(table) == [bootstrap_mean(table[:, 0]), bootstrap_mean(table[:, 1])]


def test_bootstrap_ratio_is_pooled():
    # sums 8 and 10; drawn twice: 2/4, 8/10, 6/6
    interval = bootstrap_ratio([2, 6], [4, 6])
    assert interval[:3] == pytest.approx((0.8, 0.5, 1.0))
    assert bootstrap_ratio([2, 6], [4, 6], confidence=0.4)[1:3] == pytest.approx((0.8, 0.8))


def test_bootstrap_ratio_with_a_gap_on_either_side_counts_as_missing():
    interval = bootstrap_ratio([2, math.nan, 1], [4, 1, math.nan])
    assert interval.value == 0.5
    assert (interval.num_values, interval.num_missing) == (1, 2)


def test_bootstrap_ratio_over_nothing_is_nan():
    assert math.isnan(bootstrap_ratio([0, 0], [0, 0]).value)


def test_bootstrap_ratio_lengths_differ_is_refused():
    with pytest.raises(UsageError, match="2 numerators have 1 denominators"):
        bootstrap_ratio([1, 2], [1])


def test_bootstrap_interval_covers_the_truth():
    # 95 % intervals of 200 samples of 40 from a distribution of mean 0.8: about 190 hold it
    rng = np.random.default_rng(7)
    samples = rng.beta(8, 2, (40, 200))
    held = sum(interval.low <= 0.8 <= interval.high for interval in bootstrap_means(samples, num_resamples=500))
    assert 178 <= held <= 199


def test_compare_paired_equals_scipy():
    first, second = VALUES, VALUES + np.random.default_rng(1).normal(0.004, 0.02, 120)
    comparison = compare_paired(first, second)
    assert comparison.difference.value == pytest.approx((first - second).mean())
    assert comparison.wilcoxon_p == pytest.approx(stats.wilcoxon(first, second).pvalue)
    # by the central limit the sign-flip test agrees with the paired t-test here
    assert comparison.permutation_p == pytest.approx(stats.ttest_rel(first, second).pvalue, abs=0.02)
    assert comparison.wins + comparison.losses == 120
    assert comparison.wins == np.count_nonzero(first > second)


def test_compare_paired_few_pairs_try_all_sign_patterns():
    differences = [0.3, 0.1, -0.05, 0.2]
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product((1, -1), repeat=4)]
    expected = sum(value >= sum(differences) - 1e-12 for value in sums) / 16
    assert compare_paired(differences, [0] * 4).permutation_p == expected


def test_compare_paired_p_is_never_zero():
    assert compare_paired(VALUES + 1, VALUES, num_resamples=999).permutation_p == pytest.approx(1 / 1000)


def test_compare_paired_groups_flip_together():
    first, second = np.tile([0.9, 0.8], 10), np.zeros(20)
    groups = ["a", "b"] * 10
    assert compare_paired(first, second).permutation_p < 0.001
    assert compare_paired(first, second, groups).permutation_p == 0.5  # 2 of 4 patterns, ++ and --


def test_compare_paired_equal_series_do_not_differ():
    comparison = compare_paired(VALUES, VALUES)
    assert comparison.difference[:3] == (0, 0, 0)
    assert (comparison.wilcoxon_p, comparison.permutation_p) == (1, 1)
    assert (comparison.wins, comparison.losses, comparison.ties) == (0, 0, 120)


def test_compare_paired_a_gap_on_either_side_is_no_pair():
    comparison = compare_paired([1, math.nan, 0.5], [0, 0, math.nan])
    assert comparison.difference.num_missing == 2
    assert (comparison.wins, comparison.difference.value) == (1, 1)


def test_compare_paired_without_a_pair_is_nan():
    comparison = compare_paired([math.nan], [1])
    assert math.isnan(comparison.wilcoxon_p)
    assert math.isnan(comparison.permutation_p)
    assert comparison.difference.num_missing == 1


def test_holm_never_falls_below_an_earlier_one():
    # sorted 0.01·3, max(0.03, 0.02·2) = 0.04, max(0.04, 0.03·1) = 0.04
    assert holm([0.02, 0.01, 0.03]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"confidence": 1.0}, "confidence is 1.0; expected more than 0"),
        ({"confidence": 0.0}, "confidence is 0.0"),
        ({"num_resamples": 0}, "num_resamples is 0; expected 1 or more"),
        ({"groups": ["a"]}, "2 values have 1 groups"),
    ],
)
def test_bootstrap_mean_wrong_argument_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        bootstrap_mean([0.1, 0.2], **arguments)


def test_bootstrap_mean_infinite_value_is_refused():
    with pytest.raises(ScoreError, match="a value is infinite"):
        bootstrap_mean([0.1, math.inf])


def test_compare_paired_lengths_differ_is_refused():
    with pytest.raises(UsageError, match="2 values are compared with 1; expected the same images"):
        compare_paired([1, 2], [1])
