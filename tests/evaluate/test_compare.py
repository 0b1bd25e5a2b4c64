import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from evaluate.conftest import rectangle, write_mask
from polypseg.errors import ScoreError, UsageError
from polypseg.evaluate.compare import comparable_scores, compare, save_comparison
from polypseg.evaluate.plan import plan_predictions
from polypseg.evaluate.score import ScoreOptions, score
from polypseg.metrics.statistics import holm
from polypseg.metrics.table import ScoreSettings
from polypseg.records.comparison import DifferingImage

FULL = rectangle(8, 8, (2, 6), (2, 6))
HALF = rectangle(8, 8, (2, 6), (2, 4))
NONE = np.zeros((8, 8), bool)
QUICK = {"num_resamples": 200}


def scored(folder, predicted, references=None, splits=None, settings=None):
    """The evaluation of masks by name; each reference is FULL unless it is given."""
    for name, mask in predicted.items():
        write_mask(folder / "predicted" / f"{name}.png", mask)
        write_mask(folder / "reference" / f"{name}.png", (references or {}).get(name, FULL))
    plan = plan_predictions(folder / "predicted", folder / "reference")
    if splits is not None:
        plan = replace(plan, cases=[replace(case, split=splits.get(case.name, "test")) for case in plan.cases])
    return score(plan, folder / "out", ScoreOptions(settings or ScoreSettings()))[0]


def result(results, metric, images="polyp"):
    return next(each for each in results if each.metric == metric and each.images == images)


@pytest.fixture
def pair(tmp_path):
    """A finds three polyps and half of the fourth; B half of the first, none of the second, and the others."""
    a = {"p0": FULL, "p1": FULL, "p2": FULL, "p3": HALF}
    b = {"p0": HALF, "p1": NONE, "p2": FULL, "p3": FULL}
    return [("A", scored(tmp_path / "a", a)), ("B", scored(tmp_path / "b", b))]


def test_comparison_by_hand(pair):
    dice = result(compare(pair, **QUICK), "dice")
    # A: 1, 1, 1, 2/3; B: 2/3, 0, 1, 1. Differences 1/3, 1, 0, -1/3; mean 1/4.
    assert dice.first_mean == pytest.approx(11 / 12)
    assert dice.second_mean == pytest.approx(8 / 12)
    assert dice.comparison.difference.value == pytest.approx(0.25)
    assert (dice.comparison.wins, dice.comparison.losses, dice.comparison.ties) == (2, 1, 1)
    assert [case.name for case in dice.largest] == ["p1", "p0", "p3"]  # equal ones keep their order; p2 is no case
    assert (dice.largest[0].first, dice.largest[0].second) == (1, 0)
    # signs of (1/3, 1, -1/3) can be set in 8 ways; |sum| >= 1 in: +++ ++- ... the sums are 5/3, 1, 1, 1/3 and negative
    assert dice.permutation_p == pytest.approx(6 / 8)


def test_win_is_the_better_one_whichever_way_a_metric_counts(pair):
    results = compare(pair, ["dice", "mae"], **QUICK)
    dice, mae = result(results, "dice"), result(results, "mae")
    assert mae.comparison.difference.value < 0 < dice.comparison.difference.value
    assert (mae.comparison.wins, mae.comparison.losses) == (dice.comparison.wins, dice.comparison.losses) == (2, 1)


def test_value_that_is_missing_on_one_side_is_no_pair(pair):
    distance = result(compare(pair, ["hd95_px"], **QUICK), "hd95_px")
    assert distance.comparison.difference.num_values == 3  # B has no distance for p1
    assert distance.comparison.difference.num_missing == 1
    assert "p1" not in [case.name for case in distance.largest]
    assert distance.first_mean == distance.second_mean > 0  # each has one half mask among the three that both found


def test_evaluation_compared_with_its_equal_shows_no_difference(tmp_path):
    masks = {"p0": FULL, "p1": HALF}
    pair = [("A", scored(tmp_path / "a", masks)), ("B", scored(tmp_path / "b", masks))]
    dice = result(compare(pair, **QUICK), "dice")
    assert dice.comparison.difference.value == 0
    assert dice.wilcoxon_p == dice.permutation_p == 1
    assert dice.largest == ()


def test_images_without_a_polyp_are_compared_apart(tmp_path):
    references = {"n0": NONE, "n1": NONE}
    a = scored(tmp_path / "a", {"p": FULL, "n0": HALF, "n1": NONE}, references)
    b = scored(tmp_path / "b", {"p": FULL, "n0": NONE, "n1": NONE}, references)
    results = compare([("A", a), ("B", b)], **QUICK)
    assert result(results, "dice").comparison.difference.num_values == 1
    specificity = result(results, "specificity", "polyp-free")
    assert specificity.comparison.difference.value == pytest.approx(-1 / 16)  # 8 of 64 pixels in one of two frames
    predicted = result(results, "predicted_px", "polyp-free")
    assert (predicted.comparison.wins, predicted.comparison.losses) == (0, 1)


def test_several_evaluations_are_adjusted_by_holm(tmp_path):
    def noisy(seed, share):
        drawn = np.random.default_rng(seed)
        return {f"p{n:02d}": FULL & (drawn.random((8, 8)) < share) for n in range(20)}

    three = [
        (label, scored(tmp_path / label, noisy(seed, s)))
        for label, seed, s in (("A", 1, 0.9), ("B", 2, 0.8), ("C", 3, 0.79))
    ]
    together = [r for r in compare(three, ["dice"], **QUICK) if r.metric == "dice"]
    assert [(r.first, r.second) for r in together] == [("A", "B"), ("A", "C"), ("B", "C")]
    alone = [result(compare([three[i], three[j]], ["dice"], **QUICK), "dice") for i, j in ((0, 1), (0, 2), (1, 2))]
    assert [r.wilcoxon_p for r in together] == holm([r.wilcoxon_p for r in alone])
    assert [r.permutation_p for r in together] == holm([r.permutation_p for r in alone])


def test_different_images_are_refused_by_name(tmp_path):
    a = scored(tmp_path / "a", {"p0": FULL, "p1": FULL})
    b = scored(tmp_path / "b", {"p1": FULL, "p2": FULL})
    with pytest.raises(ScoreError, match=r"different images(.|\n)*only in A \(1\):\n  p0(.|\n)*only in B \(1\):\n  p2"):
        compare([("A", a), ("B", b)])


def test_different_references_are_refused_by_name(tmp_path):
    a = scored(tmp_path / "a", {"p0": FULL, "p1": FULL})
    b = scored(tmp_path / "b", {"p0": FULL, "p1": FULL}, {"p1": HALF})
    with pytest.raises(ScoreError, match=r"different references .* in 1 of 2 images(.|\n)*p1"):
        compare([("A", a), ("B", b)])


def test_image_that_one_has_learned_from_is_refused(tmp_path):
    masks = {"p0": FULL, "p1": HALF}
    a = scored(tmp_path / "a", masks, splits={})
    b = scored(tmp_path / "b", masks, splits={"p1": "train"})
    with pytest.raises(ScoreError, match=r"one has learned from images(.|\n)*p1: test for A, train for B"):
        compare([("A", a), ("B", b)])
    c = scored(tmp_path / "c", masks)  # external: nobody learned from it, as far as is known
    assert compare([("A", a), ("C", c)], ["dice"], **QUICK)


def test_different_settings_are_refused_but_not_different_thresholds(tmp_path):
    masks = {"p0": FULL, "p1": HALF}
    a = scored(tmp_path / "a", masks)
    with pytest.raises(ScoreError, match="min_max False, B with True"):
        compare([("A", a), ("B", scored(tmp_path / "b", masks, settings=ScoreSettings(min_max=True)))])
    c = scored(tmp_path / "c", masks, settings=ScoreSettings(threshold=0.5))
    plan = plan_predictions(tmp_path / "c" / "predicted", tmp_path / "c" / "reference")
    lower, _ = score(replace(plan, threshold=0.2), tmp_path / "lower")
    assert compare([("C", c), ("lower", lower)], ["dice"], **QUICK)


def test_usage_of_compare_is_checked(pair):
    with pytest.raises(UsageError, match="two or more"):
        compare(pair[:1])
    with pytest.raises(UsageError, match="different names"):
        compare([pair[0], ("A", pair[1][1])])
    with pytest.raises(UsageError, match="did you mean 'dice'"):
        compare(pair, ["dica"])


def test_rows_in_another_order_are_the_same_images(pair):
    path = pair[1][1].scores_path
    first, *rows = path.read_text().splitlines()
    path.write_text("\n".join([first, *reversed(rows)]) + "\n")
    dice = result(compare(pair, **QUICK), "dice")
    assert (dice.comparison.wins, dice.comparison.losses, dice.comparison.ties) == (2, 1, 1)
    assert dice.largest[0] == DifferingImage(name="p1", first=1, second=0)


def test_saved_comparison_can_be_read_again(pair, tmp_path):
    results = compare(pair, ["dice", "hd95_px"], **QUICK)
    scores = list(zip(("A", "B"), comparable_scores(pair), strict=True))
    as_json, as_csv = save_comparison(results, scores, tmp_path / "out")
    saved = json.loads(as_json.read_text())
    assert saved[0]["difference"] == pytest.approx(0.25)
    assert saved[0]["largest"][0] == {"name": "p1", "first": 1, "second": 0}
    with as_csv.open() as opened:
        rows = list(csv.DictReader(opened))
    assert rows[1]["name"] == "p1"
    assert (float(rows[1]["dice A"]), float(rows[1]["dice B"])) == (1, 0)
