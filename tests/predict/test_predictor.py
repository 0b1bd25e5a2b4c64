"""load(MODEL).predict(image): three steps, options, attention; without a training framework."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as PillowImage

import polypseg
from polypseg.errors import DataError, ImageError, ModelError, UsageError
from polypseg.predict.predictor import PredictOptions
from polypseg.preprocess import normalise, resize_image
from predict.tiny_model import write_foreign_model, write_picture, write_tiny_model


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(params=["onnxruntime", "openvino"])
def engine(request):
    pytest.importorskip(request.param)
    return request.param


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_probability_is_red_by_hand(path, engine):
    # 16 x 16 is the model's own size: nothing is resized, and red 128 / 255 = 0.502 is the first level at 0.5.
    image = np.zeros((16, 16, 3), np.uint8)
    image[3, 4:7, 0] = 127, 128, 255
    prediction = polypseg.load(path, engine).predict(image)
    np.testing.assert_allclose(prediction.probability, image[..., 0] / 255, atol=1e-6)
    assert np.argwhere(prediction.mask).tolist() == [[3, 5], [3, 6]]
    assert (prediction.threshold, prediction.mask.dtype, prediction.probability.dtype) == (0.5, bool, np.float32)
    assert prediction.seconds > 0
    assert prediction.image is image


def test_a_prediction_prints_as_one_line(path):
    # One red pixel of 256: 0.4 % of the image, and its probability is 1.
    image = np.zeros((16, 16, 3), np.uint8)
    image[0, 0, 0] = 255
    shown = str(polypseg.load(path, "onnxruntime").predict(image))
    assert shown.startswith(
        "Prediction(16x16 px, polyp in 0.4 % of the image, largest probability 1.000, threshold 0.5,"
    )
    assert "\n" not in shown


def test_the_three_steps_are_predict(path, engine):
    predictor = polypseg.load(path, engine)
    images = [random_image(20, 30), random_image(16, 16, 1), random_image(7, 50, 2)]
    prepared = [predictor.prepare(image) for image in images]
    outputs = predictor.run([each.pixels for each in prepared])
    for index, (image, whole) in enumerate(zip(images, predictor.predict_batch(images), strict=True)):
        np.testing.assert_array_equal(predictor.prepare(image).pixels, normalise(resize_image(image, (16, 16))))
        one, alone = predictor.finish(image, prepared[index], outputs.of(index), seconds=5), predictor.predict(image)
        for other in (whole, alone):
            np.testing.assert_allclose(one.probability, other.probability, atol=1e-6)
            np.testing.assert_array_equal(one.mask, other.mask)
        assert 5 < one.seconds < 6


def test_predict_file_is_upright(path, tmp_path):
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # to be turned right
    PillowImage.fromarray(random_image(16, 24)).save(tmp_path / "turned.png", exif=exif)
    predictor = polypseg.load(path, "onnxruntime")
    assert predictor.predict_file(tmp_path / "turned.png").mask.shape == (24, 16)
    with pytest.raises(ImageError, match="16x24 pixels are more than the allowed 300"):
        predictor.predict_file(tmp_path / "turned.png", max_pixels=300)


@pytest.mark.parametrize(
    "image",
    ["a.png", np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), None],
)
def test_what_is_no_image_array_is_refused(path, image):
    with pytest.raises(DataError, match=r"expected \(H, W, 3\) uint8"):
        polypseg.load(path, "onnxruntime").predict(image)


def test_one_pixel(path, engine):
    prediction = polypseg.load(path, engine).predict(np.full((1, 1, 3), 255, np.uint8))
    assert prediction.probability.tolist() == [[1.0]]
    assert prediction.mask.tolist() == [[True]]
    assert prediction.overlay().shape == (1, 1, 3)


def test_options_act(path):
    image = np.zeros((16, 16, 3), np.uint8)
    image[2, 2, 0], image[8:12, 8:12, 0] = 255, 100
    predictor = polypseg.load(path, "onnxruntime")
    assert predictor.predict(image).mask.sum() == 1
    assert predictor.with_options(threshold=0.3).predict(image).mask.sum() == 17
    assert predictor.with_options(threshold=0.3, min_area_px=2).predict(image).mask.sum() == 16
    for options, message in (
        ({"threshold": 1.5}, r"threshold 1\.5: expected a value in \[0, 1\]"),
        ({"threshold": float("nan")}, "threshold nan"),
        ({"tta": "turns"}, "unknown test-time augmentation 'turns'.*flips, none"),
        ({"min_area_px": -1}, "min_area_px -1: expected at least 0"),
    ):
        with pytest.raises(UsageError, match=message):
            PredictOptions(**options)
    with pytest.raises(UsageError, match="batch_size 0"):
        list(predictor.predict_many([image], 0))


def test_a_model_file_keeps_its_own_threshold(tmp_path):
    path = write_tiny_model(tmp_path / "m.onnx", threshold=0.3)
    assert polypseg.load(path, "onnxruntime").predict(np.full((16, 16, 3), 100, np.uint8)).mask.all()


def test_augmentation_of_a_model_that_sees_pixel_by_pixel_changes_nothing(path):
    image = random_image(16, 16)
    predictor = polypseg.load(path, "onnxruntime")
    flipped = predictor.with_options(tta="flips").predict(image)
    np.testing.assert_allclose(flipped.probability, predictor.predict(image).probability, atol=1e-6)


def test_attention_at_the_images_own_size(path, engine):
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 1] = 51  # a fifth
    predictor = polypseg.load(path, engine, options=PredictOptions(attention=True))
    (found,) = predictor.predict(image).attention()
    assert found.level == 1
    np.testing.assert_allclose(found.map, np.full((32, 32), 0.2), atol=1e-6)
    with pytest.raises(ModelError, match="holds no attention; ask for it"):
        predictor.with_options(attention=False).predict(image).attention()


def test_attention_of_a_model_without_gates_is_told(tmp_path):
    path = tmp_path / "m.onnx"
    from polypseg.predict.engines.model_file import write_model_file
    from polypseg.records.model_facts import ModelFacts
    from predict.tiny_model import tiny_graph

    write_model_file(path, tiny_graph().SerializeToString(), ModelFacts(size=16, name="plain"))
    predictor = polypseg.load(path, "onnxruntime", options=PredictOptions(attention=True))
    with pytest.raises(ModelError, match="the model 'plain' gives no attention"):
        predictor.predict(random_image(4, 4))


def test_models_that_are_not_ours_or_damaged(tmp_path, engine):
    foreign = write_foreign_model(tmp_path / "other.onnx", author="x")
    with pytest.raises(ModelError, match=r"other\.onnx: not a model that polypseg exported: .*polypseg\.size"):
        polypseg.load(foreign, engine)
    damaged = write_tiny_model(tmp_path / "damaged.onnx")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(ModelError, match=r"damaged\.onnx: damaged or changed"):
        polypseg.load(damaged, engine)
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match=r"empty\.onnx: the file is empty"):
        polypseg.load(tmp_path / "empty.onnx", engine)


WITHOUT_FRAMEWORKS = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {refused!r}:
            raise ModuleNotFoundError(f"refused: {{name}}", name=name)
sys.meta_path.insert(0, Refuse())
sys.argv = ["polypseg", "predict", {model!r}, {image!r}, "-o", {out!r}, "--overlays", "--coco"]
sys.argv += ["--engine", "onnxruntime"]
from polypseg.__main__ import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print(*sorted(set(sys.modules) & {refused!r}))
"""
FRAMEWORKS = ("keras", "tensorflow", "torch", "jax", "tf2onnx", "onnx", "nncf")
EXTRAS = ("matplotlib", "imagehash", "scipy", "pywt", "openvino", "av", "fastapi")


def test_predict_runs_where_no_training_framework_nor_extra_is_installed(path, tmp_path):
    image = write_picture(tmp_path / "a.png", 200)
    code = WITHOUT_FRAMEWORKS.format(
        refused={*FRAMEWORKS, *EXTRAS}, model=str(path), image=str(image), out=str(tmp_path / "out")
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ""
    assert (tmp_path / "out" / "masks" / "a.png").is_file()
