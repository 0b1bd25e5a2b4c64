"""A file that was exported already, exported again in another precision."""

import json

import numpy as np
import onnx
import pytest

from export.integer_graph import SIZE, integer_graph, weights_of
from export.models import SPLITS
from polypseg.config import Config
from polypseg.data.catalogue import find_samples
from polypseg.errors import DataError, UsageError
from polypseg.export.exported import open_exported
from polypseg.export.onnx import ExportOptions, export_model
from polypseg.predict.engines.model_file import read_model_file, write_model_file
from polypseg.predict.engines.opening import open_engine
from polypseg.records.digests import file_digests
from polypseg.records.model_facts import ModelFacts
from polypseg.records.seen import seen_of


@pytest.fixture
def integers(tmp_path):
    """An int8 file whose sums may saturate."""
    path = tmp_path / "integers.onnx"
    first, second = weights_of(127, seed=3)
    facts = ModelFacts(size=SIZE, name="integers", precision="int8", quantised_by="by hand", licence="CC0")
    write_model_file(path, integer_graph(first, (second // 4).astype(np.int8)).SerializeToString(), facts)
    return path


def batch():
    return np.random.default_rng(5).random((2, SIZE, SIZE, 3), np.float32)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_float_files_give_what_the_integers_stand_for(integers, tmp_path, precision):
    exported = export_model(integers, tmp_path / "again.onnx", ExportOptions(precision))
    facts = read_model_file(exported.path)[1]
    assert (facts.precision, facts.name, facts.licence, facts.quantised_by) == (precision, "integers", "CC0", "")
    assert "from int8 by" in facts.exported_by
    assert exported.notes == ("no folder of data was named (--data): proved on synthetic images only",)
    difference = np.abs(open_engine(exported.path).run(batch()) - open_engine(integers, "onnxruntime").run(batch()))
    assert 0 < difference.max() < 0.01  # of the rounding between the layers: a quarter of 5 x 0.01 x 0.32, and a bit
    assert not {n.op_type for n in onnx.load(exported.path).graph.node} & {"QuantizeLinear", "DequantizeLinear"}


def test_int8_of_a_file_that_is_right_everywhere_is_that_file(tmp_path):
    path = tmp_path / "safe.onnx"
    facts = ModelFacts(size=SIZE, name="safe", precision="int8", saturating_sums=0)
    write_model_file(path, integer_graph(*weights_of(60)).SerializeToString(), facts)
    exported = export_model(path, tmp_path / "again.onnx", ExportOptions("int8", name="mine"))
    assert exported.notes == ("safe.onnx is right on every processor already: the same weights",)
    assert not exported.facts.second_look
    given, again = onnx.load(path), onnx.load(exported.path)
    assert given.graph == again.graph
    assert read_model_file(exported.path)[1] == facts.model_copy(update={"name": "mine"})


@pytest.mark.parametrize("kept", [True, False])
def test_second_look_of_a_file_can_be_given_up(tmp_path, kept):
    path = tmp_path / "safe.onnx"
    told = {"dice_change": 0.001, "proved_on": "8 images", "figures": {"test": {"dice": 0.9}}}
    facts = ModelFacts(size=SIZE, name="safe", precision="int8", saturating_sums=0, second_look=True, **told)
    write_model_file(path, integer_graph(*weights_of(60)).SerializeToString(), facts)
    again = export_model(path, tmp_path / "again.onnx", ExportOptions("int8", second_look=kept))
    known = read_model_file(again.path)[1]
    assert known.second_look == kept
    assert (known.dice_change, known.proved_on, list(known.figures)) == (
        (0.001, "8 images", ["test"]) if kept else (None, "", [])
    )
    assert len(again.notes) == (1 if kept else 2)
    assert not export_model(path, tmp_path / "float.onnx").facts.second_look


def test_int8_of_a_file_that_may_saturate_needs_images(integers, tmp_path):
    with pytest.raises(UsageError, match=r"integers\.onnx: int8 needs images .* with --data DIR, or export fp32"):
        export_model(integers, tmp_path / "again.onnx", ExportOptions("int8"))


@pytest.mark.parametrize(("name", "any_size"), [("again.tflite", False), ("again.onnx", True)])
def test_what_needs_keras_is_told(integers, tmp_path, name, any_size):
    with pytest.raises(UsageError, match="exported already; LiteRT and --any-size need the run folder"):
        export_model(integers, tmp_path / name, ExportOptions(any_size=any_size))


def with_seen(path, data, names):
    """The file, which says that it has seen those images."""
    content, facts = read_model_file(path)
    graph = onnx.load_from_string(content)
    del graph.metadata_props[:]
    samples = [sample for sample in find_samples(data)[0] if sample.name in names]
    seen = seen_of(file_digests([sample.image_path for sample in samples]).values()).pack()
    write_model_file(path, graph.SerializeToString(), facts.model_copy(update={"seen_images": seen}))
    return path


def test_only_images_that_the_model_has_seen_calibrate_and_prove(integers, red_run):
    data = red_run.folder.parents[1] / "data"
    names = [name for name, split in SPLITS.items() if split != "test"]
    source = open_exported(with_seen(integers, data, names), data).source
    assert [sample.name for sample in source.calibration] == names[::2]
    assert [sample.name for sample in source.validation] == names[1::2]


def test_a_folder_of_other_images_is_refused(integers, red_run):
    with pytest.raises(DataError, match="not the images that the model has seen"):
        open_exported(integers, red_run.folder.parents[1] / "data")


def test_the_split_of_the_file_is_taken_where_it_is_the_default_one(integers, red_run):
    from polypseg.data.splits import make_split

    data = red_run.folder.parents[1] / "data"
    split = make_split(find_samples(data)[0], Config().split)
    content, facts = read_model_file(integers)
    graph = onnx.load_from_string(content)
    del graph.metadata_props[:]
    write_model_file(integers, graph.SerializeToString(), facts.model_copy(update={"split_digest": split.digest()}))
    source = open_exported(integers, data).source
    assert [s.name for s in source.validation] == split.names("validation")
    assert [s.name for s in source.calibration] == split.names("train")


def test_self_test_and_count_of_a_run_are_in_the_file(red_run, tmp_path):
    exported = export_model(red_run.folder, tmp_path / "red.onnx", ExportOptions("int8", method="onnxruntime"))
    facts = exported.facts
    assert facts.saturating_sums == 0
    assert facts.counted_on == "4 calibration and 4 validation images; no image could make one"
    assert "pairs of products within 16 bits" in facts.quantised_by
    assert len(facts.calibration_digest) == 64
    assert any("no saturating sums" in note for note in exported.notes)
    figure = facts.dice_by_engine["validation"]
    assert (figure.images, sorted(figure.engines)[0].split()[0]) == (4, "onnxruntime")
    assert all(found.apart == 0 for found in figure.engines.values())
    assert json.loads(facts.self_test)["tolerance"] >= 0.005
    assert facts.second_look


def test_a_single_channel_whose_step_has_no_dimension_is_rounded(red_run, tmp_path):
    pytest.importorskip("nncf")
    exported = export_model(red_run.folder, tmp_path / "red.onnx", ExportOptions("int8", method="nncf"))
    assert "pairs of products within 16 bits" in exported.notes[0]  # the one convolution of one channel was rounded
    assert exported.facts.precision == "int8"
