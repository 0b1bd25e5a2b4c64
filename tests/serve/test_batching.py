import threading

import numpy as np
import pytest

from polypseg.errors import ModelRunError, RequestError
from polypseg.serve.batching import BatchedEngine, Batcher
from serve.models import SIZE, GatedEngine
from serve.running import wait_until


def image(value):
    return np.full((1, SIZE, SIZE, 3), value, np.float32)


@pytest.fixture
def engine():
    """An engine whose first run is over, so that the next waits for the gate."""
    made = GatedEngine()
    made.run(image(0))
    return made


@pytest.fixture
def batcher(engine):
    made = Batcher([engine], batch_size=3)
    yield made
    engine.gate.set()
    made.close()


def begin(batcher, engine):
    """A run that holds the engine until the gate opens."""
    first = batcher.submit(image(1.0))
    assert wait_until(first.running)
    return first


def test_what_waits_runs_together_up_to_the_batch_size(batcher, engine):
    runs = [begin(batcher, engine), *(batcher.submit(image(value)) for value in (0.1, 0.2, 0.3, 0.4))]
    engine.gate.set()
    found = [float(run.result(10).outputs.probabilities[0, 0, 0, 0]) for run in runs]
    np.testing.assert_allclose(found, [1.0, 0.1, 0.2, 0.3, 0.4])
    assert engine.batches == [1, 1, 3, 1]  # the fixture's, the one that held the engine, three at once, the rest


def test_different_ways_do_not_run_together(batcher, engine):
    runs = [begin(batcher, engine), batcher.submit(image(0.1)), batcher.submit(image(0.2), "flips")]
    engine.gate.set()
    assert [run.result(10).outputs.probabilities.shape for run in runs] == [(1, SIZE, SIZE, 1)] * 3
    assert engine.batches == [1, 1, 1, 1, 1, 1, 1]  # flips takes four runs


def test_cancelled_ones_are_passed_over(batcher, engine):
    first, second, third = begin(batcher, engine), batcher.submit(image(0.1)), batcher.submit(image(0.2))
    assert second.cancel()
    engine.gate.set()
    assert float(third.result(10).outputs.probabilities.max()) == pytest.approx(0.2)
    assert first.done()
    assert engine.batches == [1, 1, 1]


def test_an_error_reaches_its_callers_and_the_thread_lives(batcher, engine):
    engine.gate.set()
    with pytest.raises(ModelRunError):
        batcher.submit(image(0.1), attention=True).result(10)  # this engine has no run_with_attention
    assert batcher.submit(image(0.3)).result(10).seconds >= 0


def test_close_finishes_what_waits_and_refuses_more(engine):
    batcher = Batcher([engine], 2)
    runs = [begin(batcher, engine), batcher.submit(image(0.1)), batcher.submit(image(0.2))]
    threading.Timer(0.05, engine.gate.set).start()
    batcher.close()
    assert all(run.done() for run in runs)
    with pytest.raises(RequestError, match="shutting down"):
        batcher.submit(image(0))


def test_batches_are_observed(engine):
    seen = []
    engine.gate.set()
    batcher = Batcher([engine], 2, lambda size, seconds: seen.append(size))
    batcher.submit(image(0)).result(10)
    batcher.close()
    assert seen == [1]


def test_batched_engine_equals_the_engine(engine, batcher):
    engine.gate.set()
    through = BatchedEngine(engine, batcher)
    batch = np.random.default_rng(0).random((3, SIZE, SIZE, 3), np.float32)
    np.testing.assert_array_equal(through.run(batch), engine.run(batch))
    assert (through.size, through.threshold, through.facts.name) == (SIZE, 0.5, "gated")


def test_batched_engine_gives_attention(red_model):
    from polypseg.predict.engines.opening import open_engine

    real = open_engine(red_model, "onnxruntime")
    own = Batcher([real], 4)
    batch = np.random.default_rng(0).random((3, SIZE, SIZE, 3), np.float32)
    found, expected = BatchedEngine(real, own).run_with_attention(batch), real.run_with_attention(batch)
    own.close()
    assert set(found.attention) == {1, 2}
    for level, values in expected.attention.items():
        np.testing.assert_array_equal(found.attention[level], values)


def test_several_engines_run_at_once():
    engines = [GatedEngine(), GatedEngine()]
    for engine in engines:
        engine.run(image(0))
    batcher = Batcher(engines, 1)
    runs = [batcher.submit(image(value)) for value in (0.1, 0.2, 0.3)]
    assert wait_until(lambda: runs[0].running() and runs[1].running())
    assert not runs[2].running()
    for engine in engines:
        engine.gate.set()
    assert [round(float(run.result(10).outputs.probabilities.max()), 1) for run in runs] == [0.1, 0.2, 0.3]
    batcher.close()
    assert sum(len(engine.batches) for engine in engines) == 5
