import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import polypseg
from polypseg.cli import app
from polypseg.errors import MissingExtraError, ModelError
from polypseg.export import targets
from polypseg.export.onnx import ExportOptions, export_model
from polypseg.export.targets import check_installed
from polypseg.predict.engines.litert_engine import LiteRtEngine
from polypseg.predict.engines.opening import open_engine
from polypseg.records.paired_models import second_file


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
    opened = open_engine(tmp_path / "small.xml")
    assert (opened.name, opened.facts) == ("openvino", exported.facts)
    np.testing.assert_allclose(opened.run(image), given, atol=1e-5)


@pytest.mark.parametrize("ending", [".xml", ".tflite"])
def test_models_of_two_files_are_predicted_with_and_refused_where_damaged(unet_file, tmp_path, ending):
    if ending == ".xml":
        pytest.importorskip("openvino")
    model = export_model(unet_file, tmp_path / f"small{ending}").path
    second = second_file(model)
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "dark.png")
    prediction = polypseg.load(model).predict_file(tmp_path / "dark.png")
    expected = polypseg.load(unet_file).predict_file(tmp_path / "dark.png")
    assert prediction.mask.shape == (20, 30)
    np.testing.assert_allclose(prediction.probability, expected.probability, atol=1e-4)
    shown = CliRunner().invoke(app, ["models", str(model)])
    assert (shown.exit_code, "size: 32" in shown.output) == (0, True)
    with pytest.raises(ModelError, match=rf"the engine onnxruntime cannot run {ending} files; take"):
        open_engine(model, "onnxruntime")
    for file in (model, second):
        whole = file.read_bytes()
        file.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])  # one bit of one byte
        with pytest.raises(ModelError, match="damaged"):
            open_engine(model)
        file.write_bytes(whole)
    open_engine(model)
    second.unlink()
    with pytest.raises(ModelError, match=f"expected {second.name} beside it"):
        open_engine(model)


def test_an_ir_of_another_tool_is_told_from_ours(tmp_path):
    (tmp_path / "other.xml").write_text("<net><!-- made elsewhere --></net>")
    (tmp_path / "other.bin").write_bytes(b"weights")
    with pytest.raises(ModelError, match="not an OpenVINO IR that polypseg exported"):
        open_engine(tmp_path / "other.xml")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_litert_is_proved_and_has_its_facts_beside_it(unet_file, tmp_path, precision):
    exported = export_model(unet_file, tmp_path / "small.tflite", ExportOptions(precision))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.json", "small.tflite"]
    facts = json.loads((tmp_path / "small.json").read_text())
    assert (facts["size"], facts["precision"], facts["opset"]) == (32, precision, None)
    image = noise(2, 32, 32, 3)
    given = LiteRtEngine(exported.path).run(image)
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
    without("keras", "tensorflow", "tf2onnx")
    check_installed(".onnx", is_exported=True)
    without("tf2onnx")
    with pytest.raises(MissingExtraError, match=r'tf2onnx is not installed.*"polypseg\[export\]"'):
        check_installed(".onnx")
