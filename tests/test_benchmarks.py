"""Benchmarks whose tables can be foretold: run on frames and a model made for it."""

import re
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from serve.models import write_red_model

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def frames(tmp_path):
    """Three blue frames of 64 x 128 pixels with a red polyp of 16 x 32."""
    for number in range(3):
        image, mask = np.full((64, 128, 3), (150, 120, 5), np.uint8), np.zeros((64, 128), np.uint8)
        image[..., :2] -= np.random.default_rng(number).integers(0, 90, (64, 128, 2), np.uint8)  # one colour is a panel
        rows, columns = slice(16, 32), slice(32 * number, 32 * number + 32)
        image[rows, columns], mask[rows, columns] = (0, 0, 250), 255
        for kind, pixels in (("images", image), ("masks", mask)):
            (tmp_path / "set" / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "set" / kind / f"f{number}.png"), pixels)
    return tmp_path / "set"


def rows_of(script, monkeypatch, capsys, *arguments):
    """The cells of each row of the script's tables, by its first cells; numbers as numbers."""
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    runpy.run_path(str(FOLDER / script), run_name="__main__")
    rows = {}
    for line in capsys.readouterr().out.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and re.fullmatch(r"[\d.]+|nan", cells[-1]):
            numbers = [cell for cell in cells if re.fullmatch(r"\d\.\d{3}|nan", cell)]
            rows[" ".join(cells[: -len(numbers)])] = [float(number) for number in numbers]
    return rows


def test_canvas_costs_the_whole_frame_and_spares_the_lit_field(frames, tmp_path, monkeypatch, capsys):
    model = write_red_model(tmp_path / "red.onnx", size=32)
    arguments = (frames, "--model", model, "--tables", "canvas")
    rows = rows_of("field_and_aspect.py", monkeypatch, capsys, *arguments)
    assert list(rows) == ["1", "0.8", "0.6", "0.5", "0.4", "0.3"]
    assert rows["1"] == pytest.approx([1, 1, 1, 1], abs=0.1)  # the polyp fills whole pixels of the model, 8 x 8
    for scale in ("0.5", "0.4", "0.3"):
        assert rows[scale][3] > 0.9  # as alone, lit field; a pixel of its border can be dark
    assert rows["0.3"][1] > rows["0.3"][0] + 0.05  # seen whole, the picture is 10 of the model's 32 pixels


def test_aspect_is_kept_by_padding(frames, tmp_path, monkeypatch, capsys):
    # Padded, the frame is 16 of 32 rows high, the polyp 4 rows and 8 columns; squeezed it is 8 and 8. All are exact.
    model = write_red_model(tmp_path / "red.onnx", size=32)
    rows = rows_of(
        "field_and_aspect.py", monkeypatch, capsys, frames, "--model", model, "--tables", "aspect", "--limit", 2
    )
    assert set(rows) == {
        f"{rule} {fit}" for rule in ("whole", "auto") for fit in ("squeezed", "padded black", "padded mirrored")
    }
    for numbers in rows.values():
        assert numbers[0] == numbers[3] == pytest.approx(1, abs=0.1)  # all are of an aspect of 2
        assert np.isnan(numbers[1:3]).all()
