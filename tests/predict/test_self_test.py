"""The test of a model file on the machine that opens it."""

import json
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from polypseg.predict.engines import self_test
from polypseg.predict.engines.opening import open_engine
from polypseg.predict.engines.self_test import (
    LEAST_TOLERANCE,
    SelfTestWarning,
    cache_file,
    deviation,
    make_self_test,
    pack,
    unpack,
)
from predict.tiny_model import write_tiny_model

SIDE = 16


class Red:
    """Probability: the red channel plus a shift."""

    def __init__(self, shift=0.0, size=32):
        self.shift, self.size, self.runs = np.float32(shift), size, 0
        self.name, self.facts = "onnxruntime", SimpleNamespace(self_test="")

    def run(self, batch):
        self.runs += 1
        return batch[..., :1] + self.shift


def pictures(count=4):
    generator = np.random.default_rng(0)
    return [generator.integers(0, 200, (SIDE, SIDE, 3)).astype(np.uint8) // (n + 1) for n in range(count)]


def test_deviation_is_the_mean_difference():
    stored = make_self_test([Red()], pictures())
    assert deviation(Red(), stored) == 0
    assert deviation(Red(0.03), stored) == pytest.approx(0.03, abs=1e-6)


def test_liveliest_pictures_are_stored_and_tolerance_is_twice_what_the_proof_saw():
    stored = make_self_test([Red(), Red(0.01)], pictures()[::-1])
    assert stored.pictures.shape == (2, SIDE, SIDE, 3)
    assert stored.pictures.max() > 150  # the brighter of the four
    assert stored.tolerance == pytest.approx(0.02, abs=1e-6)
    assert make_self_test([Red(), Red(1e-5)], pictures()).tolerance == LEAST_TOLERANCE


def test_means_of_blocks_by_hand():
    # Four quarters of one red each, 8 px, enlarged to 32: each quarter's middle blocks keep its red
    picture = np.zeros((1, 8, 8, 3), np.uint8)
    picture[0, :4, :4, 0] = 255
    means = self_test._means(Red(), picture)[0]
    assert means.shape == (16, 16)
    assert means[:5, :5] == pytest.approx(1)
    assert means[11:, :] == pytest.approx(0)


def test_each_runtime_is_compared_with_itself():
    other = Red(0.3)
    other.name = "openvino on AVX2"
    stored = make_self_test([Red(), other], pictures())
    assert stored.tolerance == LEAST_TOLERANCE
    assert deviation(other, stored) == 0
    other.name = "keras"
    assert deviation(other, stored) is None


def test_packed_and_unpacked_is_equal_and_damage_is_none():
    stored = make_self_test([Red()], pictures())
    again = unpack(pack(stored))
    assert (again.pictures == stored.pictures).all()
    assert again.means.keys() == {"onnxruntime"}
    assert (again.means["onnxruntime"] == stored.means["onnxruntime"]).all()
    for damaged in ("", "{", "[]", pack(stored).replace("pictures", "p"), pack(stored)[:200]):
        assert unpack(damaged) is None


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def model(tmp_path, shift):
    """A file whose probability is its red, and which says that it was `shift` more."""
    stored = make_self_test([Red(shift, SIDE)], pictures())
    return write_tiny_model(tmp_path / "tiny.onnx", self_test=pack(stored))


def test_a_file_that_is_as_it_was_opens_without_a_word_and_is_tested_once(tmp_path, monkeypatch):
    path = model(tmp_path, 0.0)
    open_engine(path, "onnxruntime")
    (value,) = json.loads(cache_file().read_text()).values()
    assert value < 1e-6
    monkeypatch.setattr(self_test, "deviation", lambda *_: pytest.fail("tested twice"))
    open_engine(path, "onnxruntime")


def test_a_file_that_differs_here_warns_every_time(tmp_path):
    path = model(tmp_path, 0.05)
    for _ in range(2):
        with pytest.warns(SelfTestWarning, match=r"tiny\.onnx: in onnxruntime on this processor .* differ by 0\.050"):
            open_engine(path, "onnxruntime")


def test_another_file_processor_or_engine_is_tested_anew(tmp_path, monkeypatch):
    open_engine(model(tmp_path, 0.0), "onnxruntime")
    monkeypatch.setattr(self_test, "processor", lambda: "another")
    open_engine(tmp_path / "tiny.onnx", "onnxruntime")
    open_engine(model(tmp_path, 0.001), "onnxruntime")
    assert len(json.loads(cache_file().read_text())) == 3


def test_a_cache_that_cannot_be_written_or_read_does_not_matter(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    open_engine(model(tmp_path, 0.0), "onnxruntime")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache_file().parent.mkdir(parents=True)
    cache_file().write_text("[1")
    open_engine(tmp_path / "tiny.onnx", "onnxruntime")
    assert len(json.loads(cache_file().read_text())) == 1


def test_a_damaged_or_absent_self_test_is_passed_over(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_engine(write_tiny_model(tmp_path / "none.onnx"), "onnxruntime")
        open_engine(write_tiny_model(tmp_path / "odd.onnx", self_test='{"pictures": 3}'), "onnxruntime")
    assert not cache_file().exists()
