import json

import keras
import numpy as np
import pytest

from polypseg.errors import DataError, ModelError
from polypseg.models.attention_unet import attention_unet
from polypseg.models.checkpoint import save_model
from polypseg.predict.engines.opening import open_engine
from polypseg.predict.predictor import Predictor
from polypseg.records.model_facts import ModelFacts


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("run")
    (folder / "checkpoints").mkdir()
    save_model(attention_unet((16, 16, 3), filters=2, depth=2), folder / "checkpoints" / "best.keras")
    return folder


def images(*shapes):
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]


class Brightness:
    """An engine whose probability is the image's own red: what comes out can be followed by hand."""

    name, size, threshold = "brightness", 2, 0.5
    facts = ModelFacts(size=8)

    def __init__(self):
        self.batches = []

    def run(self, batch):
        self.batches.append(len(batch))
        return batch[..., :1]


def predict_probabilities(engine, images, batch_size=8):
    for prediction in Predictor(engine).predict_many(images, batch_size):
        yield prediction.probability


def predict_mask(engine, image):
    prediction = Predictor(engine).predict(image)
    return prediction.probability, prediction.mask


def test_maps_come_back_at_the_own_size_of_each_image(run_folder):
    shapes = [(16, 16), (37, 50), (9, 5)]
    maps = list(predict_probabilities(open_engine(run_folder), images(*shapes)))
    assert [m.shape for m in maps] == shapes
    assert all(m.dtype == np.float32 and m.min() >= 0 and m.max() <= 1 for m in maps)


def test_the_way_there_and_back_by_hand():
    # Left half 255, right half 0: 2x4 shrinks to 2x2 columns (1, 0) and grows back bilinearly to 4 columns.
    # Centres of the new columns in old pixels: -0.25, 0.25, 0.75, 1.25; values 1, 0.75, 0.25, 0.
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, :2] = 255
    probability, mask = predict_mask(Brightness(), image)
    np.testing.assert_allclose(probability, [[1, 0.75, 0.25, 0]] * 2, atol=1e-6)
    assert mask.tolist() == [[True, True, False, False]] * 2


def test_batches_are_read_as_needed_and_in_order():
    engine, read = Brightness(), []

    def one_by_one():
        for value in range(5):
            read.append(value)
            yield np.full((3, 3, 3), 50 * value, np.uint8)

    maps = predict_probabilities(engine, one_by_one(), batch_size=2)
    next(maps)
    assert read == [0, 1]
    assert [round(float(m[0, 0] * 255)) for m in maps] == [50, 100, 150, 200]
    assert engine.batches == [2, 2, 1]


def test_batch_size_does_not_change_the_maps(run_folder):
    engine, pictures = open_engine(run_folder), images((20, 20), (30, 17), (16, 40))
    for alone, together in zip(
        predict_probabilities(engine, pictures, 1), predict_probabilities(engine, pictures, 3), strict=True
    ):
        np.testing.assert_allclose(alone, together, atol=1e-6)


@pytest.mark.slow
def test_run_and_its_checkpoint_are_one_model(run_folder):
    picture = images((20, 20))[0]
    first, _ = predict_mask(open_engine(run_folder), picture)
    second, _ = predict_mask(open_engine(run_folder / "checkpoints" / "best.keras"), picture)
    np.testing.assert_array_equal(first, second)


def test_stored_threshold_is_used(run_folder, tmp_path):
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    assert open_engine(folder).threshold == 0.5
    (folder / "threshold.json").write_text(json.dumps({"threshold": 0.35}))
    assert open_engine(folder).threshold == 0.35
    for text in ("{}", "0.4", '{"threshold": "high"}'):
        (folder / "threshold.json").write_text(text)
        with pytest.raises(ModelError, match="not a stored threshold, or a damaged one"):
            open_engine(folder)
    (folder / "threshold.json").write_text('{"threshold": 40}')
    with pytest.raises(ModelError, match="threshold: Input should be less than or equal to 1"):
        open_engine(folder)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no such file or folder"):
        open_engine(tmp_path / "none")
    with pytest.raises(ModelError, match=r"holds no checkpoints/best\.keras"):
        open_engine(tmp_path)
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(ModelError, match=r"expected a run folder, an \.onnx, .* file \(LiteRT\), found \.pt"):
        open_engine(tmp_path / "model.pt")
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    with pytest.raises(ModelError, match="the model takes"):
        open_engine(tmp_path / "other.keras")


def test_what_is_no_image_is_refused(run_folder):
    with pytest.raises(DataError, match=r"expected \(H, W, 3\) uint8"):
        predict_mask(open_engine(run_folder), np.zeros((4, 4, 3)))
