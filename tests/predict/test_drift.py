"""Whether frames are of the calibration's kind: numbers by hand, alarms as rare as they should be."""

import numpy as np
import pytest

from polypseg.predict.drift import STATISTICS, drift_of, frame_statistics
from polypseg.records.calibration import Bound, Calibration


def calibration(statistics, units):
    return Calibration(
        level=0.1,
        outer=Bound(family="threshold", value=0.2, risk=0.05, stretch=1.5),
        model_sha256="a" * 64,
        threshold=0.5,
        num_units=int(max(units)) + 1,
        frame_sha256=tuple("b" * 64 for _ in units),
        units=tuple(map(int, units)),
        statistics={name: tuple(map(float, values)) for name, values in statistics.items()},
    )


def test_statistics_of_a_frame_by_hand():
    pixels = np.zeros((256, 256, 3), np.float32)
    pixels[...] = (0.8, 0.2, 0.0)  # of one colour
    probability = np.zeros((256, 256), np.float32)
    probability[:64, :128], probability[64:128, :128] = 0.95, 0.5
    found = frame_statistics(pixels, probability, 0.0625)
    assert found["brightness"] == pytest.approx(0.299 * 0.8 + 0.587 * 0.2, abs=1e-6)
    assert (found["contrast"], found["sharpness"]) == (0, 0)
    assert found["redness"] == pytest.approx(0.8)
    assert found["largest probability"] == pytest.approx(0.95)
    assert found["area share"] == 0.0625
    assert found["softness"] == pytest.approx(0.5)  # half of what reaches 0.1 does not reach 0.9
    assert tuple(found) == STATISTICS


def test_sharpness_and_contrast_by_hand():
    """Stripes of two pixels, of the side to which a frame is brought: 0, 0, 1, 1, …"""
    row = np.tile(np.array([0, 0, 1, 1], np.float32), 32)
    pixels = np.repeat(np.tile(row, (128, 1))[..., np.newaxis], 3, axis=2)
    found = frame_statistics(pixels, np.zeros((128, 128), np.float32), 0.0)
    assert found["brightness"] == pytest.approx(0.5)
    assert found["contrast"] == pytest.approx(0.5)
    # inside the Laplacian is 1 beside a light stripe and -1 beside a dark one; the two columns at the edges, where the
    # frame is mirrored (…, 0, 0 | 0 …: left + right - 2 · own = 0 + 0 - 0), have 0: 126 of 128 columns have 1 or -1
    assert found["sharpness"] == pytest.approx((126 / 128) ** 0.5 / 0.5, abs=1e-6)


def test_a_black_frame_has_statistics_too():
    found = frame_statistics(np.zeros((64, 64, 3), np.float32), np.zeros((64, 64), np.float32), 0.0)
    assert set(found.values()) == {0.0}


def test_frames_of_another_kind_are_told_and_their_own_are_not():
    rng = np.random.default_rng(3)
    units = list(np.repeat(np.arange(40), 5))
    values = rng.normal(0, 1, 200)
    known = calibration({"brightness": values, "contrast": rng.normal(0, 1, 200)}, units)
    same = {"brightness": rng.normal(0, 1, 50), "contrast": rng.normal(0, 1, 50)}
    assert drift_of(known, same).warning == ""
    other = {**same, "brightness": rng.normal(2, 1, 50)}
    found = drift_of(known, other)
    assert found.strange == ["brightness"]
    assert "differ from the calibration frames in brightness (distance 0." in found.warning
    assert drift_of(known, other) == found  # nothing is left to chance


def test_the_distance_by_hand():
    known = calibration({"brightness": [1, 2, 3, 4]}, [0, 1, 2, 3])
    # of the new frames all lie above 3, of the old ones a quarter: at 3 the shares are 0 and 3/4
    assert drift_of(known, {"brightness": [3.5, 3.6]}).distances["brightness"] == pytest.approx(0.75)


def test_frames_that_are_alike_within_a_unit_give_no_false_alarm():
    """Each unit has a brightness of its own: taken for independent frames, nearly every draw would look strange."""
    rng = np.random.default_rng(0)
    alarms = 0
    for seed in range(40):
        centres = rng.normal(0, 1, 60)
        units = list(np.repeat(np.arange(30), 20))
        old = np.repeat(centres[:30], 20) + rng.normal(0, 0.1, 600)
        new = np.repeat(centres[30:40], 20) + rng.normal(0, 0.1, 200)
        alarms += bool(drift_of(calibration({"brightness": old}, units), {"brightness": new}, seed).strange)
    # 5 % of 40 are 2; 8 or more have a chance below 0.001 (binomial)
    assert alarms < 8


def test_nothing_to_compare_is_no_warning():
    known = calibration({"brightness": [1, 2]}, [0, 1])
    assert drift_of(known, {}).warning == ""
    assert drift_of(known, {"another": [1.0]}).warning == ""
