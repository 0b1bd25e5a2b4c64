"""Nested masks: each family by hand, and always inner ⊆ mask ⊆ outer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from polypseg.predict.nested import FAMILIES, entry_steps, nested_mask, steps_of
from polypseg.records.calibration import Bound

ROW = np.array([[0.05, 0.3, 0.6, 0.9]], np.float32)


def bound(family, value):
    return Bound(family=family, value=value, risk=0.0, stretch=1.0)


def test_the_steps_of_thresholds_by_hand():
    values = np.array([0.5, 0.2, 0.1])
    # 0.05 enters with the whole frame (step 3), 0.3 at 0.2 (step 1), the mask at once
    assert entry_steps("threshold", "outer", values, ROW, ROW >= 0.5).tolist() == [[3, 1, 0, 0]]
    # 0.6 leaves at 0.7 (step 1), 0.9 with all (step 3); what is not in the mask has left at the start
    assert entry_steps("threshold", "inner", np.array([0.5, 0.7, 0.8]), ROW, ROW >= 0.5).tolist() == [[0, 0, 1, 3]]


def test_the_steps_of_margins_by_hand():
    mask = np.zeros((5, 6), bool)
    mask[1:3, 1:3] = True  # area 4: a margin of 1 is 2 pixels
    values = np.array([0.0, 0.5, 0.75, 1.0])
    steps = entry_steps("dilation", "outer", values, mask.astype(np.float32), mask)
    # row 1: beside the mask 1 px (0.5), then 2 px (1.0), then 3 px (whole frame)
    assert steps[1].tolist() == [1, 0, 0, 1, 3, 4]
    assert steps[0, 0] == 2  # the corner: sqrt(2) / 2 = 0.707
    deep = np.zeros((5, 5), bool)
    deep[:, :3] = True  # touches three edges of the frame; area 15, root 3.873
    inner = entry_steps("dilation", "inner", np.array([0.0, 0.3, 0.6]), deep.astype(np.float32), deep)
    # 1 px from the background: 0.258 -> leaves at 0.3; 2 px: 0.516 -> at 0.6; 3 px: 0.775 -> with all
    assert inner[2].tolist() == [3, 2, 1, 0, 0]
    assert inner[0].tolist() == inner[2].tolist()


@pytest.mark.parametrize("edge", [0, 9], ids=["at the frame's edge", "within the frame"])
@pytest.mark.parametrize("value", [0.0, 0.1, 0.5, 2.0])
def test_a_margin_in_a_large_frame_is_measured_to_the_nearest_pixel(edge, value):
    """Against the distance of every pixel from every other, worked out one by one."""
    mask = np.zeros((40, 50), bool)
    mask[edge : edge + 6, edge : edge + 8], mask[edge + 3, edge + 12] = True, True
    rows, columns = np.indices(mask.shape)

    def nearest(pixels):
        places = np.argwhere(pixels)
        return np.sqrt(((rows[..., None] - places[:, 0]) ** 2 + (columns[..., None] - places[:, 1]) ** 2).min(axis=2))

    reach = value * 49**0.5  # 6 · 8 and one pixel
    outer = nested_mask(bound("dilation", value), "outer", mask.astype(np.float32), mask)
    np.testing.assert_array_equal(outer, nearest(mask) <= reach + 1e-6)
    inner = nested_mask(bound("dilation", value), "inner", mask.astype(np.float32), mask)
    np.testing.assert_array_equal(inner, nearest(~mask) > reach + 1e-6)


def test_an_empty_mask_grows_by_no_margin():
    nothing = np.zeros((3, 4), bool)
    assert not nested_mask(bound("dilation", 2.0), "outer", nothing.astype(np.float32), nothing).any()
    assert (entry_steps("dilation", "outer", np.array([0.0, 2.0]), nothing.astype(np.float32), nothing) == 2).all()
    full = ~nothing
    assert nested_mask(bound("dilation", 2.0), "inner", full.astype(np.float32), full).all()


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.98, 1.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_steps_begin_with_the_mask_and_go_one_way(family, threshold):
    outer, inner = steps_of(family, "outer", threshold), steps_of(family, "inner", threshold)
    start = threshold if family == "threshold" else 0
    assert outer[0] == inner[0] == start
    assert np.isfinite(outer).all()
    assert np.isfinite(inner).all()
    if 0.01 < threshold < 0.99:
        sign = -1 if family == "threshold" else 1
        assert (sign * np.diff(outer) > 0).all()
        assert (np.diff(inner) > 0).all()


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(np.float32, (6, 7), elements=st.floats(0, 1, width=32)),
    st.sampled_from(FAMILIES),
    st.integers(0, 200),
)
def test_a_mask_of_a_step_is_the_mask_of_its_value(probability, family, step):
    mask = probability >= np.float32(0.5)
    for side in ("outer", "inner"):
        values = steps_of(family, side, 0.5)
        steps = entry_steps(family, side, values, probability, mask)
        found = nested_mask(bound(family, float(values[step])), side, probability, mask)
        if side == "outer":
            np.testing.assert_array_equal(found, steps <= step)
            assert (found | mask).sum() == found.sum()
        else:
            np.testing.assert_array_equal(found, steps > step)
            assert not (found & ~mask).any()
