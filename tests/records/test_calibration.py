"""The file of a calibration: what comes back, and what is refused."""

import json

import pytest

from polypseg.errors import ModelError
from polypseg.records.calibration import Bound, Calibration, load_calibration, save_calibration

CONDITIONS = {"threshold": 0.5, "peak_threshold": 0.0, "field": "whole", "tta": "none", "min_area_px": 0}
CONDITIONS |= {"recalibration": ""}


def a_calibration(**changes):
    return Calibration(
        **{
            "level": 0.1,
            "outer": Bound(family="threshold", value=0.2, risk=0.05, stretch=1.5),
            "model": "tiny",
            "model_sha256": "a" * 64,
            "threshold": 0.5,
            "num_units": 2,
            "frame_sha256": ("b" * 64, "c" * 64, "d" * 64),
            "units": (0, 1, 1),
            "statistics": {"brightness": (0.1, 0.2, 0.3)},
            **changes,
        }
    )


def test_what_is_written_comes_back(tmp_path):
    path = tmp_path / "c.json"
    for each in (
        a_calibration(),
        a_calibration(confidence=0.9, inner=Bound(family="dilation", value=0, risk=0, stretch=1)),
    ):
        save_calibration(path, each)
        assert load_calibration(path) == each


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("level", 1.5, "level"),
        ("level", "0.1", "level"),
        ("outer", None, "neither an outer nor an inner"),
        ("outer", {"family": "magic", "value": 1, "risk": 0, "stretch": 1}, "family"),
        ("units", [0, 1], "expected one of each"),
        ("units", [0, 2, 2], "units of the frames"),
        ("statistics", {"brightness": [1.0]}, "expected one of each"),
        ("model_sha256", "abc", "model_sha256"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, key, value, reason):
    path = tmp_path / "c.json"
    content = a_calibration().model_dump(mode="json") | {key: value}
    path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=f"not a calibration, or a damaged one .*{reason}.*make one with") as caught:
        load_calibration(path)
    assert "\n" not in str(caught.value)


def test_another_model_and_other_settings_are_refused():
    known = a_calibration()
    known.refuse_other("c.json", "a" * 64, CONDITIONS)
    with pytest.raises(
        ModelError, match=r"c\.json: made for another model \(tiny, digest aaaaaaaaaaaa\).* bbbbbbbbbbbb"
    ):
        known.refuse_other("c.json", "b" * 64, CONDITIONS)
    with pytest.raises(
        ModelError, match=r"made with other settings: threshold 0\.5 \(now 0\.7\), tta none \(now flips\)"
    ):
        known.refuse_other("c.json", "a" * 64, {**CONDITIONS, "threshold": 0.7, "tta": "flips"})


def test_the_promise_in_words():
    assert a_calibration().promise == (
        "the outer mask misses at most 10 % of a polyp's pixels, on average over new frames of the same kind"
    )
    both = a_calibration(confidence=0.9, inner=Bound(family="threshold", value=0.9, risk=0, stretch=1))
    assert "; at most 10 % of the inner mask is no polyp, with a confidence of 90 %" in both.promise
