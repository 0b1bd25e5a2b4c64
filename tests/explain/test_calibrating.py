"""Calibration of a model whose answer can be followed by hand: the probability of a pixel is its red."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.data.catalogue import find_samples
from polypseg.data.samples import Sample
from polypseg.errors import DataError, ModelError, ScoreError, UsageError
from polypseg.explain.calibrating import Promise, calibrate, choose, frame_curves, unit_numbers
from polypseg.predict.nested import steps_of
from polypseg.predict.predictor import PredictOptions, load
from polypseg.records.seen import seen_of
from predict.tiny_model import SIZE, write_tiny_model

HALVES = np.zeros((4, 8), bool)
HALVES[:, :4] = True


def write_pair(folder, name, image, mask):
    for kind, picture in (("images", image), ("masks", mask)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(picture).save(folder / kind / f"{name}.png")


@pytest.fixture
def data(tmp_path):
    """20 frames of the model's own size: the polyp is the left half; its first six columns are sure (red 230), its last
    two doubtful (red 77, a probability of 0.302)."""
    folder = tmp_path / "data"
    for number in range(20):
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        image[:, :6, 0], image[:, 6:8, 0] = 230, 77
        image[0, -1, 1] = number  # each file is another
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[:, :8] = 255
        write_pair(folder, f"f{number:02}", image, mask)
    return folder


@pytest.fixture
def model(tmp_path):
    return write_tiny_model(tmp_path / "tiny.onnx")


def samples_of(folder):
    return find_samples(folder)[0]


def test_losses_by_hand():
    probability = np.where(HALVES, 0.9, 0.3).astype(np.float32)
    mask = probability >= 0.5
    reference = np.zeros((4, 8), bool)
    reference[:, 2:6] = True  # half of it under the mask, half under 0.3
    outer = frame_curves("threshold", "outer", np.array([0.5, 0.4, 0.3]), (probability, mask), reference)
    assert outer.losses.tolist() == [0.5, 0.5, pytest.approx(0, abs=1e-7), 0.0]
    assert outer.areas.tolist() == [1, 1, 2, 2]
    inner = frame_curves("threshold", "inner", np.array([0.5, 0.95]), (probability, mask), reference)
    assert inner.losses.tolist() == [0.5, 0, 0]  # half of the mask is no polyp; then nothing is left
    assert inner.areas.tolist() == [1, 0, 0]


def test_what_is_lost_by_an_inner_mask_never_rises():
    # the mask's four pixels: one false at 0.95, three true at 0.6; from 0.7 on only the false one is left
    probability = np.array([[0.6, 0.6, 0.6, 0.95, 0.0]], np.float32)
    reference = np.array([[True, True, True, False, False]])
    found = frame_curves("threshold", "inner", np.array([0.5, 0.7, 0.99]), (probability, probability >= 0.5), reference)
    assert found.losses.tolist() == [1, 1, 0, 0]  # 1/4 at first, but 1 comes later


def test_frames_without_a_polyp_or_without_a_mask():
    nothing, mask = np.zeros((4, 8), bool), HALVES
    probability = mask.astype(np.float32)
    values = np.array([0.5, 0.4])
    assert np.isnan(frame_curves("threshold", "outer", values, (probability, mask), nothing).losses).all()
    assert frame_curves("threshold", "inner", values, (probability, mask), nothing).losses[0] == 1
    empty = frame_curves("dilation", "outer", values, (probability * 0, nothing), mask)
    assert empty.losses.tolist() == [1, 1, 0]
    assert np.isnan(empty.areas).all()
    assert frame_curves("threshold", "inner", values, (probability * 0, nothing), mask).losses.tolist() == [0, 0, 0]


def test_the_outer_mask_of_a_calibration_takes_what_is_doubtful(data, model):
    found = calibrate(model, load(model, "onnxruntime"), samples_of(data), Promise(level=0.2)).calibration
    # the mask misses 2 of 8 columns: (20 · 0.25 + 1) / 21 = 0.286 > 0.2; below 0.302 it misses none: 1 / 21 = 0.048
    values = steps_of("threshold", "outer", 0.5)
    assert found.outer.value == max(value for value in values if np.float32(value) <= np.float32(77) / 255)
    assert found.outer.risk == pytest.approx(0, abs=1e-9)
    assert found.outer.stretch == pytest.approx(8 / 6)
    # all of the mask is polyp: the inner mask is the mask
    assert (found.inner.value, found.inner.stretch, found.inner.risk) == (0.5, 1, 0)
    assert (found.num_units, found.threshold, found.field, found.tta) == (20, 0.5, "whole", "none")
    assert found.model_sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
    first = samples_of(data)[0].image_path
    assert found.frame_sha256[0] == hashlib.sha256(first.read_bytes()).hexdigest()


def test_margins_too_and_the_other_family_is_told(data, model):
    promise = Promise(("missed",), 0.2, family="dilation")
    found = calibrate(model, load(model, "onnxruntime"), samples_of(data), promise)
    # 16 rows x 6 columns: a margin of 1 column is 1 / sqrt(96) = 0.102, so 0.11 is the first step: one column is left,
    # (20 · 0.125 + 1) / 21 = 0.167
    assert found.calibration.outer.value == pytest.approx(0.11)
    assert found.calibration.outer.risk == pytest.approx(0.125)
    assert found.calibration.outer.stretch == pytest.approx(7 / 6)
    assert found.calibration.inner is None
    assert found.others["missed", "threshold"].bound.stretch == pytest.approx(8 / 6)


def test_frames_of_a_group_are_one_unit(data, model):
    names = [sample.name for sample in samples_of(data)]
    groups = "\n".join(["frame,group", *(f"{name},{number // 4}" for number, name in enumerate(names))])
    (data / "groups.csv").write_text(groups + "\n")
    samples = samples_of(data)
    assert unit_numbers(samples) == [number // 4 for number in range(20)]
    with pytest.raises(DataError, match=r"level 0\.1 needs at least 9 groups .*, found 5; add frames of others"):
        calibrate(model, load(model, "onnxruntime"), samples, Promise(level=0.1))
    # 5 units without a loss: 1 / 6 = 0.167
    assert calibrate(model, load(model, "onnxruntime"), samples, Promise(level=0.17)).calibration.num_units == 5


def test_a_level_that_only_the_whole_frame_holds_is_refused(data, model):
    for sample in samples_of(data)[:10]:  # of these the model finds nothing at all
        PillowImage.fromarray(np.zeros((SIZE, SIZE, 3), np.uint8)).save(sample.image_path)
    # half of the polyps are missed at every threshold: (10 + 1) / 21 = 0.524 is the lowest level: 0.53
    with pytest.raises(ScoreError, match=r"only the whole frame .* holds it; 0\.53 is the lowest level"):
        calibrate(model, load(model, "onnxruntime"), samples_of(data), Promise(("missed",), 0.5))
    found = calibrate(model, load(model, "onnxruntime"), samples_of(data), Promise(("missed",), 0.53))
    assert found.calibration.outer.risk == pytest.approx(0.5)


def test_frames_that_trained_the_model_are_refused(data, tmp_path):
    samples = samples_of(data)
    seen = seen_of([hashlib.sha256(samples[3].image_path.read_bytes()).hexdigest()])
    model = write_tiny_model(tmp_path / "seen.onnx", seen_images=seen.pack())
    with pytest.raises(DataError, match=r"1 of 20 frames were used to train this model \(f03\)"):
        calibrate(model, load(model, "onnxruntime"), samples, Promise(level=0.2))


def test_frames_without_masks_or_with_too_few_polyps_are_refused(data, model):
    samples = samples_of(data)
    bare = [Sample(sample.name, sample.image_path, None) for sample in samples]
    with pytest.raises(DataError, match="calibration needs frames with masks"):
        calibrate(model, load(model, "onnxruntime"), bare)
    few = samples[:3] + bare[3:]
    with pytest.raises(DataError, match=r"needs at least 4 groups that show a polyp .*, found 3"):
        calibrate(model, load(model, "onnxruntime"), few, Promise(level=0.2))


@pytest.mark.parametrize(
    ("promise", "message"),
    [
        (Promise(level=0.0), "level 0: expected a share between 0 and 1"),
        (Promise(level=1.0), "level 1: expected a share between 0 and 1"),
        (Promise(confidence=1.0), "confidence 1: expected"),
        (Promise(("mised",)), "unknown risk 'mised'; did you mean 'missed'"),
        (Promise(family="dilated"), "unknown family 'dilated'; did you mean 'dilation'"),
    ],
)
def test_a_promise_that_cannot_be_is_refused(promise, message):
    with pytest.raises(UsageError, match=message):
        promise.check()


def test_a_prediction_with_a_calibration(data, model):
    calibration = calibrate(model, load(model, "onnxruntime"), samples_of(data), Promise(level=0.2)).calibration
    predictor = load(model, "onnxruntime", options=PredictOptions(calibration=calibration))
    found = predictor.predict_file(samples_of(data)[0].image_path)
    assert (found.mask.sum(), found.outer.sum(), found.inner.sum()) == (16 * 6, 16 * 8, 16 * 6)
    assert np.flatnonzero(found.band[0]).tolist() == [6, 7]
    plain = load(model, "onnxruntime").predict_file(samples_of(data)[0].image_path)
    assert plain.band is None
    # the doubtful band is yellow, and nothing else changes
    drawn, without = found.overlay(), plain.overlay()
    assert (drawn != without).any(axis=2).sum() == found.band.sum()
    with pytest.raises(ModelError, match=r"made with other settings: threshold 0\.5 \(now 0\.7\)"):
        load(model, "onnxruntime", options=PredictOptions(threshold=0.7, calibration=calibration))


def test_of_two_families_the_choice_needs_a_value_before_the_last():
    curves = [frame_curves("dilation", "outer", np.array([0.0, 2.0]), (HALVES * 0.0, HALVES & False), HALVES)] * 4
    choice = choose(curves, range(4), "dilation", np.array([0.0, 2.0]), Promise(level=0.3))
    assert choice.bound is None
    assert choice.least_level == 1.0


def test_the_commands(data, model, tmp_path, monkeypatch, capsys):
    from polypseg.__main__ import main

    def run(*words):
        monkeypatch.setattr("sys.argv", ["polypseg", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, " ".join("".join(capsys.readouterr()).split())

    file, out = tmp_path / "c.json", tmp_path / "out"
    code, said = run("calibrate", model, "--data", data, "--level", 0.2, "-o", file)
    assert code == 0, said
    assert "the outer mask misses at most 20 % of a polyp's pixels" in said
    assert "area 1.33 times" in said
    assert run("calibrate", model, "--data", data, "-o", file)[0] == 2  # it exists
    assert (
        "level 1.5: expected" in run("calibrate", model, "--data", data, "--level", 1.5, "-o", tmp_path / "x.json")[1]
    )
    code, said = run("predict", model, data / "images", "-o", out, "--calibration", file, "--coco")
    assert code == 0, said
    with PillowImage.open(out / "outer" / "f00.png") as picture:
        assert (np.asarray(picture) == 255).sum() == 16 * 8
    with PillowImage.open(out / "inner" / "f00.png") as picture:
        assert (np.asarray(picture) == 255).sum() == 16 * 6
    rows = (out / "predictions.csv").read_text().splitlines()
    columns = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
    assert (columns["area_px"], columns["outer_area_px"], columns["inner_area_px"]) == ("96", "128", "96")
    coco = json.loads((out / "coco.json").read_text())
    assert [each["name"] for each in coco["categories"]] == ["polyp", "polyp, outer mask", "polyp, inner mask"]
    assert [(each["category_id"], each["area"]) for each in coco["annotations"][:3]] == [(1, 96), (2, 128), (3, 96)]
    code, said = run("predict", model, data / "images", "-o", out, "--resume")  # of another kind than before
    assert code == 1
    assert "calibration" in said
    other = write_tiny_model(tmp_path / "other.onnx", version="2")
    assert "made for another model" in run("predict", other, data / "images", "-o", out, "--calibration", file)[1]
