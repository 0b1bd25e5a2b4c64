import numpy as np
import pytest
from PIL import Image as PillowImage

from evaluate.conftest import rectangle, write_mask
from polypseg.config import LossConfig
from polypseg.errors import ScoreError
from polypseg.evaluate.measure import Measure, PredictedMap, mask_digest
from polypseg.evaluate.selection import ImageToScore
from polypseg.metrics.table import ScoreSettings
from polypseg.preprocess import read_grey
from polypseg.records.evaluation import Evaluation


def case(tmp_path, predicted, reference, name="x"):
    """A case whose prediction is a grey map (H, W) and whose reference is a mask."""
    write_mask(tmp_path / "predicted" / f"{name}.png", np.asarray(predicted))
    if reference is None:
        return ImageToScore(name, None, None, tmp_path / "predicted" / f"{name}.png")
    write_mask(tmp_path / "reference" / f"{name}.png", np.asarray(reference, bool))
    return ImageToScore(name, None, tmp_path / "reference" / f"{name}.png", tmp_path / "predicted" / f"{name}.png")


def test_measure_of_a_two_by_two_map(tmp_path):
    # reference: left column. predicted at 0.5 (128 of 255 and more): top row. One pixel of each kind:
    # TP (0,0), FP (0,1), FN (1,0), TN (1,1); Dice 2/4, IoU 1/3.
    measure = Measure(Evaluation(tmp_path / "out"))
    row, histogram = measure(case(tmp_path, [[255, 128], [127, 0]], [[1, 0], [1, 0]]), PredictedMap())
    assert (row["true_positive"], row["false_positive"], row["false_negative"], row["true_negative"]) == (1, 1, 1, 1)
    assert row["dice"] == 0.5
    assert row["iou"] == 1 / 3
    assert (row["reference_px"], row["predicted_px"], row["polyp_share"]) == (2, 2, 0.5)
    # |1-1| + |128/255-0| + |127/255-1| + 0 = 256/255, over 4 pixels
    assert row["mae"] == pytest.approx(64 / 255, abs=1e-7)
    assert histogram[1, 255] == histogram[1, 127] == histogram[0, 128] == histogram[0, 0] == 1
    assert Evaluation(tmp_path / "out").predicted_mask("x").tolist() == [[True, True], [False, False]]


def test_measure_uses_the_threshold(tmp_path):
    measure = Measure(Evaluation(tmp_path / "out"), ScoreSettings(threshold=0.9))
    row, _ = measure(case(tmp_path, [[255, 128], [127, 0]], [[1, 0], [1, 0]]), PredictedMap())
    assert row["predicted_px"] == 1
    assert row["dice"] == 2 / 3


def test_measure_resizes_the_prediction_to_the_reference_and_says_so(tmp_path):
    # The prediction is the reference at half the size: bilinear growth moves its edge by half a pixel at most.
    reference = rectangle(16, 24, (4, 12), (8, 16))
    measure = Measure(Evaluation(tmp_path / "out"))
    row, _ = measure(case(tmp_path, reference[::2, ::2] * 255, reference), PredictedMap())
    assert row["resized_from"] == "8x12"
    assert (row["height_px"], row["width_px"]) == (16, 24)
    assert row["dice"] == 1
    same, _ = measure(case(tmp_path, reference * 255, reference), PredictedMap())
    assert same["resized_from"] == ""


def test_measure_without_a_reference_takes_the_image_for_free_of_polyps(tmp_path):
    row, histogram = Measure(Evaluation(tmp_path / "out"))(case(tmp_path, [[200, 0, 0]], None), PredictedMap())
    assert (row["reference_px"], row["predicted_px"]) == (0, 1)
    assert histogram[1].sum() == 0


def test_measure_of_a_models_map_is_at_the_images_own_size(tmp_path):
    # The model saw 2x2 and found the left half; the image is 4x6, its polyp the whole left half.
    small = np.array([[1, 0], [1, 0]], np.float32)
    reference = rectangle(4, 6, (0, 4), (0, 3))
    write_mask(tmp_path / "reference.png", reference)
    measure = Measure(Evaluation(tmp_path / "out"), loss=LossConfig())
    row, _ = measure(ImageToScore("x", tmp_path / "x.png", tmp_path / "reference.png"), PredictedMap(small, (4, 6)))
    assert row["dice"] == row["model_size_dice"] == row["model_size_iou"] == 1
    assert row["loss"] == pytest.approx(0, abs=1e-5)
    assert row["resized_from"] == ""  # a model's map always is; that is nothing to be told


def test_measure_refuses_image_and_mask_of_unlike_size(tmp_path):
    write_mask(tmp_path / "reference.png", rectangle(4, 6, (0, 4), (0, 3)))
    x = ImageToScore("x", tmp_path / "x.png", tmp_path / "reference.png")
    with pytest.raises(ScoreError, match=r"x.png is 6x4 .* is 4x6; expected one size"):
        Measure(Evaluation(tmp_path / "out"))(x, PredictedMap(np.zeros((2, 2), np.float32), (6, 4)))


@pytest.mark.parametrize("value", [np.nan, 1.5, -0.1])
def test_measure_names_the_image_of_a_map_that_is_no_probability(tmp_path, value):
    write_mask(tmp_path / "reference.png", rectangle(2, 2, (0, 1), (0, 1)))
    x = ImageToScore("polyp 7", tmp_path / "x.png", tmp_path / "reference.png")
    small = np.full((2, 2), value, np.float32)
    with pytest.raises(ScoreError, match=r"polyp 7: probability: expected values in \[0, 1\].*--skip-bad"):
        Measure(Evaluation(tmp_path / "out"))(x, PredictedMap(small, (2, 2)))


def test_measure_with_skip_bad_gives_a_row_with_the_fault(tmp_path):
    broken = case(tmp_path, [[255, 0]], [[1, 0]])
    broken.prediction_path.write_bytes(b"no image")
    row, histogram = Measure(Evaluation(tmp_path / "out"), skip_bad=True)(broken, PredictedMap())
    assert "not an image" in row["fault"]
    assert "dice" not in row
    assert not histogram.any()
    with pytest.raises(ScoreError, match="leave it out with --skip-bad"):
        Measure(Evaluation(tmp_path / "out"))(broken, PredictedMap())


def test_saved_map_scores_like_the_map_itself(tmp_path):
    rng = np.random.default_rng(0)
    probability = rng.random((40, 50)).astype(np.float32)
    reference = rectangle(40, 50, (10, 30), (10, 30))
    write_mask(tmp_path / "reference.png", reference)
    evaluation = Evaluation(tmp_path / "out")
    first, histogram = Measure(evaluation, save_maps=True)(
        ImageToScore("x", tmp_path / "x.png", tmp_path / "reference.png"), PredictedMap(probability, (40, 50))
    )
    again, same = Measure(Evaluation(tmp_path / "again"))(
        ImageToScore("x", None, tmp_path / "reference.png", evaluation.map_path("x")), PredictedMap()
    )
    assert first["dice"] == again["dice"]
    assert first["weighted_f"] == again["weighted_f"]
    assert np.array_equal(histogram, same)


def test_mask_digest_is_of_pixels_not_of_files(tmp_path):
    mask = rectangle(32, 40, (8, 24), (8, 24))
    PillowImage.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "a.png")
    PillowImage.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "a.jpg", quality=95)
    digests = {mask_digest(read_grey(tmp_path / name) > 127) for name in ("a.png", "a.jpg")}
    assert digests == {mask_digest(mask)}
    moved = mask.copy()
    moved[0, 0] = True
    assert mask_digest(moved) != mask_digest(mask)
    assert mask_digest(np.zeros((2, 3), bool)) != mask_digest(np.zeros((3, 2), bool))
