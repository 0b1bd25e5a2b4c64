"""Packaged models: named, defaulted, checked and copied."""

import hashlib
import json
from pathlib import Path

import pytest

import polypseg
from polypseg.errors import ModelError
from polypseg.predict.engines import packaged
from predict.tiny_model import write_tiny_model


def install(monkeypatch, folder, names=("second", "first"), default="first"):
    """An index of small models in a folder, as the package has one."""
    folder.mkdir(exist_ok=True)
    entries = []
    for name in names:
        path = write_tiny_model(folder / f"{name}.onnx", terms=f"terms of {name}", threshold=0.25)
        (folder / f"{name}.md").write_text(f"# {name}\n\nA card with [brackets].\n")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entries.append({"name": name, "sha256": digest, "about": f"about {name}", "default": name == default})
    (folder / "index.json").write_text(json.dumps(entries))
    monkeypatch.setattr(packaged, "FOLDER", folder)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    install(monkeypatch, tmp_path / "weights")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "weights"


def test_the_default_is_listed_first_and_taken_where_none_is_named(folder):
    assert [model.name for model in packaged.packaged_models()] == ["first", "second"]
    assert packaged.resolve(None) == folder / "first.onnx"
    assert packaged.resolve("second") == folder / "second.onnx"
    assert polypseg.load("second", "onnxruntime").threshold == 0.25


def test_a_path_is_itself_and_goes_before_a_name(folder, tmp_path):
    assert packaged.resolve("x/y.onnx") == Path("x/y.onnx")
    (tmp_path / "first").mkdir()
    assert packaged.resolve("first") == Path("first")
    assert packaged.resolve(None) == folder / "first.onnx"  # whatever lies in the working directory


def test_an_unknown_name_lists_the_known_ones(folder):
    with pytest.raises(ModelError, match=r"unknown model 'frist'; did you mean 'first'.*first, second"):
        packaged.resolve("frist")


def test_a_changed_or_lost_file_is_refused(folder):
    (folder / "first.onnx").write_bytes(b"changed")
    with pytest.raises(ModelError, match=r"first\.onnx: the packaged model was changed or damaged; install"):
        packaged.resolve(None)
    (folder / "first.onnx").unlink()
    with pytest.raises(ModelError, match=r"first\.onnx: cannot read the packaged model: No such file"):
        packaged.resolve("first")


def test_an_installation_without_models(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(packaged, "FOLDER", tmp_path / "none")
    assert packaged.packaged_models() == []
    with pytest.raises(ModelError, match="this installation holds none; name a run folder"):
        packaged.resolve(None)


def test_a_copy_is_the_file_and_its_card(folder, tmp_path):
    first = packaged.packaged_models()[0]
    copies = packaged.export_copy(first, tmp_path / "deep" / "deploy")
    assert [path.read_bytes() for path in copies] == [first.path.read_bytes(), first.card.read_bytes()]
    assert sorted(path.name for path in (tmp_path / "deep" / "deploy").iterdir()) == ["first.md", "first.onnx"]
    with pytest.raises(ModelError, match=r"first\.onnx, .*first\.md: there already"):
        packaged.export_copy(first, tmp_path / "deep" / "deploy")
