"""polypseg predict, as it is typed: what it takes, what it writes, and every kind of bad input."""

import csv
import errno
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from typer.testing import CliRunner

from polypseg.cli import app
from polypseg.cli.predict import predict
from polypseg.cli.predict_options import MAX_PIXELS_LIMIT
from polypseg.predict.video.options import VideoOptions, VideoSummary
from polypseg.preprocess import MAX_PIXELS
from predict.test_packaged import install
from predict.tiny_model import write_foreign_model, write_picture, write_tiny_model


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with the model tiny.onnx and the image good.png, which is polyp all over."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("polypseg.predict.engines.packaged.FOLDER", tmp_path / "no weights")
    write_tiny_model(tmp_path / "tiny.onnx")
    write_picture(tmp_path / "good.png", 200, 20, 30)
    return tmp_path


def typed(*words, code=0, given=None):
    """The output of `polypseg predict WORDS -o out`, which ends with the exit code."""
    words = [str(word) for word in words]
    where = [] if "-o" in words else ["-o", "out"]
    engine = [] if "--engine" in words else ["--engine", "onnxruntime"]
    result = CliRunner().invoke(app, ["predict", *words, *where, *engine], input=given)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def table():
    return list(csv.DictReader(Path("out/predictions.csv").read_text("utf-8").splitlines()))


def mask(name, folder="out"):
    with PillowImage.open(f"{folder}/masks/{name}.png") as opened:
        return np.asarray(opened)


def test_an_image_gives_a_mask_of_its_size_and_a_row():
    output = typed("tiny.onnx", "good.png")
    assert "predicted 1 image in" in output
    assert "wrote out/predictions.csv, masks in out/masks" in output
    assert mask("good").tolist() == [[255] * 30] * 20
    assert [row["area_px"] for row in table()] == ["600"]


def test_every_output_that_is_asked_for_is_there_and_no_other(here):
    typed("tiny.onnx", "good.png", "-o", "plain")
    plain = [".inputs.jsonl", "masks", "predictions.csv", "settings.json"]
    assert sorted(p.name for p in (here / "plain").iterdir()) == plain
    words = ("--probabilities", "npz", "--overlays", "--contours", "--heatmaps", "--attention", "--coco")
    typed("tiny.onnx", "good.png", *words)
    found = {p.relative_to("out").as_posix() for p in Path("out").rglob("*") if p.is_file()}
    assert found == {
        "predictions.csv",
        "settings.json",
        ".coco.jsonl",
        ".inputs.jsonl",
        "coco.json",
        "coco_polygons.json",
        "masks/good.png",
        "probabilities/good.npz",
        "overlays/good.png",
        "contours/good.png",
        "heatmaps/good.png",
        "attention/good_1.png",
    }


class TestModel:
    def test_options_and_packaged_names(self, here, monkeypatch):
        install(monkeypatch, here / "weights")
        for words in (("good.png",), ("second", "good.png"), ("good.png", "--model", "second")):
            assert "predicted 1 image" in typed(*words, "-o", "-".join(words).replace(".png", ""))

    def test_a_file_of_the_name_of_a_packaged_model_is_the_image(self, here, monkeypatch):
        install(monkeypatch, here / "weights")
        write_picture(here / "first.png", 0).rename(here / "first")
        typed("first")
        assert mask("first").max() == 0

    def test_with_an_option_every_word_is_a_path(self, here):
        message = "tiny.onnx: a model among the images; name one model, first or with --model"
        assert message in typed("--model", "tiny.onnx", "tiny.onnx", code=2)
        assert message in typed("good.png", "tiny.onnx", code=2)

    def test_without_any(self):
        assert "no model is named, and this installation holds none" in typed("good.png", code=1)

    def test_a_misspelt_name(self, here, monkeypatch):
        install(monkeypatch, here / "weights")
        assert "unknown model 'frist'; did you mean 'first'" in typed("frist", "good.png", code=1)

    @pytest.mark.parametrize("engine", ["keras", "auto"])
    def test_a_run_folder_needs_a_finished_epoch(self, here, engine):
        (here / "run" / "checkpoints").mkdir(parents=True)
        output = typed("run", "good.png", "--engine", engine, code=1)
        assert "run: holds no checkpoints/best.keras" in output

    def test_a_run_folder(self, here):
        import keras

        from polypseg.models.attention_unet import attention_unet
        from polypseg.models.checkpoint import save_model

        keras.utils.set_random_seed(0)
        (here / "run" / "checkpoints").mkdir(parents=True)
        save_model(attention_unet((16, 16, 3), filters=2, depth=1), here / "run" / "checkpoints" / "best.keras")
        assert "predicted 1 image" in typed("run", "good.png", "--engine", "auto", "--attention")
        assert Path("out/attention/good_1.png").is_file()


class TestKinds:
    @pytest.mark.parametrize("name", ["mymodel.h5", "mymodel.xml", "mymodel.TFLITE", "mymodel.pth", "saved"])
    @pytest.mark.parametrize("words", [("{0}", "good.png"), ("good.png", "{0}"), ("--model", "{0}", "good.png")])
    def test_a_model_that_cannot_be_used_is_no_image(self, here, name, words):
        if name == "saved":
            (here / name).mkdir()
            (here / name / "saved_model.pb").write_bytes(b"")
        else:
            (here / name).write_bytes(b"a model of another tool")
        output = typed(*(word.format(name) for word in words), code=2)
        assert f"{name}: a model that cannot be used: expected .onnx, .keras, .xml with .bin" in output
        assert not Path("out").exists()

    def test_endings_in_capitals(self, here):
        (here / "tiny.onnx").rename(here / "TINY.ONNX")
        typed("TINY.ONNX", "good.png")
        assert mask("good").tolist() == [[255] * 30] * 20

    @pytest.mark.parametrize("suffix", ["mpg", "ts", "wmv", "jpg", "film"])
    def test_a_video_under_any_name(self, here, suffix):
        pytest.importorskip("av", reason='pip install "polypseg[video]"')
        from predict.video_making import moving_scene, write_video

        path = write_video(here / "film.mp4", moving_scene(3)).rename(here / f"film.{suffix}")
        output = typed("tiny.onnx", path.name, "-o", "o.mp4")
        assert "predicted 3 frames" in output
        assert (here / "o.mp4").is_file()

    @pytest.mark.parametrize("out", ["out.mp4", "out.MKV", "out.avi"])
    def test_images_make_no_folder_that_is_named_like_a_video(self, here, out):
        assert f"{out}: named like a video, and images are given" in typed("tiny.onnx", "good.png", "-o", out, code=2)
        assert not (here / out).exists()

    def test_a_video_needs_a_file_before_anything_else(self, here):
        (here / "a.mpg").write_bytes(b"")
        assert "expected a name that ends in .mp4 or .mkv" in typed("no-model.onnx", "a.mpg", "-o", "results", code=2)

    def test_links_to_one_file_are_rows_of_their_own(self, here):
        write_picture(here / "blobs" / "abc.png", 200, 9, 9)
        (here / "set").mkdir()
        for number in (1, 2):
            (here / "set" / f"case0{number}.png").symlink_to(here / "blobs" / "abc.png")
        write_picture(here / "set" / "case03.png", 200, 9, 9)
        write_picture(here / "elsewhere" / "case04.png", 200, 9, 9)
        (here / "set" / "more").symlink_to(here / "elsewhere")
        (here / "elsewhere" / "loop").symlink_to(here / "set")
        typed("tiny.onnx", "set")
        assert [row["name"] for row in table()] == ["case01", "case02", "case03", "more/case04"]


class TestCall:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("tiny.onnx",), "no image named"),
            (("tiny.onnx", "good.png", "--resume", "--overwrite"), "--resume and --overwrite exclude each other"),
            (("tiny.onnx", "good.png", "--threshold", "2"), "threshold 2: expected a value in"),
            (("tiny.onnx", "good.png", "--probabilities", "png"), "unknown format of probabilities 'png'"),
            (("tiny.onnx", "good.png", "--engine", "tpu"), "unknown engine 'tpu'"),
            (("tiny.onnx", "a.mp4", "good.png"), "predict one video or camera at a time"),
            (("tiny.onnx", "a.mp4", "--camera", "0"), "predict one video or camera at a time"),
            (("tiny.onnx", "good.png", "--max-pixels", MAX_PIXELS_LIMIT + 1), "max-pixels"),
            (("tiny.onnx", "good.png", "--review", "1.5"), "review 1.5: expected a share of the frames"),
            (("tiny.onnx", "a.mp4", "--review", "0.1", "-o", "b.mp4"), "--review is for images"),
        ],
    )
    def test_wrong_calls_end_with_2_and_write_nothing(self, words, message):
        assert message in typed(*words, code=2)
        assert not Path("out").exists()

    def test_a_place_for_the_results_is_needed(self):
        result = CliRunner().invoke(app, ["predict", "tiny.onnx", "good.png"])
        assert result.exit_code == 2
        assert "missing -o: name a folder for the results" in result.output

    def test_results_are_not_overwritten_unless_told(self):
        typed("tiny.onnx", "good.png")
        assert "--resume" in typed("tiny.onnx", "good.png", code=1)
        assert "predicted 0 images" in typed("tiny.onnx", "good.png", "--resume")
        assert "predicted 1 image " in typed("tiny.onnx", "good.png", "--overwrite")

    def test_options_reach_the_prediction(self, here):
        typed("tiny.onnx", "good.png", "--threshold", "0.9")
        assert table()[0]["area_px"] == "0"
        write_picture(here / "spot.png", 255, 16, 16, (0, 0, 2, 2))
        typed("tiny.onnx", "spot.png", "--min-area", "5", "-o", "spots")
        assert mask("spot", "spots").max() == 0
        typed(
            "tiny.onnx",
            "spot.png",
            "--min-area",
            "4",
            "--tta",
            "flips",
            "--batch-size",
            "3",
            "--threads",
            "1",
            "-o",
            "more",
        )
        assert mask("spot", "more").sum() == 4 * 255

    def test_defaults_of_the_command_are_those_of_the_library(self):
        import inspect

        from polypseg.predict.images.outputs import OutputOptions
        from polypseg.predict.predictor import PredictOptions

        given = {name: parameter.default for name, parameter in inspect.signature(predict).parameters.items()}
        video = VideoOptions()
        assert given["max_pixels"] == MAX_PIXELS
        assert (given["smooth"], given["smooth_frames"], given["withhold"], given["view"], given["quality"]) == (
            video.smoothing,
            video.smoothing_frames,
            video.withhold_frames,
            video.view,
            video.quality,
        )
        assert (given["threshold"], given["min_area"]) == (PredictOptions().threshold, PredictOptions().min_area_px)
        assert given["probabilities"] == OutputOptions().probabilities


def encoded(image, kind="PNG", **options):
    content = io.BytesIO()
    (PillowImage.fromarray(image) if isinstance(image, np.ndarray) else image).save(content, kind, **options)
    return content.getvalue()


def png_header(height, width):
    """A PNG that claims its size and holds nothing."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (chunk, data, b"IEND")
    )


RED = np.full((6, 8, 3), (200, 0, 0), np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
FRAMES = [PillowImage.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
BAD = {
    "zero bytes": ("bad.jpg", b"", "the file is empty (0 bytes)"),
    "a JPEG cut short": ("bad.jpg", encoded(NOISE, "JPEG")[:-900], "cut short"),
    "a PNG cut short": ("bad.png", encoded(NOISE)[:6000], "cut short"),
    "a text named as an image": ("bad.jpg", b"this is a text", "not an image that can be read"),
    "20,000 x 20,000": ("bad.png", png_header(20_000, 20_000), "more pixels than any bound allows"),
    "9,000 x 9,000": ("bad.png", png_header(9000, 9000), "9000x9000 pixels are more than the allowed 64,000,000"),
    "an animated GIF": ("bad.gif", encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), "2 frames"),
    "an animated PNG": ("bad.png", encoded(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), "2 frames"),
    "floating point": ("bad.tif", encoded(np.ones((4, 4), np.float32), "TIFF"), "floating-point values"),
    "8-bit values in 16": ("bad.png", encoded(np.full((4, 4), 200, np.uint16)), "expected 16 bit"),
}
GOOD = {
    "a PNG named .jpg": ("other.jpg", encoded(RED), 200),
    "CMYK": ("other.jpg", encoded(PillowImage.new("CMYK", (8, 6), (0, 255, 255, 0)), "JPEG", quality=100), 255),
    "16 bit": ("other.png", encoded(np.full((6, 8), 200 * 257, np.uint16)), 200),
    "grey": ("other.png", encoded(np.full((6, 8), 200, np.uint8)), 200),
    "alpha": ("other.png", encoded(PillowImage.new("RGBA", (8, 6), (255, 0, 0, 200))), 200),  # laid on black
    "palette": ("other.gif", encoded(PillowImage.fromarray(RED).quantize(4), "GIF"), 200),
    "a BMP": ("other.bmp", encoded(RED, "BMP"), 200),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_a_line_at_the_end_and_exit_code_1(here, kind):
    name, content, message = BAD[kind]
    (here / name).write_bytes(content)
    output = typed("tiny.onnx", name, "good.png", code=1)
    assert "error: 1 of 2 images could not be predicted; the others are done:" in output
    (line,) = [line for line in output.splitlines() if line.startswith(f"  {name}: ")]
    assert message in line
    assert [(row["name"], bool(row["fault"])) for row in table()] == [("bad", True), ("good", False)]
    assert sorted(path.name for path in Path("out/masks").iterdir()) == ["good.png"]


def test_where_no_image_could_be_predicted_no_others_are_mentioned(here):
    (here / "bad.png").write_bytes(b"no picture")
    alone = typed("tiny.onnx", "bad.png", code=1)
    assert "error: 1 of 1 image could not be predicted:\n  bad.png: " in alone
    assert "masks in" not in alone  # no mask was written


def test_the_mask_of_one_image_goes_to_the_png_that_is_named(here):
    # The 20 x 30 image is polyp all over.
    output = typed("tiny.onnx", "good.png", "-o", "found/mask.png")
    assert output == "wrote found/mask.png: polyp in 100.0 % of the image\n"
    with PillowImage.open("found/mask.png") as opened:
        assert np.asarray(opened).tolist() == [[255] * 30] * 20
    assert [path.name for path in Path("found").iterdir()] == ["mask.png"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["good.png", "other.png", "-o", "mask.png"], 2, "-o mask.png is one file, and 2 images are to be predicted"),
        (["good.png", "-o", "mask.jpg"], 2, "-o mask.jpg: a mask is written as PNG"),
        (["good.png", "-o", "good.png", "--overwrite"], 2, "-o good.png is the image itself"),
        (["good.png", "-o", "other.png"], 2, "other.png exists; replace it with --overwrite"),
        (["good.png", "-o", "mask.png", "--overlays"], 2, "-o mask.png takes one mask and nothing else"),
        (["good.png", "-o", "mask.png", "--resume"], 2, "-o mask.png takes one mask and nothing else"),
    ],
)
def test_a_png_as_output_is_for_one_mask_and_replaces_nothing(here, words, code, message):
    write_picture(here / "other.png", 0, 4, 4)
    before = {path.name: path.read_bytes() for path in here.glob("*.png")}
    assert f"error: {message}" in typed("tiny.onnx", *words, code=code)
    assert {path.name: path.read_bytes() for path in here.glob("*.png")} == before


def test_overwrite_replaces_the_png(here):
    write_picture(here / "mask.png", 10, 4, 4)
    typed("tiny.onnx", "good.png", "-o", "mask.png", "--overwrite")
    with PillowImage.open("mask.png") as opened:
        assert opened.size == (30, 20)


@pytest.mark.parametrize("kind", GOOD)
def test_an_odd_file_that_can_be_used_is(here, kind):
    name, content, red = GOOD[kind]
    (here / name).write_bytes(content)
    typed("tiny.onnx", name)
    assert mask("other").shape == (6, 8)
    assert float(table()[0]["max_probability"]) == pytest.approx(red / 255, abs=0.02)


def test_one_pixel(here):
    write_picture(here / "dot.png", 255, 1, 1)
    typed("tiny.onnx", "dot.png", "--overlays", "--contours", "--heatmaps", "--attention", "--coco")
    assert mask("dot").tolist() == [[255]]
    assert table()[0]["box_width"] == "1"


def test_orientation_is_applied(here):
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # to be turned right: the left of the file is shown at the top
    image = np.zeros((16, 32, 3), np.uint8)
    image[:, :8, 0] = 255
    (here / "turned.png").write_bytes(encoded(image, exif=exif))
    typed("tiny.onnx", "turned.png")
    found = mask("turned")
    assert found.shape == (32, 16)
    assert found[:6].min() == 255
    assert found[10:].max() == 0


def test_standard_input(here):
    typed("tiny.onnx", "-", given=(here / "good.png").read_bytes())
    assert mask("stdin").shape == (20, 30)
    output = typed("tiny.onnx", "-", "-o", "other", code=1, given=b"")
    assert "stdin: the file is empty" in output


def test_bound_of_pixels_is_the_callers(here):
    output = typed("tiny.onnx", "good.png", "--max-pixels", "599", code=1)
    assert "good.png: 20x30 pixels are more than the allowed 599" in output
    typed("tiny.onnx", "good.png", "--max-pixels", "600", "-o", "other")


def test_folders(here):
    (here / "empty").mkdir()
    assert "empty: no image in this folder" in typed("tiny.onnx", "empty", code=1)
    assert "none: no such file or folder" in typed("tiny.onnx", "none", code=1)
    (here / "in").mkdir()
    (here / "good.png").rename(here / "in" / "good.png")
    output = typed("tiny.onnx", "in", "-o", "in", code=2)
    assert "in: the results cannot go into the folder that is searched" in output
    assert [path.name for path in (here / "in").iterdir()] == ["good.png"]
    typed("tiny.onnx", "in", "-o", "in/out")
    assert "predicted 0 images" in typed("tiny.onnx", "in", "-o", "in/out", "--resume")  # its masks are no inputs


def test_an_unreadable_file(here, monkeypatch):
    write_picture(here / "closed.png", 9)
    real = Path.read_bytes

    def read_bytes(self):
        if self.name == "closed.png":  # tests may run as root, who may read all
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    output = typed("tiny.onnx", "closed.png", "good.png", code=1)
    assert "  closed.png: cannot read the file: Permission denied" in output
    assert mask("good").size


def test_a_place_that_cannot_be_written(here):
    (here / "out").write_text("a file")
    output = typed("tiny.onnx", "good.png", code=1)
    assert output.count("\n") == 1
    assert "out: cannot write: File exists" in output


def test_models_that_are_none_of_ours_or_damaged(here):
    write_foreign_model(here / "other.onnx", **{"polypseg.size": "16"})
    output = typed("other.onnx", "good.png", code=1)
    assert "its metadata lack polypseg.normalisation, polypseg.threshold, polypseg.target" in output
    content = bytearray((here / "tiny.onnx").read_bytes())
    content[100] ^= 1
    (here / "damaged.onnx").write_bytes(content)
    assert "damaged.onnx: damaged or changed after it was exported" in typed("damaged.onnx", "good.png", code=1)
    assert "none.onnx: no such file" in typed("none.onnx", "good.png", code=1)
    assert not Path("out").exists()


class TestVideo:
    @pytest.fixture
    def calls(self, monkeypatch):
        """What `predict_video` is called with.

        It gives a summary of 90 frames, the first of them damaged; at most 5 frames stand for Ctrl-C.
        """
        found = []

        def predict_video(source, output, predictor, options, track):
            found.append((source, output, options, predictor.threshold))
            damaged = 1 if len(found) == 1 else 0
            is_interrupted = options.max_frames == 5
            return VideoSummary(
                output,
                output.with_suffix(".csv"),
                (4, 6),
                "libx264",
                num_frames=90,
                num_with_polyp=30,
                num_with_withheld=2,
                num_withheld=1,
                num_damaged=damaged,
                num_dropped=0,
                num_mistimed=0,
                num_resized=0,
                fault="",
                has_sound=True,
                interrupted=is_interrupted,
                video_seconds=3.6,
                seconds=2.0,
            )

        monkeypatch.setattr("polypseg.predict.video.work.predict_video", predict_video)
        monkeypatch.setattr("polypseg.report.timeline.timeline", lambda table, path: path)
        return found

    def test_a_video_is_handed_over_with_its_options(self, here, calls):
        (here / "a.MP4").write_bytes(b"")
        words = ("--smooth", "window", "--smooth-frames", "7", "--withhold", "6", "--view", "contour")
        output = typed(
            "tiny.onnx",
            "a.MP4",
            *words,
            "--quality",
            "30",
            "--max-frames",
            "9",
            "--threshold",
            "0.4",
            "-o",
            "o.mp4",
            code=1,
        )
        options = VideoOptions("window", 7, 6, "contour", quality=30, max_frames=9)
        assert calls == [(Path("a.MP4"), Path("o.mp4"), options, 0.4)]
        assert "predicted 90 frames in 2.0 s (45.0 a second), 30 of them with a polyp" in output
        assert "note: sound is not copied" in output
        assert "wrote o.mp4, o.csv, o.png" in output

    def test_a_camera(self, calls):
        typed("tiny.onnx", "--camera", "1", "-o", "o.mp4", code=1)
        typed("tiny.onnx", "--camera", "1", "-o", "p.mp4")  # nothing damaged
        assert calls[:1] == [(1, Path("o.mp4"), VideoOptions(), 0.5)]

    def test_ctrl_c_of_a_file_is_told_by_the_exit_code_and_of_a_camera_is_not(self, here, calls):
        (here / "a.mp4").write_bytes(b"")
        typed("tiny.onnx", "a.mp4", "-o", "o.mp4", code=1)  # damaged
        output = typed("tiny.onnx", "a.mp4", "--max-frames", "5", "-o", "p.mp4", code=130)
        assert "predicted 90 frames" in output
        assert "wrote p.mp4, p.csv, p.png" in output
        typed("tiny.onnx", "--camera", "0", "--max-frames", "5", "-o", "q.mp4", code=0)

    def test_what_is_there_is_not_overwritten(self, here, calls):
        (here / "a.mp4").write_bytes(b"")
        (here / "o.mp4").write_bytes(b"")
        assert "o.mp4: exists; replace it with --overwrite" in typed("tiny.onnx", "a.mp4", "-o", "o.mp4", code=2)
        typed("tiny.onnx", "a.mp4", "-o", "o.mp4", "--overwrite", code=1)
        (here / "r.csv").write_text("not a table of ours")
        assert "r.csv: exists" in typed("tiny.onnx", "a.mp4", "-o", "r.mp4", code=2)
        assert "none.mp4: no such file or folder" in typed("tiny.onnx", "none.mp4", "-o", "p.mp4", code=1)
        assert "none.png: no such file or folder" in typed("tiny.onnx", "none.png", code=1)
        assert len(calls) == 1
