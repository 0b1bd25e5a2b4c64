"""Seconds by stage: a clock that is known tells what percentiles, shares and verdicts must be."""

import itertools
from time import perf_counter

import numpy as np
import pytest

from polypseg.predict.engines.engine import Outputs
from polypseg.predict.predictor import PredictOptions, Predictor, load
from polypseg.predict.timing import (
    AROUND,
    STAGES,
    Percentiles,
    Timings,
    percentiles,
    stages_of,
    time_runs,
    verdicts,
)
from polypseg.records.model_facts import ModelFacts
from predict.tiny_model import write_picture, write_tiny_model


class RedEngine:
    """Says the red of each pixel, and keeps what it was asked."""

    name, size, threshold, facts = "red", 16, 0.5, ModelFacts(size=16)

    def __init__(self):
        self.batches = []

    def run(self, batch):
        self.batches.append(batch)
        return batch[..., :1]

    def run_with_attention(self, batch):
        return Outputs(self.run(batch), {})


def clock_of(durations):
    """A clock that stands while nothing is measured: each stage takes the next of the durations."""
    now = 0.0
    for run in itertools.batched(durations, len(STAGES)) if hasattr(itertools, "batched") else _sixes(durations):
        yield now
        for duration in run:
            now += duration
            yield now


def _sixes(durations):
    return [durations[n : n + len(STAGES)] for n in range(0, len(durations), len(STAGES))]


@pytest.fixture
def red_and_black(tmp_path):
    return [write_picture(tmp_path / "red.png", 255), write_picture(tmp_path / "black.png", 0)]


def test_percentiles_are_interpolated():
    # 101 values from 0 to 100 ms: the p-th percentile is p ms
    assert percentiles([n / 1000 for n in range(101)]) == (50, 95, 99)
    # between 10 and 20 ms, at 0.5, 0.95 and 0.99 of the way
    assert percentiles([0.020, 0.010]) == pytest.approx((15, 19.5, 19.9))
    assert percentiles([0.007]) == (7, 7, 7)


@pytest.mark.parametrize(
    ("p50", "p95", "answers"),
    [
        (10, 40, ["reached", "reached"]),  # a limit itself is kept
        (40, 40.1, ["at the median only", "reached"]),
        (41, 121, ["missed", "at the median only"]),
        (121, 130, ["missed", "missed"]),
    ],
)
def test_verdicts(p50, p95, answers):
    found = verdicts(Percentiles(p50, p95, 1000))
    assert [(verdict.limit_ms, verdict.answer) for verdict in found] == list(zip((40, 120), answers, strict=True))


def test_shares_and_rate_of_all_runs():
    # two runs of 4 images: 1+2+3+10+3+1 = 20 s, and 1+4+1+10+3+1 = 20 s
    seconds = dict(zip(STAGES, ([1, 1], [2, 4], [3, 1], [10, 10], [3, 3], [1, 1]), strict=True))
    timings = Timings(4, seconds)
    assert timings.end_to_end == [20, 20]
    assert timings.images_per_second == 8 / 40
    assert timings.share("infer") == 20 / 40
    assert AROUND == ("decode", "resize", "resize back")
    assert timings.share_around == pytest.approx((6 + 4 + 6) / 40)


def test_each_stage_gets_its_own_seconds_and_warm_up_none(red_and_black):
    durations = [9] * 6 + [1, 2, 3, 4, 5, 6] + [2, 4, 6, 8, 10, 12]
    engine = RedEngine()
    timings = time_runs(Predictor(engine), red_and_black, 2, warm_up=1, clock=clock_of(durations).__next__)
    assert timings.seconds == dict(zip(STAGES, ([1, 2], [2, 4], [3, 6], [4, 8], [5, 10], [6, 12]), strict=True))
    assert timings.batch_size == 1
    # the images in turn, warm-up included
    assert [batch.mean() > 0 for batch in engine.batches] == [True, False, True]


def test_a_batch_is_one_run_and_goes_round_the_images(red_and_black):
    engine = RedEngine()
    timings = time_runs(Predictor(engine), red_and_black, 2, batch_size=3, clock=itertools.count().__next__)
    assert [[image.mean() > 0 for image in batch] for batch in engine.batches] == [[1, 0, 1], [0, 1, 0]]
    assert timings.end_to_end == [6, 6]  # a tick a stage
    assert timings.images_per_second == 6 / 12


def test_the_stages_make_the_predictors_mask(tmp_path):
    model = write_tiny_model(tmp_path / "tiny.onnx", threshold=0.3, peak_threshold=0.6)
    image = np.random.default_rng(0).integers(0, 256, (40, 50))
    paths = [
        write_picture(tmp_path / "a.png", 200, 40, 50, (4, 4, 9, 30)),
        write_picture(tmp_path / "b.png", image, 40, 50),
    ]
    predictor = load(model, "onnxruntime", options=PredictOptions(min_area_px=9))
    _, masks = stages_of(predictor, paths, perf_counter)
    for path, mask in zip(paths, masks, strict=True):
        expected = predictor.predict_file(path).mask
        assert 0 < expected.mean() < 1
        np.testing.assert_array_equal(mask, expected)
