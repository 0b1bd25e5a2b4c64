"""Damaged and odd files through predict and data check: a row and a line for each, and never a traceback."""

import csv
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from typer.testing import CliRunner

from polypseg.cli import app
from polypseg.predict.images.table import read_rows
from predict.tiny_model import write_tiny_model
from preprocess.odd_files import encoded, frame, odd_contents, polyp


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    write_tiny_model(tmp_path / "tiny.onnx")
    return tmp_path


def _typed(*words: object) -> tuple[int, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of some damages and reads on
        result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def _feed_predict(count: int, seed: int) -> None:
    names = []
    Path("in").mkdir()
    for name, content in odd_contents(seed, count):
        Path("in", name).write_bytes(content)
        names.append(name)
    began = time.monotonic()
    code, output = _typed("predict", "tiny.onnx", "in", "-o", "out", "--engine", "onnxruntime")
    assert code == 1, output[-2000:]
    assert time.monotonic() - began < 10 + count
    rows = list(csv.DictReader(Path("out/predictions.csv").read_text("utf-8").splitlines()))
    assert {row["path"] for row in rows} >= {f"in/{name}" for name in names}
    for row in rows:
        mask = Path("out/masks") / f"{row['name']}.png"
        assert bool(row["fault"]) != mask.is_file()  # a mask, or the reason why there is none
        if not row["fault"]:
            with PillowImage.open(mask) as opened:
                assert (str(opened.height), str(opened.width)) == (row["height"], row["width"])


def test_predict_gives_every_odd_file_a_row(here):
    _feed_predict(90, seed=3)


@pytest.mark.slow
def test_predict_gives_a_thousand_odd_files_a_row(here):
    _feed_predict(1000, seed=4)


def _feed_check(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for number, (name, content) in enumerate(odd_contents(seed, count)):
        for kind, good in (("images", encoded(frame(rng, 40, 56), "PNG")),
                           ("masks", encoded(polyp(rng, 40, 56).astype(np.uint8) * 255, "PNG"))):  # fmt: skip
            Path(kind).mkdir(exist_ok=True)
            is_odd = (kind == "images") == bool(number % 2)
            path = Path(kind, name if is_odd else f"{number:04d}.png")
            path.write_bytes(content if is_odd else good)
    code, output = _typed("data", "check", ".", "--bits", "-1", "--json", "found.json")
    assert code == 1
    assert "cannot be used" in output
    code, output = _typed("train", "--data", ".", "--set", "data.size=32", "--epochs", 1, "--no-evaluate")
    assert code == 1
    assert "of the files cannot be used" in output


def test_data_check_and_train_name_odd_files(here):
    _feed_check(60, seed=5)


@pytest.mark.slow
def test_data_check_and_train_name_many_odd_files(here):
    _feed_check(600, seed=6)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
def test_predict_does_not_wait_for_pipes_and_devices(here):
    os.mkfifo("pipe.jpg")
    Path("good.png").write_bytes(encoded(frame(np.random.default_rng(0)), "PNG"))
    began = time.monotonic()
    words = ("pipe.jpg", "/dev/zero", "good.png", "-o", "out", "--engine", "onnxruntime")
    code, output = _typed("predict", "tiny.onnx", *words)
    assert time.monotonic() - began < 10
    assert code == 1
    assert output.count("not a regular file") == 2
    assert Path("out/masks").exists()


def test_predict_tells_of_a_photo_with_further_pictures(here):
    picture = PillowImage.fromarray(frame(np.random.default_rng(0)))
    picture.save("IMG_1.JPG", "MPO", save_all=True, append_images=[picture.resize((20, 20))])
    code, output = _typed("predict", "tiny.onnx", "IMG_1.JPG", "-o", "out", "--engine", "onnxruntime")
    assert code == 0
    assert "note: IMG_1.JPG: holds 2 pictures; the first one was read" in output
    assert read_rows(Path("out/predictions.csv"))[0].note.startswith("IMG_1.JPG: holds 2 pictures")
