"""Equality with the package `true-colon`, and toy cases where its definitions and ours differ, worked by hand."""

import json
from dataclasses import asdict

import pytest

from evaluate.procedures import toy
from polypseg.errors import ScoreError
from polypseg.evaluate.procedures.facts import facts_of_predictions
from polypseg.evaluate.procedures.references import open_references
from polypseg.evaluate.procedures.true_colon import evaluate_files, evaluate_true_colon
from polypseg.metrics.procedures.curves import FALSE_POSITIVE_RATE, match
from polypseg.metrics.procedures.lesions import lesion_table


def package():
    return pytest.importorskip("true_colon", reason="pip install true-colon==0.1.1")


def ours(tmp_path, truth, results):
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(results))
    references = open_references(tmp_path / "truth.json", 30.0)
    return facts_of_predictions(tmp_path / "found.json", references).procedures


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("dataset", ["sun", "realcolon"])
@pytest.mark.parametrize("threshold", [0.2, 0.55])
def test_equal_to_the_package(seed, dataset, threshold):
    tc = package()
    truth, results = toy.drawn(seed)
    tiers = frozenset({"frame", "lesion", "froc", "afroc"})
    judge = tc.create_evaluator(dataset, id_source="gt_integer", conf=threshold, tiers=tiers)
    theirs = judge.evaluate(truth, results)
    matched = judge.match_operating_point(truth, results)
    found = evaluate_true_colon(truth, results, threshold, "stem_int_suffix" if dataset == "realcolon" else "stem")
    assert found.frame == asdict(theirs.frame)
    assert found.lesion == asdict(theirs.lesion)
    assert found.froc == asdict(theirs.froc)
    assert found.afroc == asdict(theirs.afroc)
    assert found.matched == asdict(matched)
    assert (found.num_frames, found.num_detections) == (theirs.n_frames, theirs.n_preds)
    assert min(found.frame[name] for name in ("tp", "fp", "tn", "fn")) > 0  # the toy has of everything


@pytest.mark.parametrize("min_iou", [0.0, 0.3])
def test_equal_with_names_and_another_overlap(min_iou):
    tc = package()
    truth, results = toy.drawn(5)
    names = {one["id"]: one["file_name"] for one in truth["images"]}
    named = [{**one, "image_id": names[one["image_id"]]} for one in results]
    tiers = frozenset({"frame", "lesion", "froc", "afroc"})
    judge = tc.create_evaluator(id_source="pred_string", conf=0.3, iou_thr=min_iou, tiers=tiers)
    theirs = judge.evaluate(truth, named)
    found = evaluate_true_colon(truth, named, 0.3, min_iou=min_iou)
    assert found.frame == asdict(theirs.frame)
    assert found.lesion == asdict(theirs.lesion)
    assert found.froc == asdict(theirs.froc)
    assert found.afroc == asdict(theirs.afroc)


def test_more_than_a_hundred_detections_of_a_frame_equal_the_package():
    tc = package()
    truth, results = toy.row([0.5], [0.4, 0.3])
    crowd = [{**results[0], "score": 0.9 - n / 1000, "bbox": [60, 60, 5, 5]} for n in range(120)]
    judge = tc.create_evaluator(id_source="gt_integer", tiers=frozenset({"frame", "froc", "afroc"}))
    theirs = judge.evaluate(truth, [*crowd, *results])
    found = evaluate_true_colon(truth, [*crowd, *results])
    assert found.froc == asdict(theirs.froc)
    assert found.frame == asdict(theirs.frame)
    assert found.frame["tp"] == 0  # the hit of .5 is the 121st detection


def test_calm_clean_frames_make_its_threshold_reject_all(tmp_path):
    # No clean frame carries a detection: every threshold has rate 0, and .4 finds both lesion frames.
    truth, results = toy.row([0.6, 0.4], [0, 0, 0])
    found = evaluate_true_colon(truth, results).matched
    assert (found["threshold"], found["achieved_tpr"], found["feasible"]) == (1.000000001, 0.0, True)
    own = match(ours(tmp_path, truth, results), FALSE_POSITIVE_RATE, 0.045)
    assert (own.threshold, own.sensitivity, own.burden) == (0.4, 1.0, 0.0)


def test_it_tries_scores_of_clean_frames_only(tmp_path):
    # One clean frame of two alerts at .5. Its candidates are .5 (rate 1/2) and above 1: nothing is found. At .6, a
    # score of lesion frames, the rate is 0 and three of four lesion frames are found.
    truth, results = toy.row([0.9, 0.8, 0.6, 0.4], [0.5, 0])
    found = evaluate_true_colon(truth, results).matched
    assert (found["threshold"], found["achieved_tpr"]) == (1.000000001, 0.0)
    own = match(ours(tmp_path, truth, results), FALSE_POSITIVE_RATE, 0.045)
    assert (own.threshold, own.sensitivity, own.burden) == (0.6, 0.75, 0.0)


def test_its_names_drop_folders_and_cut_at_a_dot(tmp_path):
    truth, results = toy.row([0.6, 0.4], [])
    truth["images"][0]["file_name"], truth["images"][1]["file_name"] = "a/1.jpg", "b/1.jpg"
    truth["annotations"][1]["unique_id"] = "b_1"
    with pytest.raises(ScoreError, match="two frames are named 1"):
        evaluate_true_colon(truth, results)
    own = ours(tmp_path, truth, results)  # two procedures of one frame
    assert own.names == ("a", "b")
    # A prediction that names "v.1_2" without an ending loses what is behind its dot: it belongs to no frame.
    truth, results = toy.row([0.6], [])
    truth["images"][0]["file_name"] = "v.1_2.jpg"
    named = [{**results[0], "image_id": "v.1_2"}]
    with pytest.raises(ScoreError, match="only 0 of 1"):
        evaluate_true_colon(truth, named)
    assert ours(tmp_path, truth, named).sight_score.tolist() == [0.6]


def test_its_hits_within_a_second_need_not_follow_one_another(tmp_path):
    # Thirty frames of a second, every other one hit: fifteen hits, never two in a row.
    truth, results = toy.row([0.9, 0] * 15, [0])
    record = evaluate_true_colon(truth, results, names="stem_int_suffix").lesion["records"][0]
    assert record["detected_within_1s"] is True
    own = lesion_table(ours(tmp_path, truth, results), 0.5, lasting_seconds=0.5)
    assert own.num_fragments.tolist() == [15]
    assert own.lasting_latency_seconds.tolist() != own.lasting_latency_seconds.tolist()  # none lasts: NaN


def test_files(tmp_path):
    truth, results = toy.drawn(1)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(results))
    assert evaluate_files(tmp_path / "truth.json", tmp_path / "found.json") == evaluate_true_colon(truth, results)


def test_what_belongs_to_no_frame_is_left_out_and_counted(tmp_path):
    # Forty hits: two predictions name a frame that is not there, 5 % of 40, which the protocol bears; a third does not.
    truth, results = toy.row([0.5] * 40, [0])
    truth["annotations"].append({**truth["annotations"][0], "image_id": 99})
    for one in results[:2]:
        one["image_id"] = 77
    found = evaluate_true_colon(truth, results)
    assert found.num_left_out == (2, 1)
    assert (found.frame["tp"], found.frame["fn"], found.froc["total_gt"]) == (38, 2, 40)
    results[2]["image_id"] = 77
    with pytest.raises(ScoreError, match="only 37 of 40 predictions name a frame"):
        evaluate_true_colon(truth, results)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda truth, _: truth["images"][1].update(id=1), "the image id 1 is there twice"),
        (lambda truth, _: truth["images"][1].update(id=[1]), "an image without id or file_name"),
        (lambda truth, _: truth["images"][1].pop("file_name"), "an image without id or file_name"),
        (lambda truth, _: truth["images"][1].update(file_name=""), "the rule of names does not fit"),
        (lambda truth, _: truth["images"].append(3), "an image without id or file_name"),
        (lambda truth, _: truth["annotations"].append(3), "an annotation that is no object"),
        (lambda truth, _: truth["annotations"][0].update(bbox=[1, 2, 3]), "annotation 1 has no bbox of four numbers"),
        (lambda truth, _: truth["annotations"][0].update(bbox=[1, 2, 3, float("nan")]), "no bbox of four numbers"),
        (lambda truth, _: truth.pop("annotations"), "no images or no annotations"),
        (lambda truth, _: truth.update(annotations={"a": 1}), "annotations is no list"),
        (lambda truth, _: truth.update(images=[]), "no images or no annotations"),
        (lambda _, results: results[0].update(score=float("nan")), "a score or a box that is not finite"),
        (lambda _, results: results[0].update(bbox=[0, 0, float("inf"), 2]), "a score or a box that is not finite"),
        (lambda _, results: results[0].update(image_id=[1]), "only 1 of 2 predictions name a frame"),
    ],
)
def test_odd_files_are_one_line(tmp_path, change, message):
    truth, results = toy.row([0.9, 0.5], [])
    change(truth, results)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(results))
    with pytest.raises(ScoreError, match=message) as raised:
        evaluate_files(tmp_path / "truth.json", tmp_path / "found.json")
    assert "\n" not in str(raised.value)


def test_sides_in_each_other_s_place_are_told(tmp_path):
    truth, results = toy.row([0.9], [])
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(results))
    with pytest.raises(ScoreError, match=r"not a COCO results list, or a damaged one \(an object, not a list\)"):
        evaluate_files(tmp_path / "truth.json", tmp_path / "truth.json")
    with pytest.raises(ScoreError, match="a list, not an object with images and annotations"):
        evaluate_files(tmp_path / "found.json", tmp_path / "found.json")


@pytest.mark.parametrize("order", ["images last", "as written"])
def test_order_of_a_file_s_members_does_not_matter(tmp_path, order):
    truth, results = toy.drawn(2)
    members = sorted(truth) if order == "images last" else list(truth)  # annotations before images
    (tmp_path / "truth.json").write_text(json.dumps({key: truth[key] for key in members}))
    (tmp_path / "found.json").write_text(json.dumps(results))
    assert evaluate_files(tmp_path / "truth.json", tmp_path / "found.json") == evaluate_true_colon(truth, results)
