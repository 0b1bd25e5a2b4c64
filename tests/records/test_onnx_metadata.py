"""The facts of a file without a runtime: as ONNX Runtime reads them, and damage told."""

import onnxruntime
import pytest

from polypseg.errors import ModelError
from polypseg.records.model_facts import ModelFacts, StatedFigures, StatedScore, to_metadata
from polypseg.records.onnx_metadata import read_facts, read_metadata
from predict.tiny_model import write_foreign_model, write_tiny_model


@pytest.fixture
def model(tmp_path):
    return write_tiny_model(tmp_path / "m.onnx", terms="long " * 100, figures={"kvasir-seg": {"dice": 0.9}})


def test_metadata_are_those_that_onnx_runtime_reads(model):
    expected = onnxruntime.InferenceSession(model.read_bytes()).get_modelmeta().custom_metadata_map
    assert read_metadata(model) == expected
    assert len(expected) > 10


def test_facts_come_back_as_written(model):
    facts = read_facts(model)
    assert (facts.name, facts.size, facts.terms, facts.figures) == (
        "tiny",
        16,
        "long " * 100,
        {"kvasir-seg": StatedFigures(dice=StatedScore(mean=0.9))},
    )


def test_metadata_before_the_graph_and_foreign_fields(tmp_path):
    # Field 1 (ir_version) as a number, 99 as four and 98 as eight bytes, 14 with a key and a value, field 7 last.
    content = b"\x08\x08" + b"\x9d\x06abcd" + b"\x91\x06abcdefgh" + b"\x72\x06\x0a\x01k\x12\x01v" + b"\x3a\x02zz"
    (tmp_path / "m.onnx").write_bytes(content)
    assert read_metadata(tmp_path / "m.onnx") == {"k": "v"}


def test_no_runtime_is_imported(model):
    import subprocess
    import sys

    code = (
        f"import sys; from pathlib import Path; from polypseg.records.onnx_metadata import read_facts\n"
        f"read_facts(Path({str(model)!r})); print('onnxruntime' in sys.modules, 'cv2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_file_of_another_program_says_what_it_lacks(tmp_path):
    path = write_foreign_model(tmp_path / "other.onnx", **{"polypseg.size": "16", "author": "x"})
    with pytest.raises(
        ModelError,
        match=r"other\.onnx: not a model that polypseg exported: its metadata lack polypseg\.normalisation, "
        r"polypseg\.threshold, polypseg\.target",
    ):
        read_facts(path)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.999])
def test_a_file_that_is_cut_short(model, share):
    content = model.read_bytes()
    model.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match=r"m\.onnx: not (an ONNX file, or damaged|a model that polypseg exported)"):
        read_facts(model)


@pytest.mark.parametrize("content", [b"text that is none", b"\xff" * 40, b"\x72\x06\x0a\x7fk\x12\x01v", b"\x0f"])
def test_what_is_no_onnx_file(tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.onnx: not an ONNX file, or damaged"):
        read_metadata(tmp_path / "m.onnx")


def test_no_such_file(tmp_path):
    with pytest.raises(ModelError, match=r"none\.onnx: cannot read the model: No such file"):
        read_metadata(tmp_path / "none.onnx")


def test_every_fact_survives():
    facts = ModelFacts(size=64, attention_levels=(1, 2), figures={"a": {"b": 1.5}}, terms="t", name="123")
    from polypseg.records.model_facts import from_metadata

    assert from_metadata(to_metadata(facts), "x") == facts
