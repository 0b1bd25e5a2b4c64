"""Recalibration of a model whose answer can be followed by hand: the probability of a pixel is its red."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from sklearn.isotonic import IsotonicRegression
from typer.testing import CliRunner

from polypseg.cli import app
from polypseg.data.catalogue import find_samples
from polypseg.errors import DataError, ModelError, UsageError
from polypseg.explain.recalibrating import (
    FrameCounts,
    Looked,
    check_method,
    counts_of,
    cross_fitted,
    fit,
    judged,
    lesion_band,
    recalibrate,
    refuse_trained,
    validation_samples,
)
from polypseg.predict.predictor import load
from polypseg.records.digests import file_digests
from polypseg.records.recalibration import GRID
from polypseg.records.run import open_run, write_seen_before
from polypseg.records.seen import seen_of
from polypseg.records.stored import store_recalibration, stored_recalibration
from predict.tiny_model import SIZE, write_tiny_model

OLD_RUN = Path(__file__).parents[1] / "data_files" / "old_run"


def looked_at(shares, probabilities):
    """One frame whose band has so many pixels of each probability, of which a share is polyp."""
    counts = np.zeros((2, 1025))
    for probability, share in zip(probabilities, shares, strict=True):
        counts[:, round(1024 * probability)] = 1 - share, share
    counts /= counts.sum()
    return Looked([], [FrameCounts(counts, counts)] * 2, [0, 1])


def test_the_band_by_hand():
    mask = np.zeros((9, 9), bool)
    mask[3:6, 3:6] = True  # area 9: a margin of a third is one pixel
    band = lesion_band(mask, 1 / 3)
    assert band.sum() == 8 + 12  # all of the square but its middle, and the four sides outside
    assert not band[4, 4]
    assert not band[2, 2]  # a corner is √2 away
    assert not lesion_band(np.zeros((4, 4), bool)).any()
    assert not lesion_band(np.ones((4, 4), bool)).any()


def test_counts_by_hand():
    probability = np.array([[0.0, 0.5, 0.5, 1.0]], np.float32)
    found = counts_of(probability, np.array([[False, False, True, True]]), 1 / np.sqrt(2))
    assert found.band[0, 512] == found.band[1, 512] == 0.5  # the two pixels at the outline
    assert found.whole[0, 0] == found.whole[1, 1024] == 0.25
    assert counts_of(probability, np.zeros((1, 4), bool)) is None


def test_a_known_temperature_is_found_again():
    # what is polyp follows σ(logit(p) / 2): a model that is twice too sure
    probabilities = np.arange(8, 249, 8) / 256
    shares = 1 / (1 + (1 / probabilities - 1) ** 0.5)
    found = fit("temperature", looked_at(shares, probabilities))
    assert found.temperature == pytest.approx(2, abs=0.01)
    np.testing.assert_allclose(found.apply(probabilities.astype(np.float32)), shares, atol=2e-3)
    assert found.apply(0.5) == pytest.approx(0.5)


def test_isotonic_equals_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    probabilities = np.arange(4, 1021, 8) / 1024
    shares = np.clip(probabilities**2 + rng.normal(0, 0.1, probabilities.size), 0, 1)
    found = fit("isotonic", looked_at(shares, probabilities))
    expected = IsotonicRegression().fit_transform(probabilities, shares)
    # The nodes join the middles of the steps: there the two agree, but for the least slope of 0.001.
    values, starts, sizes = np.unique(expected, return_index=True, return_counts=True)
    middles = [probabilities[start : start + size].mean() for start, size in zip(starts, sizes, strict=True)]
    np.testing.assert_allclose(np.interp(middles, GRID, found.levels), values, atol=0.02)
    assert np.diff(found.levels).min() > 0


def test_figures_by_hand():
    # all pixels say 0.75 and half of them are polyp: error 0.25, Brier 0.25² + 0.5²; perfectly mended: 0 and 0.25
    looked = looked_at([0.5], [0.75])
    half = fit("temperature", looked)
    found = judged(looked, [half, half], "two frames")
    assert found.error_before == pytest.approx(0.25, abs=0.003)
    assert found.brier_before == pytest.approx(0.3125, abs=0.003)
    assert found.error_after == pytest.approx(0.5 - half.apply(0.75), abs=0.01) or found.error_after < 0.13
    assert found.error_after < found.error_before


def test_a_group_is_judged_by_a_fit_without_it():
    sure, soft = looked_at([1.0, 0.0], [0.75, 0.25]).counts[0], looked_at([0.5, 0.5], [0.75, 0.25]).counts[0]
    looked = Looked([None] * 4, [sure, sure, soft, soft], [0, 0, 1, 1])  # as if of two hospitals
    fits = cross_fitted("temperature", looked)
    assert fits[0] is fits[1]
    assert fits[2] is fits[3]
    assert fits[0].apply(0.75) < 0.6  # fitted on the soft ones
    assert fits[2].apply(0.75) > 0.9  # and on the sure ones


@pytest.fixture
def data(tmp_path):
    """12 frames: the polyp is the left half; beside its outline a probability of 0.8 is right in half of the pixels."""
    folder = tmp_path / "data"
    for number in range(12):
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        image[:, :6, 0], image[:, 6:10, 0] = 250, 204
        image[0, -1, 1] = number
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[:, :8] = 255
        for kind, picture in (("images", image), ("masks", mask)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            PillowImage.fromarray(picture).save(folder / kind / f"f{number:02}.png")
    return folder


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_stores_what_makes_the_probabilities_right(tmp_path, data):
    model = write_tiny_model(tmp_path / "tiny.onnx")
    image = find_samples(data)[0][0].image_path
    before = load(model, "onnxruntime").predict_file(image)
    called = run(
        "recalibrate", model, "--data", data, "--method", "isotonic", "--figure", tmp_path / "r.png", "--test", data
    )
    assert called.exit_code == 0, called.output
    assert "calibration error" in called.output
    assert (tmp_path / "r.png").stat().st_size > 1000
    after = load(model, "onnxruntime").predict_file(image)
    assert before.probability[8, 8] == pytest.approx(0.8)
    # within 0.25 √128 = 2.8 px of the outline: columns 6 to 9, of which 6 and 7 are polyp
    assert after.probability[8, 8] == pytest.approx(0.5, abs=0.01)
    np.testing.assert_array_equal(after.mask, before.mask)
    assert stored_recalibration(model).fitted.error_before == pytest.approx(0.3, abs=0.01)
    again = run("recalibrate", model, "--data", data)
    assert again.exit_code == 2
    assert "is recalibrated already" in again.output.replace("\n", " ")
    assert run("recalibrate", model, "--remove").exit_code == 0
    assert stored_recalibration(model) is None
    again = run("recalibrate", model, "--remove")
    assert again.exit_code == 2
    assert "holds no recalibration, so there is none to remove" in again.output.replace("\n", " ")


def test_what_is_removed_from_a_run_is_said_to_be_removed(tmp_path):
    shutil.copytree(OLD_RUN / "run", tmp_path / "run")
    store_recalibration(tmp_path / "run", fit("temperature", looked_at([1.0, 0.0], [0.75, 0.25])))
    called = run("recalibrate", tmp_path / "run", "--remove")
    kept = tmp_path / "run" / "recalibration.json"
    assert "".join(called.output.split()) == f"removed{kept}"
    assert not kept.exists()


def test_too_few_frames_and_those_of_the_training_are_refused(tmp_path, data):
    model = write_tiny_model(tmp_path / "tiny.onnx")
    samples, _ = find_samples(data)
    with pytest.raises(DataError, match=r"needs at least 10 frames .*, in 2 groups or more, found 9 in 9"):
        recalibrate(model, load(model, "onnxruntime"), samples[:9])
    digests = file_digests([samples[3].image_path]).values()
    trained = write_tiny_model(tmp_path / "trained.onnx", seen_images=seen_of(digests).pack())
    with pytest.raises(DataError, match="1 of 12 frames were used to train this model"):
        refuse_trained(trained, samples)
    with pytest.raises(UsageError, match="unknown method"):
        check_method("platt")


def test_a_packaged_model_is_not_changed(data):
    called = run("recalibrate", "polyp-lite", "--data", data)
    assert called.exit_code != 0
    assert "copy it first: polypseg models polyp-lite --export-to" in called.output.replace("\n", " ")


def test_a_keras_file_keeps_nothing(tmp_path, data):
    (tmp_path / "m.keras").write_bytes(b"")
    assert isinstance(run("recalibrate", tmp_path / "m.keras", "--data", data).exception, (ModelError, SystemExit))


def test_a_run_is_fitted_on_its_own_validation_split(tmp_path):
    shutil.copytree(OLD_RUN, tmp_path / "old")
    record = tmp_path / "old" / "run" / "environment.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"data": str(tmp_path / "old" / "data")}))
    run = open_run(tmp_path / "old" / "run")
    found = validation_samples(run.folder)
    assert [sample.name for sample in found] == run.split().names("validation")
    assert found
    trained = [sample for sample in find_samples(tmp_path / "old" / "data")[0] if sample not in found]
    with pytest.raises(DataError, match="were used to train this model"):
        refuse_trained(run.folder, trained)
    refuse_trained(run.folder, found)  # that they chose the checkpoint does no harm here
    write_seen_before(run, seen_of(file_digests([sample.image_path for sample in found]).values()))
    with pytest.raises(DataError, match=f"{len(found)} of {len(found)} frames were used to train this model"):
        refuse_trained(run.folder, found)  # that a start was trained on them does
