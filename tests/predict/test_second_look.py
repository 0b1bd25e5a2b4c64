"""The second look at close calls: which images are ones, and what is done with them."""

from types import SimpleNamespace

import numpy as np
import pytest

from export.integer_graph import SIZE, integer_graph, weights_of
from polypseg.export.exported import write_in_float
from polypseg.predict.engines.engine import Outputs
from polypseg.predict.engines.model_file import write_model_file
from polypseg.predict.engines.opening import open_engine
from polypseg.predict.engines.second_look import SecondLook, is_close_call, shifted, without_second_look
from polypseg.records.model_facts import ModelFacts

SURE = 0.9999


def picture(*regions, side=40):
    """Probabilities: 0, but in regions (top, left, height, width, probability)."""
    values = np.zeros((side, side), np.float32)
    for top, left, height, width, probability in regions:
        values[top : top + height, left : left + width] = probability
    return values


@pytest.mark.parametrize(
    ("peak", "expected"),
    # 0.98 is 3.89 logits; close are 2.19 to 4.59 of them, which is 0.8995 to 0.98997
    [(0.89, False), (0.9, True), (0.97, True), (0.985, True), (0.9895, True), (0.991, False), (SURE, False)],
)
def test_a_region_near_the_peak_threshold_is_a_close_call(peak, expected):
    assert is_close_call(picture((5, 5, 10, 10, peak)), 0.5, 0.98) is expected


def test_only_the_highest_probability_of_a_region_counts():
    assert not is_close_call(picture((5, 5, 10, 10, 0.95), (7, 7, 1, 1, SURE)), 0.5, 0.98)


@pytest.mark.parametrize(("pixels", "expected"), [(4, False), (5, False), (6, True)])
def test_a_region_of_less_than_a_twentieth_of_what_is_marked_is_none(pixels, expected):
    assert is_close_call(picture((5, 5, 10, 10, SURE), (30, 1, 1, pixels, 0.95)), 0.5, 0.98) is expected


@pytest.mark.parametrize(("pixels", "expected"), [(39, False), (40, False), (41, True)])
def test_an_outline_is_a_close_call_by_its_unsure_pixels(pixels, expected):
    # From 0.5 one logit reaches to 0.269 and 0.731; 100 pixels are marked, so that 40 are the most
    values = picture((5, 5, 10, 10, SURE))
    values.ravel()[20 * 40 : 20 * 40 + pixels] = 0.27
    assert is_close_call(values, 0.5, 0.98) is expected
    assert is_close_call(values, 0.5) is expected
    values.ravel()[20 * 40 : 20 * 40 + pixels] = 0.26
    assert not is_close_call(values, 0.5, 0.98)


def test_what_marks_nothing_is_none():
    assert not is_close_call(picture(), 0.5, 0.98)
    assert not is_close_call(picture((5, 5, 10, 10, 0.49)), 0.5, 0.98)
    assert not is_close_call(picture((5, 5, 10, 10, 0.6)), 0.5, 0.98)  # far from the peak threshold: nothing is marked


def test_shifted_by_hand():
    assert shifted(0.98, -1.7) == pytest.approx(0.89951, abs=1e-5)  # 49 e^-1.7 = 8.951 to one
    assert shifted(0.98, 0.7) == pytest.approx(0.98997, abs=1e-5)  # 49 e^0.7 = 98.67 to one
    assert (shifted(0.0, 1.0), shifted(1.0, -1.0)) == (0.0, 1.0)


class Fixed:
    """Gives its probabilities of the images whose first value names them."""

    name, size, threshold = "onnxruntime", 40, 0.5
    facts = SimpleNamespace(peak_threshold=0.98)

    def __init__(self, *answers, gate=0.0):
        self.answers, self.gate, self.seen = np.stack(answers)[..., None], np.float32(gate), []

    def run(self, batch):
        numbers = batch[:, 0, 0, 0].astype(int)
        self.seen.append(numbers.tolist())
        return self.answers[numbers]

    def run_with_attention(self, batch):
        found = self.run(batch)
        return Outputs(found, {1: np.full((len(batch), 2, 2), self.gate, np.float32)})


def numbered(*numbers):
    batch = np.zeros((len(numbers), 40, 40, 3), np.float32)
    batch[:, 0, 0, 0] = numbers
    return batch


@pytest.fixture
def looks():
    sure, unsure = picture((5, 5, 10, 10, SURE)), picture((5, 5, 10, 10, 0.97))
    second = Fixed(picture((1, 1, 2, 2, 0.1)), picture((1, 1, 2, 2, 0.2)), picture((1, 1, 2, 2, 0.3)), gate=0.7)
    opened = []

    def open_second():
        opened.append(second)
        return second

    return SecondLook(Fixed(sure, unsure, sure, gate=0.4), open_second), second, opened


def test_close_calls_alone_are_looked_at_again(looks):
    engine, second, opened = looks
    first = engine.first.answers.copy()
    assert engine.run(numbered(0, 2)).max() == np.float32(SURE)
    assert opened == []
    found = engine.run(numbered(0, 1, 2))
    assert found.max(axis=(1, 2, 3)).tolist() == [np.float32(SURE), np.float32(0.2), np.float32(SURE)]
    engine.run(numbered(1))
    assert second.seen == [[1], [1]]
    assert len(opened) == 1
    assert (engine.num_images, engine.num_again) == (6, 2)
    assert (engine.first.answers == first).all()


def test_attention_is_of_the_look_that_counts(looks):
    engine, _, opened = looks
    found = engine.run_with_attention(numbered(2, 1))
    assert found.probabilities.max(axis=(1, 2, 3)).tolist() == [np.float32(SURE), np.float32(0.2)]
    assert found.attention[1][:, 0, 0].tolist() == [np.float32(0.4), np.float32(0.7)]
    assert len(opened) == 1
    assert engine.run_with_attention(numbered(2)).attention[1].max() == np.float32(0.4)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_file_that_says_so_gives_close_calls_in_float(tmp_path, name):
    pytest.importorskip(name)
    first, second = weights_of(60, seed=3)
    graph = integer_graph(first, (second // 4).astype(np.int8)).SerializeToString()
    batch = np.random.default_rng(5).random((3, SIZE, SIZE, 3), np.float32)

    for file, again in (("once.onnx", False), ("twice.onnx", True)):
        facts = ModelFacts(size=SIZE, name="integers", precision="int8", second_look=again)
        write_model_file(tmp_path / file, graph, facts)
    write_in_float(tmp_path / "twice.onnx", tmp_path / "float.onnx")
    once, twice, in_float = (open_engine(tmp_path / f"{file}.onnx", name) for file in ("once", "twice", "float"))
    assert [isinstance(engine, SecondLook) for engine in (once, twice, in_float)] == [False, True, False]
    assert without_second_look(twice).name == name
    found, expected = once.run(batch), in_float.run(batch)
    assert all(is_close_call(each[..., 0], 0.5) for each in found)  # sums of random weights: all near one half
    assert np.abs(found - expected).max() > 5e-4
    np.testing.assert_allclose(twice.run(batch), expected, atol=1e-6)
    np.testing.assert_allclose(without_second_look(twice).run(batch), found, atol=1e-6)
