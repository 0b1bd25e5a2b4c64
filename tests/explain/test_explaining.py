"""A model's maps, scored: a network whose one gate finds the polyp, and an exported file that carries its gate."""

import csv

import keras
import numpy as np
import pytest
from PIL import Image as PillowImage

from explain.test_gates import frame, gated_model
from polypseg.data.catalogue import find_samples
from polypseg.errors import DataError, ModelError, UsageError
from polypseg.explain.explaining import explain_model
from polypseg.explain.gradient import gradient_map
from polypseg.predict.engines.keras_engine import KerasEngine
from polypseg.predict.predictor import Predictor, load
from polypseg.records.explanation import load_explanation, save_explanation
from predict.tiny_model import SIZE, write_tiny_model


@pytest.fixture
def data(tmp_path):
    """Five frames of a white left half, which is the polyp; red and green are the model's answer and its gate."""
    for number in range(5):
        image, mask = frame(SIZE)
        image[0, 0, 2] = number
        for kind, picture in (("images", image), ("masks", mask.astype(np.uint8) * 255)):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            PillowImage.fromarray(picture).save(tmp_path / "data" / kind / f"f{number}.png")
    return tmp_path / "data"


def test_a_gradient_by_hand():
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, keras.layers.Conv2D(1, 1, name="mix")(image))
    model.get_layer("mix").set_weights([np.array([2.0, -3.0, 0.5]).reshape(1, 1, 3, 1), np.zeros(1)])
    mask = np.zeros((4, 4), bool)
    mask[1, 1:3] = True
    # the mean over two pixels: each colour of each of them counts half its weight: (2 + 3 + 0.5) / 2, others nothing
    np.testing.assert_allclose(gradient_map(model, np.ones((4, 4, 3), np.float32), mask), mask)
    model.get_layer("mix").set_weights([np.zeros((1, 1, 3, 1)), np.zeros(1)])
    assert not gradient_map(model, np.ones((4, 4, 3), np.float32), mask).any()


def test_all_figures_of_a_network(data, tmp_path):
    network, file = gated_model(SIZE), tmp_path / "model.keras"
    file.write_bytes(b"the model's own bytes")
    predictor = Predictor(KerasEngine(network, 0.5))
    record = explain_model(file, predictor, find_samples(data)[0], num_steps=4)
    found = {each.name: each for each in record.maps}
    assert list(found) == ["gate 1", "probability", "random", "gradient"]
    assert (record.num_frames, record.polyp_share, record.num_steps) == (5, 0.5, 4)
    gate = found["gate 1"]
    # alpha is 0.8 on the polyp and 0.2 beside it
    assert (gate.auroc, gate.energy_inside) == (1, pytest.approx(0.8, abs=1e-5))
    assert gate.dice_lost == pytest.approx(1 / 3, abs=1e-6)  # as tests/explain/test_gates.py derives
    assert -1 <= gate.randomised <= 1
    assert found["probability"].randomised is None
    assert found["random"].dice_lost is None
    assert found["random"].auroc == pytest.approx(0.5, abs=0.1)
    # only pixels of the mask have a gradient, and in this network each pixel answers for itself
    assert found["gradient"].energy_inside == pytest.approx(1)
    assert gate.deletion < found["random"].deletion
    assert gate.insertion > found["random"].insertion
    save_explanation(tmp_path, record)
    assert load_explanation(tmp_path) == record


def test_the_command_on_an_exported_file(data, tmp_path, monkeypatch, capsys):
    from polypseg.__main__ import main

    model, out = write_tiny_model(tmp_path / "tiny.onnx"), tmp_path / "out"

    def run(*words):
        monkeypatch.setattr("sys.argv", ["polypseg", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, " ".join("".join(capsys.readouterr()).split())

    code, said = run("explain", model, "--data", data, "-o", out, "--limit", 3, "--steps", 4)
    assert code == 0, said
    with (out / "explanation.csv").open(newline="") as opened:
        rows = {row["name"]: row for row in csv.DictReader(opened)}
    assert list(rows) == ["gate 1", "probability", "random"]
    assert float(rows["probability"]["auroc"]) == float(rows["probability"]["energy_inside"]) == 1
    assert rows["gate 1"]["dice_lost"] == rows["gate 1"]["randomised"] == "nan"
    assert "3 frames" in said
    with PillowImage.open(out / "explanation.png") as picture:
        assert picture.width > 1000
    assert run("explain", model, "--data", data, "-o", out)[0] == 2  # results are there
    code, said = run("explain", model, "--data", data)  # only a run has a place for them
    assert (code, "missing -o FOLDER" in said) == (2, True)


def test_what_cannot_be_explained_is_told(data, tmp_path):
    gateless = write_tiny_model(tmp_path / "tiny.onnx")
    predictor, samples = load(gateless, "onnxruntime"), find_samples(data)[0]
    with pytest.raises(UsageError, match="limit 0, steps 10: expected at least 1 each"):
        explain_model(gateless, predictor, samples, limit=0)
    for sample in samples:
        black = np.zeros((SIZE, SIZE, 3), np.uint8)
        black[0, 0, 2] = 1
        PillowImage.fromarray(black).save(sample.image_path)
    with pytest.raises(DataError, match="none of 5 frames shows a polyp that the model marks"):
        explain_model(gateless, predictor, samples)
    inputs = keras.Input((SIZE, SIZE, 3))
    plain = keras.Model(inputs, keras.layers.Conv2D(1, 1, activation="sigmoid")(inputs))
    with pytest.raises(ModelError, match="has no attention gates"):
        explain_model(gateless, Predictor(KerasEngine(plain, 0.5)), samples)
