"""Benchmarks whose tables can be foretold: run on frames and a model made for it."""

import csv
import re
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from polypseg.annotate.training import Trained, Training
from polypseg.export.float_weights import keep_in_float
from polypseg.export.pair_sums import quantised_convolutions
from polypseg.predict.engines.model_file import read_model_file, write_model_file
from polypseg.predict.engines.packaged import resolve
from polypseg.progress import silent
from predict.test_mirroring import SIZE, OneSided, frame
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


@pytest.fixture
def hospital(tmp_path):
    """44 frames of 40 x 60 pixels with a red polyp, in 11 sequences of 4; and 30 others, of none."""
    for folder, count in (("new", 44), ("known", 30)):
        for number in range(count):
            small = np.random.default_rng(number + count).integers(20, 230, (5, 6, 3), np.uint8)
            image, mask = cv2.resize(small, (60, 40), interpolation=cv2.INTER_CUBIC), np.zeros((40, 60), np.uint8)
            image[..., 2] = 5  # OpenCV's order: no red
            rows, columns = slice(8, 28), slice(4 + number % 20, 34 + number % 20)
            image[rows, columns, 2], mask[rows, columns] = 250, 255
            for kind, pixels in (("images", image), ("masks", mask)):
                (tmp_path / folder / kind).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(tmp_path / folder / kind / f"{folder}{number:02d}.png"), pixels)
    rows = "".join(f"new{number:02d},{number // 4}\n" for number in range(44))
    (tmp_path / "new" / "sequences.csv").write_text(f"frame,sequence\n{rows}")
    return tmp_path


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """What trainings begin with; each gives the model of red, and is compared in truth."""
    found = []

    def work(training, track=silent):
        found.append((training._start, training._recipe, training._sources))
        training.run.folder.mkdir(parents=True)
        path = write_red_model(training.run.folder / "model.onnx", size=64, version=f"1.0+{len(found)}")
        return Trained(path, training._compare(path, track), 2.0)

    monkeypatch.setattr(Training, "work", work)
    return found


def run_script(script, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    monkeypatch.syspath_prepend(str(FOLDER))
    runpy.run_path(str(FOLDER / script), run_name="__main__")


@pytest.mark.slow
def test_each_recipe_is_tried_once(hospital, trained, monkeypatch):
    old = write_red_model(hospital / "old.onnx", size=64, threshold=0.99)  # it finds nothing: red is 250 of 255
    words = (old, "--new", hospital / "new", "--known", hospital / "known", "--out", hospital / "out", "--shown", 160)
    run_script("retraining.py", monkeypatch, *words)
    run_script("retraining.py", monkeypatch, *words)  # nothing is left to do
    with (hospital / "out" / "results.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == len(trained) == 7
    assert [row["recipe"] for row in rows][:2] == ["rate 3e-4", "rate 3e-4, frozen normalisation"]
    assert {(recipe.num_shown, start.threshold) for start, recipe, _ in trained} == {(160, 0.99)}
    # 25 frames are labelled, 5 of them held out, for each is a group of its own in the project; 15 of 30 are mixed in.
    assert {sources for _, _, sources in trained} == {(20, 15)}
    for row in rows:
        assert (row["unseen_before"], row["known_before"], row["passed"]) == ("0.0000", "0.0000", "yes")
        assert min(float(row["unseen"]), float(row["known"]), float(row["held_out"])) > 0.8  # to the edge's pixels


@pytest.mark.slow
def test_labeller_goes_on_where_it_was_stopped(hospital, trained, monkeypatch):
    words = (
        hospital / "new",
        "--reference",
        hospital / "known",
        "--out",
        hospital / "out",
        "--seeds",
        0,
        "--shown",
        160,
    )
    run_script("simulated_labeller.py", monkeypatch, *words, "--steps", 10)
    run_script("simulated_labeller.py", monkeypatch, *words, "--steps", 10, 20)
    with (hospital / "out" / "results.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [(row["order"], row["labelled"]) for row in rows] == [
        ("useful", "0"), ("useful", "10"), ("random", "0"), ("random", "10"), ("useful", "20"), ("random", "20"),
    ]  # fmt: skip
    # A third of 11 sequences is unseen, of 4 frames each the first: 3 frames. Of 8 sequences frames are labelled.
    assert {(row["frames"], row["sequences"]) for row in rows} == {("3", "3")}
    for row in rows[1::2]:
        assert float(row["trained"]) > 0.8
    assert rows[0]["dice"] == rows[2]["dice"]  # before the first correction the orders are one
    run_script("simulated_labeller.py", monkeypatch, *words, "--draw", hospital / "figure.png")
    assert (hospital / "figure.png").stat().st_size > 5000


@pytest.fixture
def with_float_weights(tmp_path):
    """The packaged model's file; two of its 1x1 convolutions keep their weights in float."""
    content, facts = read_model_file(resolve("polyp-lite"))
    graph = onnx.load_from_string(content)
    stored = {value.name: numpy_helper.to_array(value) for value in graph.graph.initializer}
    chosen = [layer for layer in quantised_convolutions(graph) if layer.kernel == (1, 1)][:2]
    kernels = {layer.name: [stored[name] for name in layer.stored[:2]] for layer in chosen}
    weights = {name: whole * np.reshape(steps, (-1, 1, 1, 1)) for name, (whole, steps) in kernels.items()}
    del graph.metadata_props[:]
    write_model_file(tmp_path / "float.onnx", keep_in_float(graph, weights).SerializeToString(), facts)
    return tmp_path / "float.onnx"


def test_each_way_of_a_graph_takes_its_turn(with_float_weights, monkeypatch, capsys):
    pytest.importorskip("openvino", reason='pip install "polypseg[openvino]"')
    words = (with_float_weights, "--rounds", 2, "--in-a-row", 1)
    monkeypatch.setattr(sys, "argv", ["graph_rewrites.py", *map(str, words)])
    runpy.run_path(str(FOLDER / "graph_rewrites.py"), run_name="__main__")
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    places = {row[0]: int(row[1]) for row in rows[2:]}
    assert places["as exported"] == sum(count for way, count in places.items() if way.startswith("without"))
    assert places["without halves"] == places["all convolutions in 8 bits"] == 2  # both are of weights in float
    assert [float(row[-1]) for row in rows[2:3]] == [1]
    assert all(float(row[2]) > 0 for row in rows[2:])


def test_float_weights_become_8_bits_by_output_channel():
    # 127 and -254 are the largest of the two outputs, so the steps are 1 and 2; 3 becomes 4. The values are of 8 bits.
    weights = np.float32([[127, 5], [-254, 3]])[..., None, None]
    values = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 1, 1])
    found = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 1, 1])
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["whole"]),
        helper.make_node("DequantizeLinear", ["whole", "step", "zero"], ["rounded"]),
        helper.make_node("Conv", ["rounded", "w"], ["y"]),
    ]
    constants = {"w": weights, "step": np.float32(1), "zero": np.uint8(0)}
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "one", [values], [found], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    all_in_8_bits = runpy.run_path(str(FOLDER / "graph_rewrites.py"))["all_in_8_bits"]
    assert all_in_8_bits(model) == 1
    onnx.checker.check_model(model)
    answer = ReferenceEvaluator(model).run(None, {"x": np.float32([1, 10])[None, :, None, None]})[0]
    assert answer.ravel().tolist() == [127 + 50, -254 + 40]
    assert all_in_8_bits(model) == 0
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("Conv", ["x", "w"], ["y"]))
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    assert all_in_8_bits(model) == 0


def test_augmentations_cost_dice_and_false_alarms_as_worked_out_by_hand():
    # The engine halves what lies left. .96 on the right alone becomes .72 in doubt, below the peak threshold of .9, and
    # is lost; .96 on both sides stays, but for its left pixel, which has .48: a Dice of 2 / (1 + 2).
    both, right = (np.uint8(255 * frame(*marks)) for marks in (((1, 6, 0.96), (1, 1, 0.96)), ((1, 6, 0.96),)))
    functions = runpy.run_path(str(FOLDER / "mirror_images.py"))
    shown = []
    for square in (both, right):
        reference = OneSided().run(square[None] / np.float32(255))[0, ..., 0] >= 0.4
        shown += [functions["Frame"]("polyps", square, reference), functions["Frame"]("removed", square, None)]
    counts, rows = functions["measure"](OneSided(), iter(shown), ("none", "doubt"), (0.9,))
    assert counts == {"polyps": 2, "removed": 2}
    assert rows["none", 0.9] == pytest.approx({"polyps": (2 / 3 + 1) / 2, "in doubt": 1, "removed": 1})
    assert rows["doubt", 0.9] == pytest.approx({"polyps": (2 / 3 + 0) / 2, "in doubt": 1, "removed": 0.5})
    assert SIZE**2 * functions["MARKED"] < 1  # one pixel is enough
