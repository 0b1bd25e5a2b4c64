import numpy as np
import onnx
import pytest

from export.models import red_model
from polypseg.errors import ModelError, UsageError
from polypseg.export import int8 as export_int8
from polypseg.export import onnx as export_onnx
from polypseg.export import proof
from polypseg.export.onnx import ExportOptions, export_model
from polypseg.predict.engines.model_file import read_model_file
from polypseg.predict.engines.opening import open_engine
from polypseg.predict.predictor import load
from polypseg.records.model_facts import ModelFacts


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_fp32_of_a_run_is_proved_and_says_so(red_run, tmp_path):
    exported = export_model(red_run.folder, tmp_path / "new" / "red.onnx")
    assert files(tmp_path / "new") == ["red.onnx"]
    _, facts = read_model_file(exported.path)
    assert facts == exported.facts
    assert facts.largest_difference <= 1e-4
    assert facts.dice_change is None
    assert facts.proved_on.startswith("8 synthetic and 4 validation images, in ")
    assert "onnxruntime" in facts.proved_on
    assert facts.multiply_adds == 32 * 32 * (9 * 3 * 4 + 4)
    assert exported.num_bytes == exported.path.stat().st_size
    assert exported.notes == ()
    onnx.checker.check_model(onnx.load(exported.path))


def test_exported_model_finds_the_polyp(red_run, tmp_path):
    predictor = load(export_model(red_run.folder, tmp_path / "red.onnx").path)
    image = np.zeros((50, 70, 3), np.uint8)
    image[10:30, 20:50, 0] = 220
    mask = predictor.predict(image).mask
    assert mask[14:26, 25:45].all()
    assert not mask[:8].any()


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_smaller_precisions_keep_the_dice(red_run, tmp_path, precision):
    exported = export_model(red_run.folder, tmp_path / "red.onnx", ExportOptions(precision, method="onnxruntime"))
    assert exported.facts.precision == precision
    assert abs(exported.facts.dice_change) <= 0.002
    assert "Dice on 4" in exported.facts.proved_on
    assert bool(exported.facts.quantised_by) == (precision == "int8")


def test_auto_measures_both_and_keeps_the_faster(red_run, tmp_path, monkeypatch):
    pytest.importorskip("nncf")
    seconds = {"onnxruntime": 2.0, "nncf": 1.0}
    tools = []

    def quantise(graph, squares, tool, in_float):
        tools.append(tool)
        return graph

    monkeypatch.setattr(export_int8, "quantise", quantise)
    monkeypatch.setattr(export_int8, "processor_seconds", lambda engine: seconds[tools[-1]])
    exported = export_model(red_run.folder, tmp_path / "red.onnx", ExportOptions("int8"))
    assert tools == ["onnxruntime", "nncf"]
    assert exported.facts.quantised_by == "nncf, 4 images, sigmoids in float"
    assert "onnxruntime, sigmoids in float: 2000.0 ms of processor time" in exported.notes[0]


def test_int8_goes_on_to_the_careful_variant_and_fails_where_none_is_proved(red_run, tmp_path, monkeypatch):
    tried = []

    def quantise(graph, squares, tool, in_float):
        tried.append(len(in_float))
        broken = onnx.ModelProto()
        broken.CopyFrom(graph)
        if len(tried) <= failures:
            weight = next(w for w in broken.graph.initializer if list(w.dims) == [1, 4, 1, 1])
            weight.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), weight.name))
        return broken

    monkeypatch.setattr(export_int8, "quantise", quantise)
    options = ExportOptions("int8", method="onnxruntime")
    failures = 1
    exported = export_model(red_run.folder, tmp_path / "red.onnx", options)
    assert tried == [2, 4]
    assert "first and last convolution in float" in exported.facts.quantised_by
    assert "refused, the int8 export changes the mean Dice" in exported.notes[0]
    exported.path.unlink()
    failures = 9
    with pytest.raises(ModelError, match=r"changes the mean Dice over 4 validation images .* nothing was written"):
        export_model(red_run.folder, tmp_path / "red.onnx", options)
    assert files(tmp_path) == []


def test_an_export_that_differs_leaves_the_old_file(red_run, tmp_path, monkeypatch):
    (tmp_path / "red.onnx").write_bytes(b"old")
    monkeypatch.setattr(proof, "LARGEST_DIFFERENCE", -1.0)
    with pytest.raises(ModelError, match="the fp32 export is not its source"):
        export_model(red_run.folder, tmp_path / "red.onnx")
    assert (tmp_path / "red.onnx").read_bytes() == b"old"
    assert files(tmp_path) == ["red.onnx"]


def test_attention_is_carried_unless_left_out(unet_file, tmp_path):
    carried = export_model(unet_file, tmp_path / "with.onnx")
    assert carried.facts.attention_levels == (1, 2)
    assert carried.notes == ("no folder of data was named: proved on synthetic images only",)
    without = export_model(unet_file, tmp_path / "without.onnx", ExportOptions(attention=False))
    assert without.facts.attention_levels == ()
    with pytest.raises(ModelError, match="gives no attention"):
        open_engine(without.path).run_with_attention(np.zeros((1, 32, 32, 3), np.float32))


def test_any_size_is_stated_and_runs_at_its_own_size_as_ever(unet_file, tmp_path):
    exported = export_model(unet_file, tmp_path / "any.onnx", ExportOptions(any_size=True))
    assert exported.facts.stride == 4
    assert open_engine(exported.path).run(np.zeros((2, 32, 32, 3), np.float32)).shape == (2, 32, 32, 1)


def test_any_size_that_differs_from_keras_is_refused(monkeypatch):
    model, other = red_model(16), red_model(16)
    other.get_layer("head_logits").bias.assign([-21.0])
    graph = export_onnx.free_size(export_onnx.convert(model))
    facts = ModelFacts(size=16, stride=1)
    export_onnx.check_other_size(graph, model, facts)
    with pytest.raises(ModelError, match="at 18x17 the export of any size differs from Keras"):
        export_onnx.check_other_size(graph, other, facts)


def test_wrong_calls_are_told(unet_file, tmp_path):
    with pytest.raises(UsageError, match="did you mean 'int8'"):
        ExportOptions("int9")
    with pytest.raises(UsageError, match="unknown quantisation method"):
        ExportOptions(method="guess")
    with pytest.raises(UsageError, match=r"expected a file that ends in one of: \.onnx \(ONNX\), \.xml"):
        export_model(unet_file, tmp_path / "model.pt")
    with pytest.raises(UsageError, match=r"int8 needs images .* no folder of data was named; name their folder"):
        export_model(unet_file, tmp_path / "model.onnx", ExportOptions("int8"))
