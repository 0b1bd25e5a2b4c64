"""polypseg models, as it is typed."""

import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from evaluate.conftest import rectangle, write_image, write_mask
from polypseg.cli import app
from polypseg.data.catalogue import find_samples
from polypseg.evaluate.reproduce import figure_of
from polypseg.predict.engines import packaged
from polypseg.records.model_facts import EngineDice
from predict.test_packaged import install
from predict.tiny_model import write_foreign_model, write_tiny_model


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    install(monkeypatch, tmp_path / "weights")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(*words, code=0):
    result = CliRunner().invoke(app, ["models", *map(str, words)], env={"COLUMNS": "100"})
    assert result.exit_code == code, result.output
    return result.output


def test_list_tells_what_the_files_say(here):
    write_tiny_model(
        here / "weights" / "first.onnx",
        threshold=0.4321,
        precision="int8",
        licence="Apache-2.0",
        terms="research [only]",
        figures={"kvasir-seg test": {"dice": 0.91234, "num_images": 120}, "speed": "fast"},  # as others write them
    )
    lines = typed().splitlines()
    size = (here / "weights" / "first.onnx").stat().st_size / 1e6
    assert lines[:6] == [
        f"first (default)  {size:.1f} MB, 0.00 M parameters, 16 px, int8, threshold 0.432",
        "  about first",
        "  sees: the whole frame",
        "  kvasir-seg test: images 120, dice 0.912",
        "  weights: Apache-2.0",
        "  data: research [only]",
    ]
    assert lines[7].startswith("second  ")


def test_list_tells_each_models_protocol_and_what_it_sees(here):
    write_tiny_model(here / "weights" / "first.onnx", protocol="PraNet: a 8/1/1", training_data="old", field="auto")
    assert "  trained on: PraNet: a 8/1/1" in typed().splitlines()
    assert "  sees: the lit field of a frame" in typed().splitlines()
    write_tiny_model(here / "weights" / "first.onnx", training_data="Kvasir-SEG: 800 train")  # a file of before
    assert "  trained on: Kvasir-SEG: 800 train" in typed().splitlines()
    assert typed().splitlines().count("  sees: the whole frame") == 2


def test_figures_with_intervals_are_told_with_the_number_of_images(here):
    dice = {"mean": 0.91234, "low": 0.9, "high": 0.92}
    figures = {
        "test": {"split": "test", "num_images": 3, "dice": dice, "iou": {"mean": 0.8, "low": None, "high": None}}
    }
    write_tiny_model(here / "weights" / "first.onnx", figures=figures)
    assert "  test: images 3, dice 0.912 (0.900 to 0.920), iou 0.800" in typed().splitlines()


def test_a_name_prints_its_card():
    assert typed("second") == "# second\n\nA card with [brackets].\n"


def test_a_copy(here):
    output = typed("second", "--export-to", "deploy")
    assert output == "wrote deploy/second.onnx\nwrote deploy/second.md\n"
    assert (here / "deploy" / "second.onnx").read_bytes() == (here / "weights" / "second.onnx").read_bytes()
    assert "there already; remove them" in typed("second", "--export-to", "deploy", code=1)


def test_a_file_tells_its_facts(here):
    write_tiny_model(here / "m.onnx", terms="of the data")
    output = typed("m.onnx")
    assert "size: 16\n" in output
    assert "terms: of the data\n" in output
    assert "licence" not in output  # what nobody recorded is not told
    write_foreign_model(here / "other.onnx")
    assert "its metadata lack polypseg.size" in typed("other.onnx", code=1)


def test_wrong_calls(here, monkeypatch):
    assert "unknown packaged model 'frist'; did you mean 'first'?" in typed("frist", code=1)
    assert "unknown packaged model 'm.onnx'" in typed("m.onnx", "--export-to", "x", code=1)
    assert "--export-to needs the name of a model" in typed("--export-to", "x", code=2)
    monkeypatch.setattr(packaged, "FOLDER", here / "none")
    assert "holds no packaged models" in typed(code=1)


def test_list_starts_no_runtime(here):
    code = (
        "import sys; from pathlib import Path; from polypseg.predict.engines import packaged\n"
        f"packaged.FOLDER = Path({str(here / 'weights')!r})\n"
        "from polypseg.cli.models import models; models()\n"
        "print(*sorted({'onnxruntime', 'openvino', 'cv2', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


def test_dice_of_each_engine_is_told(here):
    engines = {"openvino on AVX2": {"dice": 0.9071, "apart": 2}, "onnxruntime on AMX": {"dice": 0.9}}
    figures = {"validation": {"images": 80, "source": 0.9079, "engines": engines, "digests": "AAAA"}}
    path = write_tiny_model(here / "weights" / "first.onnx", dice_by_engine=figures, saturating_sums=0)
    words = "80 images: source 0.9079, openvino on AVX2 0.9071 (2 images apart), onnxruntime on AMX 0.9000"
    lines = [line.strip() for line in typed().replace("\n    ", " ").splitlines()]
    assert any(line.startswith("mean Dice, validation, 80 images: source 0.9079") for line in lines)
    assert "the same integers on every processor, AVX2 and newer" in lines
    output = " ".join(typed(path).split())
    assert f"mean Dice, validation: {words}" in output
    assert "AAAA" not in output


def test_check_says_whether_this_machine_reproduces_the_figures(here):
    data = here / "data"
    for name in ("a", "b"):
        write_image(
            data / "images" / f"{name}.png", np.where(rectangle(16, 16, (2, 6), (2, 6)), 200, 0) + ord(name) - 97
        )
        write_mask(data / "masks" / f"{name}.png", rectangle(16, 16, (2, 6), (2, 6)))
    figure = figure_of({"openvino on AVX2": [0.999, 1.0]}, find_samples(data)[0])
    write_tiny_model(here / "tiny.onnx", dice_by_engine={"test": figure})
    words = ["tiny.onnx", "--check", "data", "--engine", "onnxruntime"]
    output = " ".join(typed(*words).split())
    assert "test, 2 images: here, in onnxruntime" in output
    assert "1.0000; stated openvino on AVX2 0.9995: reproduced" in output
    figure = figure.model_copy(update={"engines": {"openvino on AVX2": EngineDice(dice=0.99)}})
    write_tiny_model(here / "tiny.onnx", dice_by_engine={"test": figure})
    output = " ".join(typed(*words, code=1).split())
    assert "NOT reproduced: +0.0100" in output
    assert "this machine does not give the stated Dice to 0.002 on: test; take another --engine" in output
