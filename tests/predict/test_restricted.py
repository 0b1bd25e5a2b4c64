"""A model in a process of its own, on fewer instructions."""

import numpy as np
import pytest

from polypseg.errors import ModelError
from polypseg.machine import onednn_instruction_set
from polypseg.predict.engines.restricted import RestrictedEngine, engine_label
from predict.tiny_model import SIZE, write_tiny_model

pytest.importorskip("openvino")


def test_batches_are_answered_one_after_another_with_attention_and_without(tmp_path):
    batch = np.random.default_rng(0).random((3, SIZE, SIZE, 3), np.float32)
    with RestrictedEngine(write_tiny_model(tmp_path / "tiny.onnx", threshold=0.25)) as engine:
        assert (engine.name, engine.size, engine.threshold) == ("openvino on AVX2", SIZE, 0.25)
        np.testing.assert_allclose(engine.run(batch), batch[..., :1], atol=1e-6)
        found = engine.run_with_attention(batch[:1])
        np.testing.assert_allclose(found.probabilities, batch[:1, ..., :1], atol=1e-6)
        np.testing.assert_allclose(found.attention[1], batch[:1, ::2, ::2, 1], atol=1e-6)
    assert engine._process.returncode == 0


def test_a_process_that_ended_is_told(tmp_path):
    with RestrictedEngine(write_tiny_model(tmp_path / "tiny.onnx")) as engine:
        engine._process.kill()
        engine._process.wait()
        with pytest.raises(ModelError, match=r"tiny\.onnx: openvino on AVX2 ended before it answered"):
            engine.run(np.zeros((1, SIZE, SIZE, 3), np.float32))


def test_labels_name_the_instruction_set_that_an_engine_has(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    if onednn_instruction_set() != "AVX2":
        pytest.skip("not an x86 processor with AVX2")
    assert engine_label("openvino") == "openvino on AVX2"
    assert engine_label("onnxruntime").startswith("onnxruntime on ")
    assert engine_label("keras") == "keras"
