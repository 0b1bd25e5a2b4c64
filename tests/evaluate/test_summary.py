import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from evaluate.conftest import rectangle, write_mask
from polypseg.errors import ScoreError, UsageError
from polypseg.evaluate.plan import plan_predictions
from polypseg.evaluate.score import ScoreOptions, score
from polypseg.evaluate.selection import Selection
from polypseg.evaluate.summary import SummaryOptions, summarise
from polypseg.metrics.table import ScoreSettings
from polypseg.records.summary import Circumstances

QUICK = SummaryOptions(num_resamples=200)


def scored(folder, pairs, groups=None, settings=None, **selection):
    """The evaluation of pairs, each name: (predicted (H, W) uint8 or bool, reference (H, W) bool)."""
    for name, (predicted, reference) in pairs.items():
        write_mask(folder / "predicted" / f"{name}.png", np.asarray(predicted))
        write_mask(folder / "reference" / f"{name}.png", np.asarray(reference, bool))
    plan = plan_predictions(folder / "predicted", folder / "reference", selection=Selection(**selection))
    if groups:
        plan = replace(plan, cases=[replace(case, group=groups[case.name]) for case in plan.cases])
    evaluation, _ = score(plan, folder / "out", ScoreOptions(settings or ScoreSettings(), skip_bad=True))
    return evaluation


HALF = [[1, 1], [0, 0]], [[1, 0], [1, 0]]  # TP 1, FP 1, FN 1, TN 1: Dice 1/2, IoU 1/3
WHOLE = [[1, 0], [0, 0]], [[1, 0], [0, 0]]  # TP 1, TN 3: Dice 1, IoU 1
ALARM = [[1, 0], [0, 0]], [[0, 0], [0, 0]]  # FP 1, TN 3, no polyp
CLEAR = [[0, 0], [0, 0]], [[0, 0], [0, 0]]  # TN 4, no polyp


def masks(pairs):
    return {name: (np.array(p, bool), np.array(r, bool)) for name, (p, r) in pairs.items()}


def test_summary_of_two_images_by_hand(tmp_path):
    summary = summarise(scored(tmp_path, masks({"a": HALF, "b": WHOLE})), QUICK)
    dice, iou = summary.metrics["dice"], summary.metrics["iou"]
    assert dice.mean == dice.median == 0.75  # (1/2 + 1)/2
    assert iou.mean == pytest.approx(2 / 3)  # (1/3 + 1)/2
    # pooled: TP 2, FP 1, FN 1, TN 4
    assert dice.pooled == pytest.approx(4 / 6)
    assert iou.pooled == pytest.approx(2 / 4)
    assert summary.metrics["accuracy"].pooled == pytest.approx(6 / 8)
    assert summary.metrics["specificity"].pooled == pytest.approx(4 / 5)
    assert summary.metrics["f2"].pooled == pytest.approx(10 / 15)  # 5*2 / (5*2 + 4*1 + 1)
    # background Dice: a 2*1/(2*1+1+1) = 1/2, b 1; two classes: a (1/2+1/2)/2, b 1; their mean 3/4
    assert dice.two_class_mean == pytest.approx(0.75)
    # pooled background Dice 2*4/(8+1+1) = 0.8; with 2/3: 0.7333
    assert dice.two_class_pooled == pytest.approx((2 / 3 + 0.8) / 2)
    assert dice.low == 0.5
    assert dice.high == 1.0
    assert (dice.num_images, dice.num_missing) == (2, 0)


def test_pooled_absolute_error_weighs_an_image_by_its_pixels(tmp_path):
    wrong = np.array([[1, 1], [1, 1]], bool), np.array([[1, 0], [0, 0]], bool)  # 3 of 4 pixels wrong
    right = rectangle(6, 6, (0, 3), (0, 3)), rectangle(6, 6, (0, 3), (0, 3))  # none of 36
    error = summarise(scored(tmp_path, {"wrong": wrong, "right": right}), QUICK).metrics["mae"]
    assert error.mean == pytest.approx(0.75 / 2)
    assert error.pooled == pytest.approx(3 / 40)


def test_images_without_a_polyp_enter_no_mean(tmp_path):
    alone = summarise(scored(tmp_path / "alone", masks({"a": HALF, "b": WHOLE})), QUICK)
    mixed = summarise(
        scored(tmp_path / "mixed", masks({"a": HALF, "b": WHOLE, "c": ALARM, "d": CLEAR, "e": ALARM})), QUICK
    )
    assert mixed.num_polyp_images == 2
    assert mixed.num_polyp_free_images == 3
    for key in ("metrics", "strata", "protocols"):
        assert getattr(mixed, key) == getattr(alone, key)
    assert alone.negatives is None


def test_negatives_by_hand(tmp_path):
    evaluation = scored(
        tmp_path, masks({"b": WHOLE, "c": ALARM, "d": CLEAR, "e": ALARM}), settings=ScoreSettings(min_area_px=1)
    )
    negatives = summarise(evaluation, replace(QUICK, alarm_area_px=1, frame_rate=25)).negatives
    assert negatives.num_images == 3
    assert negatives.any_false_positive.mean == pytest.approx(2 / 3)
    assert negatives.large_false_positive.mean == pytest.approx(2 / 3)  # one of 4 pixels is 25 %
    assert negatives.alarm.mean == pytest.approx(2 / 3)
    assert negatives.false_positive_px.mean == pytest.approx(2 / 3)
    assert negatives.false_positive_percent.mean == pytest.approx(100 * 2 / 12)
    assert negatives.specificity.mean == pytest.approx((0.75 + 1 + 0.75) / 3)
    assert negatives.alarms_a_minute.mean == pytest.approx(2 / 3 * 25 * 60)
    assert negatives.false_findings_a_minute.mean == pytest.approx(1000)
    larger = summarise(evaluation, replace(QUICK, alarm_area_px=2)).negatives
    assert larger.alarm.mean == 0
    assert larger.any_false_positive.mean == pytest.approx(2 / 3)
    assert larger.alarms_a_minute is None


def test_negatives_by_centre_and_source_by_hand(tmp_path):
    # Of the north two frames, both with an alarm of one of four pixels; of the south one, clear; of the polyps none.
    pairs = masks({"a": WHOLE, "c": ALARM, "d": CLEAR, "e": ALARM})
    evaluation = scored(tmp_path, pairs)
    text = evaluation.scores_path.read_text().splitlines()
    header = text[0].split(",")
    where = {"a": ("south", "x"), "c": ("north", "x"), "d": ("south", "y"), "e": ("north", "x")}
    rows = []
    for line in text[1:]:
        row = dict(zip(header, line.split(","), strict=True))
        row["centre"], row["source"] = where[row["name"]]
        rows.append(",".join(row.values()))
    evaluation.scores_path.write_text("\n".join([text[0], *rows]) + "\n")
    strata = summarise(evaluation, QUICK).negatives.strata
    assert set(strata) == {"centre", "source"}
    assert {name: found.num_images for name, found in strata["centre"].items()} == {"north": 2, "south": 1}
    assert strata["centre"]["north"].large_false_positive.mean == 1
    assert strata["centre"]["north"].false_positive_percent.mean == 25
    assert strata["centre"]["south"].any_false_positive.model_dump() == {
        **{"mean": 0, "low": None, "high": None},  # one image: no interval
        **{"num_images": 1, "num_missing": 0},
    }
    assert {name: found.num_images for name, found in strata["source"].items()} == {"x": 2, "y": 1}


def test_a_false_area_of_one_per_thousand_is_not_large(tmp_path):
    # 1 of 1000 pixels is 0.1 %, 2 are more
    one, two, none = np.zeros((20, 50), bool), np.zeros((20, 50), bool), np.zeros((20, 50), bool)
    one[3, 3] = two[3, 3:5] = True
    evaluation = scored(tmp_path, {"one": (one, none), "two": (two, none)})
    assert summarise(evaluation, QUICK).negatives.large_false_positive.mean == 0.5


def test_undefined_distances_are_counted_and_never_averaged(tmp_path):
    missed = np.zeros((9, 9), bool), rectangle(9, 9, (2, 4), (2, 4))
    moved = rectangle(9, 9, (2, 3), (2, 3)), rectangle(9, 9, (2, 3), (5, 6))  # one pixel, 3 px apart
    summary = summarise(scored(tmp_path, {"missed": missed, "moved": moved}), QUICK)
    distance = summary.metrics["hd95_px"]
    assert (distance.mean, distance.median) == (3, 3)
    assert (distance.num_images, distance.num_missing) == (1, 1)
    assert summary.metrics["nsd_px"].mean == 0  # a missed polyp counts there


def test_faulty_images_are_listed_and_enter_nothing(tmp_path):
    write_mask(tmp_path / "reference" / "bad.png", np.eye(4, dtype=bool))
    (tmp_path / "predicted").mkdir()
    (tmp_path / "predicted" / "bad.png").write_bytes(b"")
    summary = summarise(scored(tmp_path, masks({"a": HALF, "b": WHOLE})), QUICK)
    assert summary.num_images == 2
    assert summary.metrics["dice"].mean == 0.75
    assert summary.metrics["dice"].num_missing == 0
    assert [entry.name for entry in summary.left_out] == ["bad"]
    assert summary.negatives is None  # it is not taken for free of polyps


def test_nothing_that_could_be_scored_is_an_error(tmp_path):
    write_mask(tmp_path / "reference" / "bad.png", np.eye(4, dtype=bool))
    (tmp_path / "predicted").mkdir()
    (tmp_path / "predicted" / "bad.png").write_bytes(b"")
    with pytest.raises(ScoreError, match="none of the 1 images could be scored"):
        summarise(scored(tmp_path, {}), QUICK)


def test_intervals_draw_whole_groups(tmp_path):
    # Ten frames: one group of nine with Dice 1/2, one frame with 1. Over images the interval is narrow; over the two
    # groups it spans both.
    pairs = {f"f{number}": HALF for number in range(9)} | {"g": WHOLE}
    plain = summarise(scored(tmp_path / "plain", masks(pairs)), QUICK)
    groups = {name: "one" if name != "g" else "other" for name in pairs}
    grouped = summarise(scored(tmp_path / "grouped", masks(pairs), groups), QUICK)
    assert plain.intervals.over == "images"
    assert grouped.intervals.over == "groups"
    assert plain.metrics["dice"].mean == grouped.metrics["dice"].mean
    assert grouped.metrics["dice"].high == 1 > plain.metrics["dice"].high


def test_single_group_has_no_interval(tmp_path):
    summary = summarise(scored(tmp_path, masks({"a": HALF, "b": WHOLE}), {"a": "one", "b": "one"}), QUICK)
    dice = summary.metrics["dice"]
    assert (dice.low, dice.high, dice.pooled_low) == (None, None, None)
    assert dice.mean == 0.75


def test_seed_decides_the_interval(tmp_path):
    rng = np.random.default_rng(0)
    pairs = {f"f{n}": (rng.random((6, 6)) < 0.5, rng.random((6, 6)) < 0.3) for n in range(12)}
    evaluation = scored(tmp_path, pairs)
    first = summarise(evaluation, QUICK).metrics
    assert summarise(evaluation, QUICK).metrics == first
    assert summarise(evaluation, replace(QUICK, seed=1)).metrics["dice"].low != first["dice"].low
    assert summarise(evaluation, replace(QUICK, confidence=0.5)).metrics["dice"].low > first["dice"].low


def test_strata_by_area_and_by_a_users_table(tmp_path):
    # Of 100 pixels: 4, 5, 20, 21. A limit itself belongs to medium.
    pairs = {}
    for name, rows, columns in (("a", 2, 2), ("b", 1, 5), ("c", 2, 10), ("d", 3, 7)):
        mask = rectangle(10, 10, (0, rows), (0, columns))
        pairs[name] = mask, mask
    pairs["a"] = np.zeros((10, 10), bool), pairs["a"][1]
    (tmp_path / "light.csv").write_text("frame,light,scope\na,white,2\nb,white,10\nc,blue,\n")
    options = replace(QUICK, strata_table=tmp_path / "light.csv", strata_columns=("light", "scope"))
    strata = summarise(scored(tmp_path, pairs), options).strata
    area = strata["polyp area"]
    assert list(area) == ["small (< 5 %)", "medium (5 to 20 %)", "large (> 20 %)"]
    assert [part.num_images for part in area.values()] == [1, 2, 1]
    assert area["small (< 5 %)"].dice.mean == 0
    assert area["medium (5 to 20 %)"].dice.mean == 1
    assert list(strata["light"]) == ["blue", "white", "unknown"]
    assert strata["light"]["white"].dice.mean == 0.5
    assert list(strata["scope"]) == ["2", "10", "unknown"]
    assert strata["scope"]["unknown"].num_images == 2
    assert "centre" not in strata  # nothing is known of it


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"area_limits": (20, 5)}, UsageError, "expected two rising values"),
        ({"strata_columns": ("light",)}, UsageError, "belong together"),
        ({"strata_table": "t.csv"}, UsageError, "belong together"),
        ({"strata_table": "t.csv", "strata_columns": ("lihgt",)}, ScoreError, "did you mean 'light'"),
        ({"strata_table": "none.csv", "strata_columns": ("light",)}, ScoreError, "cannot read the table"),
        ({"strata_table": "other.csv", "strata_columns": ("light",)}, ScoreError, "names none of the 2 images"),
        ({"strata_table": "twice.csv", "strata_columns": ("light",)}, ScoreError, "tells 1 image twice"),
        ({"strata_table": "moved.csv", "strata_columns": ("light",)}, ScoreError, "line 2: 3 cells, 2 expected"),
    ],
)
def test_strata_that_cannot_be_made_are_refused(tmp_path, monkeypatch, options, error, message):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("name,light\na,white\n")
    Path("other.csv").write_text("name,light\nq,white\n")
    Path("moved.csv").write_text("name,light\na,white, cold\n")  # a comma that no quotes protect
    Path("twice.csv").write_text("name,light\na,white\na,blue\n")
    options = {key: Path(value) if key == "strata_table" else value for key, value in options.items()}
    evaluation = scored(tmp_path, masks({"a": HALF, "b": WHOLE}))
    with pytest.raises(error, match=message):
        summarise(evaluation, replace(QUICK, **options))


def test_saved_summary_is_json_without_nan(tmp_path):
    missed = np.zeros((9, 9), bool), rectangle(9, 9, (2, 4), (2, 4))
    evaluation = scored(tmp_path, {"missed": missed})
    summary = summarise(evaluation, QUICK, Circumstances(command="polypseg evaluate"))
    text = evaluation.summary_path.read_text()
    assert "NaN" not in text
    assert evaluation.summary() == summary
    assert json.loads(text)["metrics"]["hd95_px"]["mean"] is None
    assert summary.metrics["hd95_px"].mean is None
    assert summary.provenance.command == "polypseg evaluate"
    assert summary.provenance.threshold == 0.5


def test_protocols_give_three_numbers_called_dice(tmp_path):
    # a: a large polyp half found (TP 8, FN 8), b: a small one missed (FN 1); 6x6.
    large = rectangle(6, 6, (0, 4), (0, 2)), rectangle(6, 6, (0, 4), (0, 4))
    small = np.zeros((6, 6), bool), rectangle(6, 6, (5, 6), (5, 6))
    protocols = summarise(scored(tmp_path, {"a": large, "b": small}), QUICK).protocols
    assert protocols["kvasir"]["mDSC"] == pytest.approx((16 / 24 + 0) / 2)
    assert protocols["duck"]["Dice"] == pytest.approx(16 / 25)
    assert protocols["duck"]["mIoU"] == pytest.approx(8 / 17)
    # 256 thresholds: at 0 all is predicted: Dice 2*16/(36+16) and 2/37; at 1 ... 255 as above
    dice_a = (32 / 52 + 255 * 16 / 24) / 256
    assert protocols["pranet"]["meanDic"] == pytest.approx((dice_a + 2 / 37 / 256) / 2)
    assert "mDSC, model size" not in protocols["kvasir"]


def test_pranet_protocol_of_a_folder_equals_pysodmetrics(tmp_path):
    """Prediction resized to the reference, stretched, 256 thresholds; an independent implementation agrees."""
    sod = pytest.importorskip("py_sod_metrics")
    rng = np.random.default_rng(1)
    pairs = {}
    for number, (height, width) in enumerate([(60, 80), (97, 64), (120, 150), (72, 72)]):
        reference = np.zeros((height, width), np.uint8)
        cv2.ellipse(reference, (width // 2, height // 2), (width // 5, height // 4), 20 * number, 0, 360, 1, -1)
        soft = cv2.GaussianBlur(np.roll(reference, 4, 1).astype(np.float32), (0, 0), 4)
        noisy = np.clip(200 * soft + rng.normal(20, 6, soft.shape), 3, 240)
        pairs[f"p{number}"] = cv2.resize(noisy, (88, 88)).round().astype(np.uint8), reference > 0
    evaluation = scored(tmp_path, pairs, settings=ScoreSettings(min_max=True))
    figures = summarise(evaluation, QUICK).protocols["pranet"]

    handlers = {"dice": sod.DICEHandler(True, False), "iou": sod.IOUHandler(True, False)}
    measures = {"em": sod.Emeasure(), "sm": sod.Smeasure(), "wfm": sod.WeightedFmeasure(), "mae": sod.MAE()}
    measures["fm"] = sod.FmeasureV2(handlers)
    for small, reference in pairs.values():
        height, width = reference.shape
        grown = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        for measure in measures.values():
            measure.step(pred=grown, gt=reference.astype(np.uint8) * 255)
    curves = {name: measures["fm"].get_results()[name]["dynamic"] for name in handlers}
    e_curve = measures["em"].get_results()["em"]["curve"]
    expected = {
        "meanDic": curves["dice"].mean(),
        "meanIoU": curves["iou"].mean(),
        "maxDic": curves["dice"].max(),
        "maxIoU": curves["iou"].max(),
        "wFm": measures["wfm"].get_results()["wfm"],
        "Sm": measures["sm"].get_results()["sm"],
        "meanEm": e_curve.mean(),
        "maxEm": e_curve.max(),
        "MAE": measures["mae"].get_results()["mae"],
    }
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, abs=1e-6), name


def test_stretching_turns_the_faintest_doubt_into_a_false_positive_and_is_off_by_default(tmp_path):
    faint = np.zeros((8, 8), np.uint8)
    faint[0, 0] = 1
    bright = np.full((8, 8), 200, np.uint8)
    mask = rectangle(8, 8, (0, 4), (0, 8))
    plain = scored(tmp_path / "a", {"clear": (faint, np.zeros((8, 8), bool)), "polyp": (bright, mask)})
    stretched = scored(
        tmp_path / "b",
        {"clear": (faint, np.zeros((8, 8), bool)), "polyp": (bright, mask)},
        settings=ScoreSettings(min_max=True),
    )
    assert plain.scores().values["pranet_mae"][0] == pytest.approx(1 / 255 / 64)
    assert stretched.scores().values["pranet_mae"][0] == pytest.approx(1 / 64)
    assert plain.scores().values["dice"].tolist() == stretched.scores().values["dice"].tolist()
