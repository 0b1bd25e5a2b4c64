"""Outer and inner masks of a video: drawn as of an image, in the table, and only of frames as they are."""

import csv

import numpy as np
import pytest

from polypseg.errors import UsageError
from polypseg.overlay import DOUBTFUL
from polypseg.predict.nested import doubtful_band
from polypseg.predict.prediction import Prediction
from polypseg.predict.video.options import VideoOptions
from polypseg.predict.video.work import draw_mask, predict_video
from polypseg.preprocess import whole_frame
from polypseg.records.calibration import Bound
from predict.video_making import red_predictor, write_video
from records.test_stored import a_calibration

pytest.importorskip("av", reason='pip install "polypseg[video]"')


@pytest.fixture
def source(tmp_path):
    """Four frames: a sure square of 16 pixels, and beside it one of 0.39."""
    image = np.zeros((64, 96, 3), np.uint8)
    image[8:24, 8:24, 0], image[8:24, 24:40, 0] = 250, 100
    return write_video(tmp_path / "film.mp4", [image] * 4)


def calibrated():
    inner = Bound(family="threshold", value=0.99, risk=0.1, stretch=1)
    return red_predictor(calibration=a_calibration("a" * 64, inner=inner))


def test_the_table_has_the_areas_of_both(tmp_path, source):
    summary = predict_video(source, tmp_path / "out.mp4", calibrated())
    with summary.table.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    # the mask is the square of 256 pixels, the outer mask also the one of 0.39; give or take what the codec blurs
    assert float(rows[1]["area_px"]) == pytest.approx(256, abs=40)
    assert float(rows[1]["outer_area_px"]) == pytest.approx(512, abs=60)
    assert float(rows[1]["inner_area_px"]) < 256
    plain = predict_video(source, tmp_path / "plain.mp4", red_predictor())
    with plain.table.open(newline="") as opened:
        assert {row["outer_area_px"] for row in csv.DictReader(opened)} == {"nan"}


@pytest.mark.parametrize("view", ["overlay", "contour"])
def test_the_band_is_drawn_as_that_of_an_image(view):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (90, 240, 3), np.uint8)
    mask, outer = np.zeros((2, 90, 240), bool)
    mask[20:40, 100:140], outer[10:60, 90:160] = True, True
    found = Prediction(image, mask.astype(np.float32), mask, 0.5, 0.0, whole_frame(mask.shape), outer=outer, inner=mask)
    drawn = draw_mask(image, mask, view, band=found.band)
    if view == "overlay":
        np.testing.assert_array_equal(drawn, found.overlay())
    else:
        yellow = (drawn == DOUBTFUL).all(axis=-1)
        assert yellow[10, 90:160].all()
        assert not yellow[mask].any()
    np.testing.assert_array_equal(drawn[:5], image[:5])
    assert doubtful_band(mask, None, None) is None
    np.testing.assert_array_equal(doubtful_band(mask, outer, None), outer & ~mask)
    np.testing.assert_array_equal(doubtful_band(mask, None, mask & ~mask), mask)


def test_smoothed_frames_have_no_promise(tmp_path, source):
    with pytest.raises(UsageError, match="smoothing window: a calibration holds for frames as they are"):
        predict_video(source, tmp_path / "out.mp4", calibrated(), VideoOptions(smoothing="window"))
