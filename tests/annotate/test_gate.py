"""Two models on the same frames; the probability of a pixel is its red, the models differ in their thresholds."""

import cv2
import numpy as np
import pytest

from polypseg.annotate.gate import Compared, Models, compare_models
from polypseg.errors import ProjectError
from polypseg.predict.predictor import load
from predict.tiny_model import write_tiny_model

SIZE = (16, 16)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        threshold: load(write_tiny_model(folder / f"{threshold}.onnx", threshold=threshold), "onnxruntime")
        for threshold in (0.3, 0.8)
    }


def frame(folder, name, red, polyp=True, group=""):
    """The left half is red, and a polyp where it is said."""
    image = np.full((*SIZE, 3), 40, np.uint8)
    image[:, :8, 2] = red  # OpenCV's order
    mask = np.zeros(SIZE, np.uint8)
    mask[:, :8] = 255 * polyp
    for kind, pixels in (("image", image), ("mask", mask)):
        cv2.imwrite(str(folder / f"{name}_{kind}.png"), pixels)
    return Compared(folder / f"{name}_image.png", folder / f"{name}_mask.png", group or name)


def test_difference_is_of_the_means_with_its_interval(models, tmp_path):
    frames = [frame(tmp_path, "sure", 250), frame(tmp_path, "weak", 128)]  # 0.98 and 0.5
    found = compare_models(Models(models[0.8], models[0.3], ("a", "b")), frames, [])
    # The old model marks the sure one alone: Dice 1 and 0; the new one both, 1 and 1. Their differences are 0 and 1.
    assert (found.project.old, found.project.new, found.project.difference) == (0.5, 1.0, 0.5)
    assert (found.project.low, found.project.high) == (0.0, 1.0)
    assert (found.is_worse, found.reasons, found.reference) == (False, [], None)
    assert (found.old_digest, found.new_digest) == ("a", "b")


def test_worse_models_are_told_with_reasons(models, tmp_path):
    project, reference = [frame(tmp_path, "a", 128)], [frame(tmp_path, "b", 250)]
    found = compare_models(Models(models[0.3], models[0.8], ("", "")), project, reference)
    assert found.is_worse
    assert found.reasons == ["on the project's held-out frames its mean Dice is 0.000, that of the served model 1.000"]
    assert found.reference.difference == 0.0


def test_marks_on_frames_without_a_polyp_count_apart(models, tmp_path):
    project = [frame(tmp_path, "a", 250), frame(tmp_path, "n", 128, polyp=False)]
    found = compare_models(Models(models[0.8], models[0.3], ("", "")), project, [])
    assert (found.project.frames, found.project.negatives) == (1, 1)
    assert (found.project.old_marked, found.project.new_marked) == (0, 1)
    assert "it marks 1 of 1 frames without a polyp, the served model 0" in found.reasons[0]


def test_reference_without_a_polyp_allows_two_of_a_hundred(models, tmp_path):
    project = [frame(tmp_path, "a", 250)]
    negative, quiet = frame(tmp_path, "n", 128, polyp=False), frame(tmp_path, "q", 40, polyp=False)
    pair = Models(models[0.8], models[0.3], ("", ""))
    assert not compare_models(pair, project, [negative] * 1 + [quiet] * 49).is_worse  # 1 of 50 is 2 %
    assert compare_models(pair, project, [negative] * 2 + [quiet] * 48).is_worse


def test_groups_are_drawn_whole(models, tmp_path):
    frames = [frame(tmp_path, name, 128, group="one") for name in "abc"]
    found = compare_models(Models(models[0.8], models[0.3], ("", "")), frames, []).project
    assert (found.low, found.high) == (1.0, 1.0)  # one group: nothing to draw


def test_nothing_held_out_is_told(models):
    with pytest.raises(ProjectError, match="no labelled frame is held out"):
        compare_models(Models(models[0.8], models[0.3], ("", "")), [], [])
