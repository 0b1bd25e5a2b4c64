"""What is kept with a model: it is found, it can be replaced and taken out, and the model stays the same model."""

import json

import numpy as np
import onnx
import pytest

from polypseg.errors import ModelError
from polypseg.predict.engines.model_file import read_model_file
from polypseg.predict.kept_calibration import fitting_calibration
from polypseg.predict.predictor import PredictOptions, load
from polypseg.records.calibration import Bound, Calibration
from polypseg.records.digests import model_file_digest
from polypseg.records.recalibration import GRID, Recalibration, load_recalibration
from polypseg.records.stored import store_calibration, store_recalibration, stored_calibration, stored_recalibration
from predict.tiny_model import SIZE, write_tiny_model


def a_calibration(digest, **changes):
    known = {
        "level": 0.2,
        "outer": Bound(family="threshold", value=0.25, risk=0.1, stretch=1.2),
        "model_sha256": digest,
        "threshold": 0.5,
        "num_units": 1,
        "frame_sha256": ("0" * 64,),
        "units": (0,),
        "statistics": {"brightness": (0.5,)},
    }
    return Calibration(**known | changes)


def squared(**changes):
    return Recalibration(method="isotonic", levels=tuple((GRID**2).tolist()), margin=0.25, **changes)


@pytest.fixture
def model(tmp_path):
    return write_tiny_model(tmp_path / "tiny.onnx")


def frame():
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[:, :4, 0], image[:, 4:8, 0] = 255, 77  # probabilities of 1 and of 0.302
    return image


def test_an_exported_file_keeps_a_calibration_and_is_the_same_model(model):
    before, digest = model.read_bytes(), model_file_digest(model)
    assert stored_calibration(model) is None
    store_calibration(model, a_calibration(digest))
    assert stored_calibration(model) == a_calibration(digest)
    assert model_file_digest(model) == digest
    assert model.read_bytes() != before
    onnx.checker.check_model(onnx.load(model))  # no entry stands twice
    read_model_file(model)  # its digest fits
    store_calibration(model, a_calibration(digest, level=0.3))
    assert stored_calibration(model).level == 0.3
    store_calibration(model, None)
    assert model.read_bytes() == before


def test_a_stored_calibration_makes_the_outer_mask_unless_it_is_turned_off(model):
    plain = load(model, "onnxruntime").predict(frame())
    assert plain.outer is None
    store_calibration(model, a_calibration(model_file_digest(model)))
    found = load(model, "onnxruntime").predict(frame())
    assert found.outer.sum() == SIZE * 8  # 0.302 is above 0.25
    np.testing.assert_array_equal(found.mask, plain.mask)
    assert load(model, "onnxruntime", options=PredictOptions(stored=False)).predict(frame()).outer is None


def test_a_stored_calibration_of_other_settings_is_left_out_with_a_reason(model):
    store_calibration(model, a_calibration(model_file_digest(model)))
    predictor = load(model, "onnxruntime", options=PredictOptions(threshold=0.7))
    assert predictor.options.calibration is None
    assert "not used: made with threshold 0.5 (now 0.7)" in fitting_calibration(model, predictor)[1]


def test_a_stored_recalibration_turns_probabilities_and_leaves_the_masks(model):
    plain = load(model, "onnxruntime")
    before = plain.predict(frame())
    store_recalibration(model, squared())
    assert stored_recalibration(model) == squared()
    predictor = load(model, "onnxruntime")
    after = predictor.predict(frame())
    # 77 / 255 lies between the nodes 77/256 and 78/256: close to its square, 0.0912
    assert after.probability[0, 5] == pytest.approx((77 / 255) ** 2, abs=1e-5)
    assert after.probability[0, 0] == 1
    assert after.probability[0, 9] == 0
    assert predictor.threshold == pytest.approx(0.25, abs=1e-7)
    np.testing.assert_array_equal(after.mask, before.mask)
    assert after.doubt == before.doubt
    # a threshold that a user names is one of what the user sees
    named = load(model, "onnxruntime", options=PredictOptions(threshold=0.09)).predict(frame())
    assert named.mask.sum() == SIZE * 8


def test_a_calibration_of_other_probabilities_is_not_used(model):
    store_calibration(model, a_calibration(model_file_digest(model)))
    store_recalibration(model, squared())
    predictor = load(model, "onnxruntime")
    assert predictor.options.calibration is None
    assert "recalibration none (now" in fitting_calibration(model, predictor)[1]


def test_a_copy_gets_the_recalibration_and_the_file_stays(model, tmp_path):
    before = model.read_bytes()
    copy = store_recalibration(model, squared(), tmp_path / "copy.onnx")
    assert model.read_bytes() == before
    assert stored_recalibration(copy) == squared()
    assert model_file_digest(copy) == model_file_digest(model)


def test_a_run_keeps_both_as_files(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    store_calibration(run, a_calibration("a" * 64))
    store_recalibration(run, squared(model_sha256="a" * 64))
    assert stored_calibration(run) == a_calibration("a" * 64)
    assert load_recalibration(run, "a" * 64).method == "isotonic"
    with pytest.raises(
        ModelError, match=r"made for an earlier checkpoint .*; make it again with: polypseg recalibrate"
    ):
        load_recalibration(run, "b" * 64)
    store_recalibration(run, None)
    assert load_recalibration(run, "b" * 64) is None


def test_what_cannot_keep_anything_is_refused(tmp_path, model):
    (tmp_path / "model.keras").write_bytes(b"zip")
    with pytest.raises(
        ModelError, match=r"nothing can be stored in it; expected a run folder or an exported \.onnx file"
    ):
        store_calibration(tmp_path / "model.keras", None)
    damaged = bytearray(model.read_bytes())
    damaged[30] ^= 1
    model.write_bytes(damaged)
    with pytest.raises(ModelError, match="damaged, or not exported by polypseg"):
        store_recalibration(model, squared())
    assert model.read_bytes() == bytes(damaged)


def test_a_damaged_stored_value_is_told_in_one_line(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "calibration.json").write_text("{}")
    with pytest.raises(ModelError, match="not a calibration, or a damaged one"):
        stored_calibration(run)
    levels = squared().model_dump(mode="json") | {"levels": [0.0] * 257}
    (run / "recalibration.json").write_text(json.dumps(levels))
    with pytest.raises(ModelError, match="the levels do not rise from 0 to 1"):
        load_recalibration(run, "a" * 64)
