import json

import numpy as np
import pytest

from polypseg.errors import MissingExtraError
from polypseg.export import targets
from polypseg.export.onnx import ExportOptions, export_model
from polypseg.export.targets import LiteRtModel, check_installed
from polypseg.predict.engines.opening import open_engine


def noise(*shape):
    return np.random.default_rng(3).random(shape, np.float32)


def test_openvino_ir_is_proved_and_carries_its_facts(unet_file, tmp_path):
    openvino = pytest.importorskip("openvino")
    exported = export_model(unet_file, tmp_path / "small.xml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.bin", "small.xml"]
    assert exported.facts.proved_on == "8 synthetic and 0 named images, in openvino"
    assert exported.num_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    model = openvino.Core().read_model(tmp_path / "small.xml")
    assert model.get_rt_info(["polypseg", "size"]).astype(str) == "32"
    image = noise(2, 32, 32, 3)
    given = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(image)["probability"]
    np.testing.assert_allclose(given, open_engine(unet_file).run(image), atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_litert_is_proved_and_has_its_facts_beside_it(unet_file, tmp_path, precision):
    exported = export_model(unet_file, tmp_path / "small.tflite", ExportOptions(precision))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.json", "small.tflite"]
    facts = json.loads((tmp_path / "small.json").read_text())
    assert (facts["size"], facts["precision"], facts["opset"]) == (32, precision, None)
    image = noise(2, 32, 32, 3)
    given = LiteRtModel(exported.path.read_bytes(), exported.facts).run(image)
    tolerance = 1e-4 if precision == "fp32" else 1e-2
    np.testing.assert_allclose(given, open_engine(unet_file).run(image), atol=tolerance)


def test_litert_in_int8_keeps_the_dice(red_run, tmp_path):
    exported = export_model(red_run.folder, tmp_path / "red.tflite", ExportOptions("int8"))
    assert abs(exported.facts.dice_change) <= 0.002
    assert exported.facts.quantised_by == "LiteRT converter, 4 images"
    whole = export_model(red_run.folder, tmp_path / "whole.tflite")
    assert exported.facts.largest_difference > whole.facts.largest_difference


def test_what_is_not_installed_is_one_line(monkeypatch):
    def without(*missing):
        monkeypatch.setattr(targets, "find_spec", lambda name: None if name in missing else object())

    without("openvino")
    check_installed(".onnx")
    with pytest.raises(MissingExtraError, match=r'openvino is not installed.*"polypseg\[openvino\]"'):
        check_installed(".xml")
    without("tf2onnx")
    with pytest.raises(MissingExtraError, match=r'tf2onnx is not installed.*"polypseg\[export\]"'):
        check_installed(".onnx")
