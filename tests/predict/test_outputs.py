"""What is written: each kind by hand, and nothing that was there is lost."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.errors import DataError, UsageError
from polypseg.overlay import contour, heat_map, line_width_px
from polypseg.predict.images.outputs import (
    OutputFolder,
    OutputOptions,
    encode_png,
    sixteen_bits,
    write_bytes_in_one_step,
)
from polypseg.predict.images.sources import PassedOverWarning, find_sources
from polypseg.predict.predictor import PredictOptions, load
from polypseg.preprocess import read_grey
from predict.tiny_model import write_picture, write_tiny_model

ALL = OutputOptions("png16", overlays=True, contours=True, heatmaps=True, attention=True)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(path):
    with PillowImage.open(path) as picture:
        return np.asarray(picture)


def test_every_kind_of_output_is_the_predictions_own(here):
    model = write_tiny_model(here / "tiny.onnx")
    predictor = load(model, "onnxruntime", options=PredictOptions(attention=True))
    prediction = predictor.predict_file(write_picture(here / "a.png", 200, 32, 48, (8, 12, 24, 36)))
    (here / "out").mkdir()
    output = OutputFolder(here / "out", ALL, (1,))
    output.write(prediction, "deep/a")
    image, mask = prediction.image, prediction.mask
    expected = {
        "masks/deep/a.png": np.where(mask, 255, 0),
        "probabilities/deep/a.png": np.rint(prediction.probability.astype(float) * 65535),
        "overlays/deep/a.png": prediction.overlay(),
        "contours/deep/a.png": contour(image, mask, width_px=line_width_px(mask.shape)),
        "heatmaps/deep/a.png": heat_map(image, prediction.probability),
        "attention/deep/a_1.png": heat_map(image, prediction.attention()[0].map),
    }
    assert [path.relative_to(here / "out").as_posix() for path in output.paths("deep/a")] == list(expected)
    for name, pixels in expected.items():
        np.testing.assert_array_equal(opened(here / "out" / name), pixels, err_msg=name)
    assert 0 < mask.sum() < mask.size
    assert not list(here.rglob("*.part"))


def test_npz_holds_the_probability_to_the_last_bit(here):
    predictor = load(write_tiny_model(here / "tiny.onnx"), "onnxruntime")
    prediction = predictor.predict_file(write_picture(here / "a.png", 77, 31, 47, (8, 12, 24, 36)))
    (here / "out").mkdir()
    OutputFolder(here / "out", OutputOptions("npz")).write(prediction, "a")
    with np.load(here / "out" / "probabilities" / "a.npz") as stored:
        np.testing.assert_array_equal(stored["probability"], prediction.probability)
        assert stored["probability"].dtype == np.float32


def test_sixteen_bits_rounds_to_the_nearest_level():
    values = np.linspace(0, 1, 100_001, dtype=np.float32)[None]
    # Half a level is 1 / 131070 = 7.63e-6; float32 adds less than 6e-8.
    assert np.abs(sixteen_bits(values) / 65535 - values.astype(float)).max() < 7.7e-6


def test_png_keeps_colours_in_their_order():
    import io

    picture = np.array([[[1, 2, 3], [250, 128, 0]]], np.uint8)
    with PillowImage.open(io.BytesIO(encode_png(picture))) as decoded:
        np.testing.assert_array_equal(np.asarray(decoded), picture)


def test_unknown_format_is_refused():
    with pytest.raises(UsageError, match=r"unknown format of probabilities 'png4'.*png16"):
        OutputOptions("png4")


def test_eight_bits_are_what_other_programs_score(here):
    # Level k stands for k / 255, as `polypseg evaluate --predictions` and PraNet's programs read a map.
    predictor = load(write_tiny_model(here / "tiny.onnx"), "onnxruntime")
    prediction = predictor.predict_file(write_picture(here / "a.png", 77, 31, 47, (8, 12, 24, 36)))
    (here / "out").mkdir()
    OutputFolder(here / "out", OutputOptions("png8")).write(prediction, "a")
    pixels = opened(here / "out" / "probabilities" / "a.png")
    assert (pixels.dtype, pixels.shape) == (np.uint8, (31, 47))
    assert np.abs(pixels / 255 - prediction.probability).max() <= 0.5 / 255 + 1e-6
    np.testing.assert_array_equal(read_grey(here / "out" / "probabilities" / "a.png"), pixels)


def test_a_failed_write_leaves_the_old_file_and_no_part(here, monkeypatch):
    target = here / "a.png"
    write_bytes_in_one_step(target, b"old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        write_bytes_in_one_step(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in here.iterdir()] == ["a.png"]


class TestCheck:
    @pytest.fixture(autouse=True)
    def images(self, here):
        write_picture(here / "in" / "masks" / "a.png", 0)
        write_picture(here / "in" / "b.png", 0)

    def test_a_new_folder_passes(self):
        OutputFolder(Path("out"), ALL, (1,)).check(find_sources(["in/b.png", "in/masks"]), may_replace=False)

    @pytest.mark.parametrize("may_replace", [False, True])
    def test_an_input_is_never_replaced(self, may_replace):
        # The mask of in/masks/a.png, named alone, would be in/masks/a.png itself.
        output = OutputFolder(Path("in"), OutputOptions())
        with pytest.raises(DataError, match=r"1 inputs would be overwritten; (.|\n)*in/masks/a\.png"):
            output.check(find_sources(["in/masks/a.png"]), may_replace)

    def test_an_input_is_not_replaced_through_a_link(self, here):
        (here / "out").mkdir()
        (here / "out" / "masks").symlink_to(here / "in" / "masks")
        with pytest.raises(DataError, match="1 inputs would be overwritten"):
            OutputFolder(Path("out"), OutputOptions()).check(find_sources(["in/masks/a.png"]), may_replace=True)

    def test_files_that_are_there_stay_unless_told(self, here):
        write_picture(here / "out" / "masks" / "b.png", 9)
        output = OutputFolder(Path("out"), OutputOptions())
        with pytest.raises(DataError, match=r"1 file is there already; (.|\n)*out/masks/b\.png"):
            output.check(find_sources(["in/b.png"]), may_replace=False)
        output.check(find_sources(["in/b.png"]), may_replace=True)

    def test_results_that_are_there_stay_unless_told(self, here):
        (here / "out").mkdir()
        (here / "out" / "predictions.csv").write_text("")
        output = OutputFolder(Path("out"), OutputOptions())
        with pytest.raises(DataError, match=r"out holds results already .*--resume.*--overwrite"):
            output.check(find_sources(["in/b.png"]), may_replace=False)
        output.check(find_sources(["in/b.png"]), may_replace=True)

    def test_a_file_that_is_a_folder_of_others(self, here):
        write_picture(here / "in" / "b.png.d" / "c.png", 0)
        write_picture(here / "in" / "b.png.d.png", 0)
        (here / "in" / "b.png.d").rename(here / "in" / "x.png")
        write_picture(here / "in" / "x.bmp", 0)
        with pytest.warns(PassedOverWarning, match="in/masks"):
            found = find_sources(["in"])
        # in/x.bmp gives masks/x.png, in/x.png/c.png gives masks/x.png/c.png.
        with pytest.raises(DataError, match=r"both a file and a folder(.|\n)*out/masks/x\.png"):
            OutputFolder(Path("out"), OutputOptions()).check(found, may_replace=False)
