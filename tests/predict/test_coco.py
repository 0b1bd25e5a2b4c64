"""COCO's JSON, read by COCO's own tools."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from pycocotools.coco import COCO

from polypseg.errors import DataError
from polypseg.predict.images.coco import LINES_NAME, CocoLines, image_line, kept_names, mend_lines, write_coco
from polypseg.predict.regions import find_regions

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # NumPy's, of what pycocotools calls


def line_of(name, mask, probability=None):
    values = mask.astype(np.float32) if probability is None else probability
    return image_line(name, f"{name}.jpg", mask, find_regions(mask, values))


def read(path):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


@pytest.fixture
def masks():
    """One with a ring and a dot, one empty, one full; of different sizes."""
    ring = np.zeros((9, 12), bool)
    ring[1:7, 1:7] = True
    ring[3:5, 3:5] = False
    ring[8, 11] = True
    return {"x/ring": ring, "empty": np.zeros((4, 5), bool), "full": np.ones((3, 2), bool)}


@pytest.fixture
def written(tmp_path, masks):
    with CocoLines(tmp_path) as lines:
        for name, mask in masks.items():
            lines.add(line_of(name, mask))
    return write_coco(tmp_path, set(masks), {"description": "a test"})


def test_both_files_are_cocos_and_hold_each_image(written, masks):
    assert [path.name for path in written] == ["coco.json", "coco_polygons.json"]
    for path in written:
        coco = read(path)
        assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == [f"{name}.jpg" for name in masks]
        assert coco.loadCats(coco.getCatIds()) == [{"id": 1, "name": "polyp"}]
        assert [len(coco.getAnnIds(imgIds=number)) for number in (1, 2, 3)] == [2, 0, 1]
        annotations = coco.loadAnns(coco.getAnnIds())
        assert [a["area"] for a in annotations] == [32, 1, 6]  # 36 less the hole of 4; the dot; 3 x 2
        assert [a["bbox"] for a in annotations] == [[1, 1, 6, 6], [11, 8, 1, 1], [0, 0, 2, 3]]


def test_run_lengths_give_back_the_masks_and_polygons_fill_their_holes(written, masks):
    for path, fills_holes in zip(written, (False, True), strict=True):
        coco = read(path)
        for number, mask in enumerate(masks.values(), 1):
            union = np.zeros(mask.shape, bool)
            for annotation in coco.loadAnns(coco.getAnnIds(imgIds=number)):
                union |= coco.annToMask(annotation).astype(bool)
            expected = mask.copy()
            if fills_holes and number == 1:
                expected[3:5, 3:5] = True
            np.testing.assert_array_equal(union, expected)


def test_results_can_be_scored_against_one_another(written):
    from pycocotools.cocoeval import COCOeval

    truth = read(written[0])
    found = [{key: a[key] for key in ("image_id", "category_id", "segmentation", "score")} for a in truth.anns.values()]
    with contextlib.redirect_stdout(io.StringIO()):
        judged = COCOeval(truth, truth.loadRes(found), "segm")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    assert judged.stats[0] == pytest.approx(1)


def test_score_is_the_mean_probability(tmp_path):
    mask = np.array([[True, True, False]])
    with CocoLines(tmp_path) as lines:
        lines.add(line_of("a", mask, np.array([[0.5, 1, 0]], np.float32)))
    path, _ = write_coco(tmp_path, {"a"}, {})
    assert json.loads(path.read_text())["annotations"][0]["score"] == 0.75


def test_the_last_line_of_an_image_counts_and_others_are_left_out(tmp_path, masks):
    with CocoLines(tmp_path) as lines:
        for name in ("full", "empty", "x/ring"):
            lines.add(line_of(name, masks["full"]))
        lines.add(line_of("full", masks["empty"]))
    path, _ = write_coco(tmp_path, {"full", "empty"}, {})
    coco = read(path)
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["empty.jpg", "full.jpg"]
    assert [len(coco.getAnnIds(imgIds=number)) for number in (1, 2)] == [1, 0]


def test_a_line_that_was_cut_off_is_left_out_and_mended(tmp_path, masks):
    with CocoLines(tmp_path) as lines:
        lines.add(line_of("a", masks["full"]))
        lines.add(line_of("b", masks["full"]))
    path = tmp_path / LINES_NAME
    path.write_bytes(path.read_bytes()[:-5])
    assert kept_names(tmp_path) == {"a"}
    mend_lines(tmp_path / LINES_NAME)
    with CocoLines(tmp_path) as lines:
        lines.add(line_of("c", masks["full"]))
    assert kept_names(tmp_path) == {"a", "c"}


def test_a_damaged_line_is_told(tmp_path):
    (tmp_path / LINES_NAME).write_text("{\n")
    with pytest.raises(DataError, match=r"\.coco\.jsonl: not a list of regions, or a damaged one .*--overwrite"):
        kept_names(tmp_path)


def test_nothing_kept_is_an_empty_file(tmp_path):
    mend_lines(tmp_path / LINES_NAME)
    for path in write_coco(tmp_path, set(), {}):
        assert json.loads(path.read_text())["images"] == []


def test_predict_writes_and_resumes_them(tmp_path, monkeypatch):
    from polypseg.predict.images.outputs import OutputOptions
    from predict.test_images import predicted
    from predict.tiny_model import write_picture, write_tiny_model

    monkeypatch.chdir(tmp_path)
    write_tiny_model(tmp_path / "tiny.onnx")
    for name in ("a", "b"):
        write_picture(tmp_path / "in" / f"{name}.png", 200, box=(5, 5, 15, 25))
    predicted(["in/a.png"], OutputOptions(coco=True))
    summary = predicted(written=OutputOptions(coco=True), resume=True)
    assert (summary.num_predicted, summary.num_done_before) == (1, 1)
    coco = read(summary.written[1])
    for number, name in enumerate(("a", "b"), 1):
        assert coco.loadImgs(number)[0]["file_name"] == f"{name}.png"
        with PillowImage.open(Path("out") / "masks" / f"{name}.png") as opened:
            (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=number))
            np.testing.assert_array_equal(coco.annToMask(annotation) * 255, np.asarray(opened))
    (tmp_path / "out" / LINES_NAME).unlink()  # without their lines they are done again
    assert predicted(written=OutputOptions(coco=True), resume=True).num_predicted == 2
