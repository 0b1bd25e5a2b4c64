"""Tolerance of the parity with PySODMetrics: 1e-6 for every score and every threshold."""

import math

import cv2
import numpy as np
import py_sod_metrics as peer
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from polypseg.errors import DataError
from polypseg.metrics.saliency import (
    e_measure,
    protocol_curves,
    s_measure,
    saliency_scores,
    threshold_curves,
    weighted_f_measure,
)
from polypseg.metrics.thresholds import level_histogram
from reference import saliency as slow

KINDS = ("noise", "soft", "hard", "narrow", "right")


def blob(rng, shape):
    return cv2.GaussianBlur(rng.random(shape), (0, 0), float(rng.uniform(1, max(2, shape[0] / 6))))


def image(seed, kind):
    """A map and a reference: smooth blobs, noise, hard 0/255 maps, maps that span only part of 0 … 255."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(side) for side in rng.integers(3, 50, 2))
    field = blob(rng, shape)
    reference = field > np.quantile(field, rng.random())
    if kind == "noise":
        return rng.integers(0, 256, shape).astype(np.uint8), rng.random(shape) < rng.random()
    if kind == "soft":
        return (255 * np.clip(field * 3 - 1 + 0.3 * rng.random(shape), 0, 1)).astype(np.uint8), reference
    if kind == "hard":
        return (255 * (blob(rng, shape) > 0.5)).astype(np.uint8), reference
    if kind == "narrow":
        return rng.integers(40, 200, shape).astype(np.uint8), reference
    return (reference * rng.integers(100, 256, shape)).astype(np.uint8), reference


def peer_scores(levels, reference):
    grey = reference.astype(np.uint8) * 255
    handlers = {"dice": peer.DICEHandler(True, False), "iou": peer.IOUHandler(True, False)}
    meters = [peer.FmeasureV2(handlers), peer.Emeasure(), peer.Smeasure(), peer.WeightedFmeasure(), peer.MAE()]
    for meter in meters:
        meter.step(levels, grey)
    counted, aligned, structure, weighted, error = (meter.get_results() for meter in meters)
    return {
        "dice": counted["dice"]["dynamic"][::-1],  # from 255 down to 0 there
        "iou": counted["iou"]["dynamic"][::-1],
        "e_measure": aligned["em"]["curve"][::-1],
        "adaptive_e_measure": aligned["em"]["adp"],
        "s_measure": structure["sm"],
        "weighted_f": weighted["wfm"],
        "mean_absolute_error": error["mae"],
    }


def has_four_quadrants(reference):
    """Whether the polyp's centre leaves a quadrant empty, where PySODMetrics divides by zero."""
    if not reference.any():
        return True
    row, column = np.argwhere(reference).mean(axis=0).round().astype(int) + 1
    return row < reference.shape[0] and column < reference.shape[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(12))
def test_saliency_scores_equal_pysodmetrics(seed, kind):
    levels, reference = image(seed, kind)
    if not has_four_quadrants(reference):
        reference[: reference.shape[0] // 2] = True
    scores = saliency_scores(levels, reference, min_max=True)
    for name, expected in peer_scores(levels, reference).items():
        assert getattr(scores, name) == pytest.approx(expected, abs=1e-6), name


@pytest.mark.slow
@given(
    arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 1, 100, 128, 254, 255])),
    arrays(bool, (6, 7)),
)
def test_saliency_scores_equal_pysodmetrics_on_small_masks(levels, reference):
    assume(levels.min() != levels.max())  # a constant map has a test of its own
    assume(has_four_quadrants(reference))
    scores = saliency_scores(levels, reference, min_max=True)
    expected = peer_scores(levels, reference)
    # in a quadrant where the map is constant the peer's S-measure depends on how its mean is rounded
    if all(np.ptp(part) for half in np.array_split(levels, 2) for part in np.array_split(half, 2, axis=1)):
        assert scores.s_measure == pytest.approx(expected["s_measure"], abs=1e-6)
    expected.pop("s_measure")
    for name, value in expected.items():
        assert getattr(scores, name) == pytest.approx(value, abs=1e-6), name


def test_saliency_scores_of_a_data_set_equal_pysodmetrics():
    # the published figures: mean curve over images of different size, then its mean or its maximum
    handlers = {"dice": peer.DICEHandler(True, False)}
    counted, aligned = peer.FmeasureV2(handlers), peer.Emeasure()
    dice, e_curves = [], []
    for seed in range(6):
        levels, reference = image(seed, "soft")
        counted.step(levels, reference.astype(np.uint8) * 255)
        aligned.step(levels, reference.astype(np.uint8) * 255)
        scores = saliency_scores(levels, reference, min_max=True)
        dice.append(scores.dice)
        e_curves.append(scores.e_measure)
    expected = counted.get_results()["dice"]["dynamic"]
    assert np.mean(dice) == pytest.approx(expected.mean(), abs=1e-6)
    assert np.mean(dice, axis=0).max() == pytest.approx(expected.max(), abs=1e-6)
    expected = aligned.get_results()["em"]["curve"]
    assert np.mean(e_curves) == pytest.approx(expected.mean(), abs=1e-6)
    assert np.mean(e_curves, axis=0).max() == pytest.approx(expected.max(), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("min_max", [True, False])
def test_saliency_scores_equal_loops(kind, min_max):
    levels, reference = image(3, kind)
    values = slow.stretched(levels) if min_max else levels / 255
    scores = saliency_scores(levels, reference, min_max)
    assert scores.dice == pytest.approx(slow.dice_curve(values, reference), abs=1e-9)
    assert scores.e_measure == pytest.approx(slow.e_measure_curve(values, reference), abs=1e-9)
    if reference.any():
        assert scores.weighted_f == pytest.approx(slow.weighted_f(values, reference), abs=1e-6)


@given(arrays(np.uint8, (9, 11)), arrays(bool, (9, 11)))
def test_weighted_f_measure_equals_loop(levels, reference):
    assume(reference.any())
    expected = slow.weighted_f(levels / 255, reference)
    assert weighted_f_measure(levels, reference) == pytest.approx(expected, abs=1e-6)


def test_weighted_f_measure_polyps_far_apart_and_at_the_edges():
    reference = np.zeros((60, 80), bool)
    reference[:4, :5] = reference[20:25, 60:] = reference[57:, 30:33] = True
    levels = np.random.default_rng(0).integers(0, 256, reference.shape).astype(np.uint8)
    expected = slow.weighted_f(levels / 255, reference)
    assert weighted_f_measure(levels, reference) == pytest.approx(expected, abs=1e-6)


def test_weighted_f_measure_error_beside_the_polyp_weighs_less():
    reference = np.zeros((30, 30), bool)
    reference[10:15, 10:15] = True
    near, far = np.uint8(255) * reference, np.uint8(255) * reference
    near[12, 16], far[29, 29] = 255, 255
    assert weighted_f_measure(near, reference) > weighted_f_measure(far, reference)


@pytest.mark.parametrize("min_max", [True, False])
def test_one_score_equals_that_of_all(min_max):
    levels, reference = image(5, "narrow")
    scores = saliency_scores(levels, reference, min_max)
    assert s_measure(levels, reference, min_max) == scores.s_measure
    assert weighted_f_measure(levels, reference, min_max) == scores.weighted_f
    assert (e_measure(levels, reference, min_max) == scores.e_measure).all()
    curves = protocol_curves(level_histogram(levels, reference), min_max)
    assert all((getattr(curves, name) == getattr(scores, name)).all() for name in curves._fields)


def test_min_max_turns_a_faint_doubt_into_a_full_false_positive():
    # PraNet issue 64: nothing there, nothing predicted but 2/255 in one pixel
    levels, reference = np.zeros((8, 8), np.uint8), np.zeros((8, 8), bool)
    levels[3, 3] = 2
    assert threshold_curves(level_histogram(levels, reference)).false_positive[3] == 0
    assert threshold_curves(level_histogram(levels, reference), min_max=True).false_positive[255] == 1


@pytest.mark.parametrize("level", [0, 51, 255])
def test_min_max_leaves_a_constant_map_as_it_is(level):
    levels, reference = np.full((6, 6), level, np.uint8), np.zeros((6, 6), bool)
    reference[1:3, 2:4] = True
    stretched, plain = saliency_scores(levels, reference, True), saliency_scores(levels, reference, False)
    for first, second in zip(stretched, plain, strict=True):
        assert np.array_equal(first, second)


def test_s_measure_constant_map_does_not_depend_on_rounding():
    # 1/5 everywhere: by object 1/6·2/5/(1/25+1) + 5/6·8/5/(16/25+1); by region: the quadrants without polyp are
    # equal to themselves (1), those with some have no covariance (0)
    reference = np.zeros((6, 4), bool)
    reference[1:3, 1:3] = True  # centre (1.5, 1.5) rounds to (2, 2): rows 0-2 and columns 0-2 hold all of it
    by_object = 1 / 6 * 2 * 0.2 / 1.04 + 5 / 6 * 2 * 0.8 / 1.64
    by_region = 1 - 9 / 24
    levels = np.full((6, 4), 51, np.uint8)
    assert s_measure(levels, reference) == pytest.approx((by_object + by_region) / 2)


def test_s_measure_polyp_at_the_edge_leaves_out_the_empty_quadrants():
    reference = np.zeros((4, 4), bool)
    reference[:, 3] = True  # centre in the last column: nothing to its right
    assert s_measure(np.uint8(255) * reference, reference) == pytest.approx(1.0)
    assert s_measure(np.uint8(255) * ~reference, reference) == pytest.approx(0.0)


MASKS = {
    "empty": np.zeros((4, 4), bool),
    "full": np.ones((4, 4), bool),
    "partial": np.arange(16).reshape(4, 4) % 4 < 2,
    "pixel": np.arange(16).reshape(4, 4) == 5,
}


@pytest.mark.parametrize("name", ["partial", "pixel"])
def test_saliency_scores_map_equal_to_the_reference_is_perfect(name):
    reference = MASKS[name]
    scores = saliency_scores(np.uint8(255) * reference, reference)
    share = reference.mean()
    assert scores.dice == pytest.approx([2 * share / (1 + share)] + [1] * 255)  # threshold 0 predicts all
    assert scores.e_measure == pytest.approx([0.25 * 16 / 15] + [16 / 15] * 255)
    assert (scores.s_measure, scores.weighted_f, scores.mean_absolute_error) == pytest.approx((1, 1, 0))


# by object: the background alone, 1 - share. By region: partial (columns 0, 1) is split after column 0, half rounded to
# even; its left quadrants are all polyp under a constant map, which the formula calls equal (1), the right ones hold
# some polyp (0): 1/4. The pixel (1, 1) is in the upper left quadrant of 4 pixels (0), the others are right (1): 3/4.
@pytest.mark.parametrize(("name", "structure"), [("partial", (1 / 2 + 1 / 4) / 2), ("pixel", (15 / 16 + 3 / 4) / 2)])
def test_saliency_scores_black_map_finds_nothing(name, structure):
    scores = saliency_scores(np.zeros((4, 4), np.uint8), MASKS[name])
    assert (scores.dice[1:] == 0).all()
    assert scores.e_measure[1:] == pytest.approx([0.25 * 16 / 15] * 255)
    assert scores.mean_absolute_error == MASKS[name].mean()
    assert scores.s_measure == pytest.approx(structure)


def test_weighted_f_measure_black_map_finds_nothing_but_at_the_edge():
    reference = np.zeros((20, 20), bool)
    reference[8:12, 8:12] = True  # further from the edge than half the window
    assert weighted_f_measure(np.zeros((20, 20), np.uint8), reference) == pytest.approx(0, abs=1e-9)
    assert weighted_f_measure(np.zeros((4, 4), np.uint8), MASKS["pixel"]) == pytest.approx(0.78, abs=0.01)


def test_weighted_f_measure_repeats_to_the_last_digit():
    # OpenCV's distance transform rounds differently from one place in memory to another
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :50]
    reference, levels = np.hypot(rows - 18, columns - 24) < 11, rng.integers(1, 256, (40, 50)).astype(np.uint8)
    kept, scores = [], set()
    for size in rng.integers(1, 5000, 200):
        kept.append(np.zeros(size))
        scores.add(weighted_f_measure(levels, reference))
    assert len(scores) == 1


@pytest.mark.parametrize("value", [0, 51, 255])
def test_saliency_scores_empty_reference(value):
    scores = saliency_scores(np.full((4, 4), value, np.uint8), MASKS["empty"])
    share = value / 255
    assert (scores.dice == 0).all()
    assert (scores.iou == 0).all()
    assert scores.weighted_f == 0
    assert scores.s_measure == pytest.approx(1 - share)
    assert scores.mean_absolute_error == pytest.approx(share)
    assert scores.e_measure == pytest.approx([0.0] * (value + 1) + [16 / 15] * (255 - value))


@pytest.mark.parametrize("value", [0, 51, 255])
def test_saliency_scores_full_reference(value):
    scores = saliency_scores(np.full((4, 4), value, np.uint8), MASKS["full"])
    share = value / 255
    assert scores.dice == pytest.approx([1.0] * (value + 1) + [0.0] * (255 - value))
    assert scores.s_measure == pytest.approx(share)
    assert scores.mean_absolute_error == pytest.approx(1 - share)
    assert scores.e_measure == pytest.approx([16 / 15] * (value + 1) + [0.0] * (255 - value))
    # the window reaches beyond the image, where it finds no error: the inner error is spread thin at the edges
    assert share - 1e-9 <= scores.weighted_f <= 1


def test_saliency_scores_image_of_one_pixel():
    for value, polyp in [(0, False), (255, True)]:
        scores = saliency_scores(np.array([[value]], np.uint8), np.array([[polyp]]))
        assert scores.s_measure == 1
        assert all(math.isfinite(score) for score in scores[3:])


@pytest.mark.parametrize("score", [saliency_scores, s_measure, e_measure, weighted_f_measure])
def test_saliency_float_map_is_refused(score):
    with pytest.raises(DataError, match=r"levels: expected \(H, W\) uint8, found"):
        score(np.zeros((2, 2), np.float32), np.zeros((2, 2), bool))
