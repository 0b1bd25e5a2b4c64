"""Folders of predictions by others: judged by what all of their files look like, before one is scored."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage
from typer.testing import CliRunner

from evaluate.conftest import write_mask
from polypseg.cli import app
from polypseg.errors import ScoreError
from polypseg.evaluate.evaluation import evaluate
from polypseg.evaluate.plan import plan_predictions
from polypseg.evaluate.selection import Selection
from polypseg.preprocess import MaskRule
from polypseg.records.scores import read_scores
from preprocess.odd_files import polyp

HEIGHT, WIDTH = 80, 96


def _references(folder: Path, count: int = 6) -> list[np.ndarray]:
    masks = [polyp(np.random.default_rng(seed), HEIGHT, WIDTH) for seed in range(count)]
    for number, mask in enumerate(masks):
        mask[:] = np.roll(mask, (-18, -22), (0, 1))  # not in the middle, so that turning shows
        write_mask(folder / "ref" / f"{number}.png", mask)
    return masks


def _save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    PillowImage.fromarray(np.ascontiguousarray(values)).save(path)


def _predictions(folder: Path, maps: list[np.ndarray]) -> Path:
    for number, values in enumerate(maps):
        _save(folder / "pred" / f"{number}.png", values)
    return folder / "pred"


def _plan(folder: Path, maps: list[np.ndarray], **selection: object):
    return plan_predictions(_predictions(folder, maps), folder / "ref", selection=Selection(**selection))


def _grey(mask: np.ndarray, value: int = 255) -> np.ndarray:
    return mask.astype(np.uint8) * np.uint8(value)


def test_masks_and_soft_maps_are_taken_without_a_word(tmp_path):
    masks = _references(tmp_path)
    assert not _plan(tmp_path, [_grey(mask) for mask in masks]).notes
    soft = [cv2.GaussianBlur(_grey(mask), (0, 0), 5) for mask in masks]
    soft[0] = np.zeros_like(soft[0])
    soft[1] = (soft[1] > 100).astype(np.uint8)  # a model that is almost sure of nothing: 1 of 255
    assert not _plan(tmp_path, soft).notes


@pytest.mark.parametrize("label", [1, 2, 38, 100])
def test_labels_are_refused(tmp_path, label):
    masks = _references(tmp_path)
    with pytest.raises(ScoreError, match=rf"6 of 6 predictions have a largest value of {label}; expected 0"):
        _plan(tmp_path, [_grey(mask, label) for mask in masks])


def test_files_in_another_encoding_than_the_rest_are_refused_by_name(tmp_path):
    masks = _references(tmp_path)
    maps = [_grey(mask, 1 if number in (2, 4) else 255) for number, mask in enumerate(masks)]
    with pytest.raises(ScoreError, match=r"2 of 6 predictions have a largest value of 1(.|\n)*2\.png\n *4\.png"):
        _plan(tmp_path, maps)


def test_a_faint_doubt_where_there_is_no_polyp_is_no_label(tmp_path):
    masks = _references(tmp_path, 3)
    write_mask(tmp_path / "ref" / "1.png", np.zeros((HEIGHT, WIDTH), bool))
    plan = _plan(tmp_path, [_grey(masks[0]), _grey(masks[1], 1), _grey(masks[2])])
    assert not plan.notes


@pytest.mark.parametrize("ground", [(0, 0, 0), (0, 0, 128)])
def test_maps_in_colours_are_refused(tmp_path, ground):
    masks = _references(tmp_path)
    maps = [np.where(mask[..., None], (255, 0, 0), ground).astype(np.uint8) for mask in masks]
    with pytest.raises(ScoreError, match=r"6 of 6 predictions are in colours.*grey maps or black and white masks"):
        _plan(tmp_path, maps)


def test_transparent_maps_are_refused(tmp_path):
    masks = _references(tmp_path)
    maps = [np.dstack([np.zeros((HEIGHT, WIDTH, 3), np.uint8), _grey(mask)]) for mask in masks]
    for number, layered in enumerate(maps):
        _save(tmp_path / "pred" / f"{number}.png", layered)
    with pytest.raises(ScoreError, match="6 of 6 predictions are transparent in parts"):
        plan_predictions(tmp_path / "pred", tmp_path / "ref")


def test_swapped_sides_are_refused(tmp_path):
    masks = _references(tmp_path)
    with pytest.raises(ScoreError, match="6 of 6 predictions have the height and width of their reference swapped"):
        _plan(tmp_path, [np.rot90(_grey(mask)).copy() for mask in masks])


@pytest.mark.parametrize(
    ("done", "words"),
    [
        (lambda grey: grey[:, ::-1], "mirrored left to right"),
        (lambda grey: grey[::-1], "upside down"),
        (lambda grey: grey[::-1, ::-1], "turned by 180 degrees"),
        (lambda grey: 255 - grey, r"inverted \(polyp black\)"),
        (lambda grey: cv2.resize(np.rot90(grey).copy(), (WIDTH, HEIGHT)), "turned left"),
    ],
)
def test_maps_that_lie_otherwise_are_refused(tmp_path, done, words):
    masks = _references(tmp_path)
    maps = [np.ascontiguousarray(done(_grey(mask))) for mask in masks]
    with pytest.raises(
        ScoreError, match=rf"the predictions look {words}: undone, 6 of them have a mean Dice of (1\.00|0\.9)"
    ):
        _plan(tmp_path, maps)


def test_two_turned_maps_are_noted(tmp_path):
    masks = _references(tmp_path, 2)
    plan = _plan(tmp_path, [np.ascontiguousarray(_grey(mask)[:, ::-1]) for mask in masks])
    (note,) = plan.notes
    assert note.startswith("the predictions look mirrored left to right")
    _, summary = evaluate(plan, tmp_path / "out")
    assert note in summary.provenance.notes


def test_a_bad_model_is_scored(tmp_path):
    _references(tmp_path)
    others = [polyp(np.random.default_rng(100 + seed), HEIGHT, WIDTH) for seed in range(6)]
    assert not _plan(tmp_path, [_grey(np.roll(mask, 20, 1)) for mask in others]).notes


def test_maps_of_0_to_100_are_noted(tmp_path):
    masks = _references(tmp_path)
    soft = [(cv2.GaussianBlur(_grey(mask), (0, 0), 3) / 2.55).astype(np.uint8) for mask in masks]
    (note,) = _plan(tmp_path, soft).notes
    assert "no prediction is brighter than" in note
    assert "0 to 100" in note


def test_one_map_that_lies_otherwise_is_named(tmp_path):
    masks = _references(tmp_path)
    maps = [_grey(mask) for mask in masks]
    maps[2], maps[4] = 255 - maps[2], np.ascontiguousarray(maps[4][::-1])
    (note,) = _plan(tmp_path, maps).notes
    assert note == "fits its reference only if turned, mirrored or inverted: 2, 4"


def test_outlines_are_refused(tmp_path):
    masks = _references(tmp_path)
    lines = [cv2.morphologyEx(_grey(mask), cv2.MORPH_GRADIENT, np.ones((3, 3))) for mask in masks]
    with pytest.raises(ScoreError, match="6 of 6 predictions are outlines without their filling; expected masks: fill"):
        _plan(tmp_path, lines)
    mixed = [_grey(mask) for mask in masks]
    mixed[0] = lines[0]  # one thin answer of a model is none
    _predictions(tmp_path, mixed)
    assert not plan_predictions(tmp_path / "pred", tmp_path / "ref").notes


def test_maps_that_are_dark_or_bright_everywhere_are_scored_with_a_note(tmp_path):
    """The sigmoid of probabilities 0 and 1 is 0.5 and 0.73: 127 and 186 of 255."""
    masks = _references(tmp_path)
    (note,) = _plan(tmp_path, [np.where(mask, 186, 127).astype(np.uint8) for mask in masks]).notes
    assert note == "no prediction is darker than 127 of 255 anywhere; was a sigmoid applied twice?"
    (note,) = _plan(tmp_path, [_grey(mask, 0) for mask in masks]).notes
    assert note == "all predictions are black: no polyp is found anywhere"
    for number, mask in enumerate(masks):
        write_mask(tmp_path / "ref" / f"{number}.png", mask & False)
    assert not _plan(tmp_path, [_grey(mask, 0) for mask in masks]).notes  # and there is none


def test_16_bits_in_colours_that_are_0_to_255_are_refused(tmp_path):
    masks = _references(tmp_path)
    for number, mask in enumerate(masks):
        deep = np.repeat(_grey(mask)[..., None], 3, 2).astype(np.uint16)
        (tmp_path / "pred").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "pred" / f"{number}.png"), deep)
    plan = plan_predictions(tmp_path / "pred", tmp_path / "ref")
    with pytest.raises(ScoreError, match=r"0\.png: 16 bits a channel, values that differ become equal in 8 bits"):
        evaluate(plan, tmp_path / "out")


def test_references_that_do_not_agree_are_refused_and_read_by_a_rule(tmp_path):
    masks = _references(tmp_path)
    _save(tmp_path / "ref" / "3.png", _grey(masks[3], 1))
    maps = [_grey(mask) for mask in masks]
    with pytest.raises(ScoreError, match=r"the references: the masks do not agree.*--polyp-values 1,255"):
        _plan(tmp_path, maps)
    plan = _plan(tmp_path, maps, mask_rule=MaskRule(values=(1, 255)))
    evaluation, summary = evaluate(plan, tmp_path / "out")
    assert summary.metrics["dice"].mean == 1.0
    assert {sample.mask_rule for sample in evaluation.record().samples} == {"values=1,255"}


def test_the_options_reach_the_references(tmp_path):
    masks = _references(tmp_path)
    for number, mask in enumerate(masks):
        labels = _grey(mask, 1)
        labels[-12:, -12:][~mask[-12:, -12:]] = 255  # what is not to be counted
        _save(tmp_path / "ref" / f"{number}.png", labels)
    folder = _predictions(tmp_path, [_grey(mask) for mask in masks])
    words = ["evaluate", "--predictions", folder, "--references", tmp_path / "ref", "--out", tmp_path / "o"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert (result.exit_code, "--polyp-values" in result.output) == (1, True)
    words[-1] = tmp_path / "p"
    result = CliRunner().invoke(app, [str(word) for word in [*words, "--polyp-values", 1]])
    assert result.exit_code == 0, result.output
    assert read_scores(tmp_path / "p" / "scores.csv").values["dice"].tolist() == [1.0] * 6
