"""Every writer of files leaves the old file, and nothing else, when the disk fails."""

import ast
import errno
import os
import resource
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import openvino
import pytest
from matplotlib.figure import Figure

import polypseg
from polypseg.evaluate.measure import write_grey
from polypseg.export.targets import write_openvino
from polypseg.models.checkpoint import save_model
from polypseg.models.graph.draw import draw_model
from polypseg.predict.engines.model_file import write_model_file
from polypseg.predict.images.coco import write_coco
from polypseg.predict.images.outputs import write_bytes_in_one_step
from polypseg.records.atomic import (
    building,
    put_in_place,
    remove_folder,
    replacing,
    temporary_of,
    write_bytes,
    write_text,
)
from polypseg.records.model_facts import ModelFacts
from polypseg.records.paired_models import write_litert
from polypseg.records.split import Split, SplitEntry
from polypseg.report.canvas import save_figure
from polypseg.train.callbacks import ModelCheckpoint

FACTS = ModelFacts(size=16)
OLD = b"old"


def tiny_model():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def checkpoint(path):
    callback = ModelCheckpoint(path)
    callback.set_model(tiny_model())
    callback.on_epoch_end(0, {"val_loss": 1.0})


def ir(path):
    ops = openvino.opset13
    given = ops.parameter([1], np.float32)
    write_openvino(openvino.Model([ops.relu(given)], [given], "tiny"), FACTS, path)


def picture(path):
    inputs = keras.Input((16, 16, 3))
    outputs = keras.layers.Conv2D(1, 1, name="mask")(inputs)
    draw_model(keras.Model(inputs, outputs), path.with_suffix(""), renderer="matplotlib")


def part_file(path):
    part = path.with_name("film.part.mp4")
    part.write_bytes(b"new film")
    try:
        put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)  # it may stay: it outlives a kill on purpose


WRITERS = {
    "text.json": lambda path: write_text(path, "new text of more than ten bytes"),
    "bytes.bin": lambda path: write_bytes(path, b"new content of more than ten bytes"),
    "splits.json": lambda path: Split("by hand", 0, {"a": SplitEntry("train", "0" * 64, None, None)}).save(path),
    "model.onnx": lambda path: write_model_file(path, b"graph", FACTS),
    "model.tflite": lambda path: write_litert(b"a LiteRT file", FACTS, path),
    "model.xml": ir,
    "best.keras": checkpoint,
    "model.keras": lambda path: save_model(tiny_model(), path),
    "mask.png": lambda path: write_grey(path, np.zeros((9, 9), np.uint8)),
    "predicted.png": lambda path: write_bytes_in_one_step(path, b"a PNG of some bytes"),
    "coco.json": lambda path: write_coco(path.parent, set(), {"description": "none"}),
    "figure.pdf": lambda path: save_figure(Figure(), path),
    "graph.png": picture,
    "film.mp4": part_file,
}


@contextmanager
def full_disk(monkeypatch):
    """No file of this process may grow over ten bytes; the system says EFBIG where a full disk says ENOSPC."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def failing_flush(monkeypatch):
    def fail(_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        yield


@contextmanager
def failing_rename(monkeypatch):
    def fail(*_):
        raise OSError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        yield


@pytest.mark.parametrize("fault", [full_disk, failing_flush, failing_rename])
@pytest.mark.parametrize("name", WRITERS)
def test_writer_leaves_the_old_file_and_no_other_where_the_disk_fails(name, fault, tmp_path, monkeypatch):
    if name == "film.mp4" and fault is full_disk:
        pytest.skip("what is renamed was written before")
    (tmp_path / name).write_bytes(OLD)
    with fault(monkeypatch), pytest.raises((OSError, RuntimeError)):
        WRITERS[name](tmp_path / name)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, OLD)]


@pytest.mark.parametrize("name", WRITERS)
def test_writer_replaces_the_old_file(name, tmp_path):
    (tmp_path / name).write_bytes(OLD)
    WRITERS[name](tmp_path / name)
    assert (tmp_path / name).read_bytes() != OLD
    assert not [path for path in tmp_path.iterdir() if ".part" in path.name]


def test_replacing_takes_the_place_of_what_a_killed_process_left(tmp_path):
    temporary_of(tmp_path / "a.csv").write_text("half")
    write_text(tmp_path / "a.csv", "whole")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.csv": "whole"}


def test_replacing_removes_the_temporary_file_of_a_block_that_fails(tmp_path):
    def write():
        with replacing(tmp_path / "a.csv") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list(tmp_path.iterdir()) == []


def test_replacing_tells_the_first_failure_where_the_removal_fails_too(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", fail)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OSError, match="Input/output error"):
        write_text(tmp_path / "a.csv", "whole")


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "made"
    with building(folder) as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner/a.txt").write_text("a")
        assert not folder.exists()
    assert (folder / "inner/a.txt").read_text() == "a"


def test_a_folder_whose_making_fails_leaves_nothing(tmp_path):
    def make():
        with building(tmp_path / "made") as temporary:
            (temporary / "a.txt").write_text("a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_somebody_made_meanwhile_stays_unless_it_is_replaced(tmp_path, overwrite):
    folder = tmp_path / "made"
    with building(folder, overwrite) as temporary:
        (temporary / "ours.txt").write_text("")
        folder.mkdir()
        (folder / "theirs.txt").write_text("")
    assert [path.name for path in folder.iterdir()] == ["ours.txt" if overwrite else "theirs.txt"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_cannot_get_its_name_is_told_and_removed(tmp_path):
    (tmp_path / "made").write_text("a file")
    with pytest.raises(NotADirectoryError), building(tmp_path / "made"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_two_build_the_same_folder_beside_one_another(tmp_path):
    with building(tmp_path / "made") as first, building(tmp_path / "made") as second:
        assert first != second
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_folder_is_removed_once(tmp_path):
    (tmp_path / "made/inner").mkdir(parents=True)
    assert remove_folder(tmp_path / "made")
    assert not remove_folder(tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_no_other_module_renames_or_writes_a_file_by_itself():
    # A download goes on from its part file, a trail only grows; OpenVINO's nodes have a `replace` of their own.
    allowed = {"records/atomic.py", "records/trail.py", "data/download.py", "predict/engines/openvino_graph.py"}
    root = Path(polypseg.__file__).parent
    found = []
    for path in root.rglob("*.py"):
        name = path.relative_to(root).as_posix()
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            if name in allowed or not isinstance(call.func, ast.Attribute):
                continue
            does_write = call.func.attr in ("fsync", "rename", "write_text", "write_bytes")
            does_rename = call.func.attr == "replace" and len(call.args) == 1  # of a text it takes two
            if does_write or does_rename:
                found.append(f"{name}:{call.lineno} {call.func.attr}")
    assert found == []
