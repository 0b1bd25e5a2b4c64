import math

import numpy as np
import pytest

from polypseg.errors import DataError, UsageError
from polypseg.metrics import boundary, calibration, lesions, overlap, saliency
from polypseg.metrics.table import COLUMNS, GROUPS, ScoreSettings, columns_of, score_image
from polypseg.metrics.thresholds import level_histogram, to_levels
from polypseg.preprocess import read_mask


def example():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :50]
    reference = np.hypot(rows - 18, columns - 24) < 11
    probability = np.clip(1.2 - np.hypot(rows - 20, columns - 22) / 14 + rng.normal(0, 0.05, (40, 50)), 0, 1)
    return probability.astype(np.float32), reference


def test_score_image_row_has_every_column_in_order():
    row = score_image(*example()).row
    assert tuple(row) == tuple(column.name for column in COLUMNS) == columns_of()
    assert len(set(row)) == len(COLUMNS)
    assert all(isinstance(value, float | int) for value in row.values())


@pytest.mark.parametrize("group", GROUPS)
def test_score_image_one_group_gives_its_columns_alone(group):
    scores = score_image(*example(), ScoreSettings(groups=(group,)))
    assert tuple(scores.row) == columns_of([group])
    assert scores.row == {name: score_image(*example()).row[name] for name in columns_of([group])}
    assert (scores.saliency is not None) == (group == "saliency")


def test_score_image_values_are_those_of_the_modules():
    probability, reference = example()
    row, predicted = score_image(probability, reference).row, probability >= 0.5
    levels = to_levels(probability)
    histogram = level_histogram(levels, reference)
    assert row["dice"] == overlap.dice(predicted, reference)
    assert row["f2"] == overlap.f_beta(predicted, reference, 2)
    assert row["background_iou"] == overlap.iou(~predicted, ~reference)
    assert row["two_class_dice"] == (row["dice"] + row["background_dice"]) / 2
    assert row["two_class_iou"] == (row["iou"] + row["background_iou"]) / 2
    assert row["mae"] == pytest.approx(overlap.mean_absolute_error(probability, reference))
    assert row["soft_dice"] == overlap.soft_dice(probability, reference)
    assert row["num_found"] == lesions.count_lesions(predicted, reference).num_found
    assert row["hd95_px"] == boundary.hausdorff_distance_95_px(predicted, reference)
    assert row["asd_percent"] == pytest.approx(100 * row["asd_px"] / math.hypot(40, 50))
    assert row["nsd_px"] == boundary.normalised_surface_dice(predicted, reference, 2)
    assert row["nsd_percent"] == boundary.normalised_surface_dice(predicted, reference, math.hypot(40, 50) / 100)
    assert row["s_measure"] == saliency.s_measure(levels, reference)
    assert row["pranet_max_dice"] == saliency.saliency_scores(levels, reference).dice.max()
    assert row["ece"] == calibration.expected_calibration_error(histogram)
    assert row["polyp_share"] == reference.mean()
    assert (row["height_px"], row["width_px"]) == (40, 50)


@pytest.mark.parametrize(
    ("settings", "column"),
    [
        (ScoreSettings(threshold=0.3), "dice"),
        (ScoreSettings(tolerance_px=0.5), "nsd_px"),
        (ScoreSettings(tolerance_percent=5), "nsd_percent"),
        (ScoreSettings(min_iou=0.99), "num_found"),
        (ScoreSettings(min_area_px=10_000), "num_lesions"),
        (ScoreSettings(min_max=True), "pranet_mean_dice"),
    ],
)
def test_score_settings_each_acts(settings, column):
    probability, reference = example()
    probability = probability * np.float32(0.9)  # so that stretching changes it
    assert score_image(probability, reference, settings).row[column] != score_image(probability, reference).row[column]


def test_score_image_in_memory_equals_from_disk_at_8_bits():
    probability, reference = example()
    stored = to_levels(probability).astype(np.float32) / 255
    in_memory, from_disk = score_image(probability, reference).row, score_image(stored, reference).row
    for name in ("mae", "soft_dice"):  # of the float map itself
        assert in_memory.pop(name) == pytest.approx(from_disk.pop(name), abs=1 / 510)
    assert in_memory == from_disk


def test_score_image_value_equal_to_the_threshold_counts_as_polyp():
    # as float32 0.7 is a bit less than 0.7
    settings = ScoreSettings(threshold=np.float64(0.7), groups=("overlap",))
    probability = np.array([[0.7, 0.699]], np.float32)
    assert score_image(probability, np.array([[True, True]]), settings).row["true_positive"] == 1


@pytest.mark.data
def test_score_image_real_masks_as_their_own_prediction_are_perfect(real_data):
    for path in sorted((real_data / "kvasir-seg" / "masks").iterdir())[::40]:
        reference = read_mask(path)
        row = score_image(reference.astype(np.float32), reference).row
        best = {"dice": 1, "soft_dice": 1, "mae": 0, "hd95_px": 0, "nsd_px": 1, "weighted_f": 1, "ece": 0, "brier": 0}
        assert {name: row[name] for name in best} == pytest.approx(best), path.name
        assert row["lesion_sensitivity"] == 1, path.name


MASKS = {"empty": np.zeros((12, 12), bool), "full": np.ones((12, 12), bool), "pixel": np.eye(12, dtype=bool) & False}
MASKS["pixel"][5, 6] = True
MASKS["partial"] = np.arange(144).reshape(12, 12) % 12 < 5


@pytest.mark.parametrize("reference", MASKS)
@pytest.mark.parametrize("predicted", [*MASKS, "constant"])
def test_score_image_degenerate_masks_nan_only_where_it_is_said(predicted, reference):
    constant = np.full((12, 12), 0.4, np.float32)
    probability = constant if predicted == "constant" else MASKS[predicted].astype(np.float32)
    row = score_image(probability, MASKS[reference], ScoreSettings(min_area_px=1)).row
    undefined = {name for name, value in row.items() if math.isnan(value)}
    expected = set()
    if (predicted in ("empty", "constant")) != (reference == "empty"):
        expected |= {"hd95_px", "asd_px", "hd95_percent", "asd_percent"}
    if reference == "empty":
        expected |= {"lesion_sensitivity"}
    assert undefined == expected


@pytest.mark.parametrize("value", [math.nan, -0.5, 2.0])
def test_score_image_map_out_of_range_is_refused(value):
    probability, reference = example()
    probability[3, 4] = value
    with pytest.raises(DataError, match=r"expected values in \[0, 1\]"):
        score_image(probability, reference)


def test_score_image_other_shape_is_refused():
    with pytest.raises(DataError, match="resize the prediction"):
        score_image(np.zeros((4, 4), np.float32), np.zeros((4, 5), bool))


def test_score_settings_out_of_range_is_refused():
    with pytest.raises(UsageError, match=r"threshold is 0\.0; expected more than 0"):
        ScoreSettings(threshold=0.0)
    with pytest.raises(UsageError, match=r"unknown group of metrics 'boundry'; did you mean 'boundary'"):
        ScoreSettings(groups=("boundry",))
