"""What the masks of a set say together: one value for polyp, not inverted, not all empty."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.config import load_config
from polypseg.data.catalogue import find_samples
from polypseg.data.checks import inspect
from polypseg.data.in_memory import load_polyp_dataset
from polypseg.data.masks import inverted, mixed_values, rule_of, set_faults
from polypseg.data.samples import MaskFacts, check_samples
from polypseg.data.synthetic import synthetic_image
from polypseg.errors import DataError
from polypseg.preprocess import MaskRule

ANY, GIVEN = MaskRule(), MaskRule(values=(1,))


def _facts(*polyps: str, share: float = 0.1, border: float = 0.0) -> list[MaskFacts]:
    return [MaskFacts(f"f{n}", polyp, share if polyp else 0.0, border, False) for n, polyp in enumerate(polyps)]


def _set(folder: Path, *masks: np.ndarray) -> Path:
    for number, mask in enumerate(masks):
        image = synthetic_image(np.random.default_rng(number), mask.shape[:2])[0]
        for kind, values in (("images", image), ("masks", mask)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            PillowImage.fromarray(values).save(folder / kind / f"{number}.png")
    return folder


def _mask(value: int | tuple = 255, shape: tuple = (64, 80)) -> np.ndarray:
    mask = np.zeros(shape if isinstance(value, int) else (*shape, 3), np.uint8)
    mask[20:40, 30:60] = value
    return mask


def test_sets_of_one_value_are_fine_whatever_it_is():
    for polyp in ("255", "1", "7", "#ff0000"):
        assert mixed_values(_facts(polyp, polyp, ""), ANY) == ""
        assert set_faults(_facts(polyp, polyp, ""), ANY, empty_masks=False) == []


def test_mixed_values_are_told_with_the_option_that_ends_it():
    assert mixed_values(_facts("255", "1", "255"), ANY) == (
        "the masks do not agree on what is polyp: 255 in 2 of them (f0), 1 in 1 (f1); say it with --polyp-values 1,255"
    )
    assert '--polyp-colours "red,green"' in mixed_values(_facts("red", "green"), ANY)
    assert '--polyp-colours "white,#ff0000"' in mixed_values(_facts("255", "255", "#ff0000"), ANY)
    assert mixed_values(_facts("255", "1"), GIVEN) == ""


def test_inverted_masks_are_faults_unless_the_user_says_what_is_polyp():
    odd = [*_facts("255", "255"), MaskFacts("odd", "255", 0.9, 0.8, False)]
    assert [fault.name for fault in inverted(odd, ANY)] == ["odd"]
    assert "--polyp-values 0" in inverted(odd, ANY)[0].reason
    assert inverted(odd, MaskRule(values=(255,))) == []
    assert set_faults(odd, ANY, empty_masks=False) == []  # one of three is a fault of its own, not of the set
    (problem,) = set_faults(_facts("255", "255", border=1.0, share=1.0), ANY, empty_masks=False)
    assert problem.startswith("2 of 2 masks look inverted or white")


def test_a_set_without_any_polyp_is_told_unless_it_is_meant():
    (problem,) = set_faults(_facts("", ""), ANY, empty_masks=False)
    assert problem.startswith("none of the 2 masks holds a polyp")
    assert set_faults(_facts("", ""), ANY, empty_masks=True) == []
    assert set_faults([], ANY, empty_masks=False) == []


def test_check_samples_gives_the_facts_of_the_usable(tmp_path):
    # Of 64x80 pixels 20x30 are polyp, none at the border.
    samples, _ = find_samples(_set(tmp_path, _mask(1), np.zeros((64, 80), np.uint8)))
    usable, faults, facts = check_samples(samples)
    assert (len(usable), faults) == (2, [])
    assert facts == [MaskFacts("0", "1", 600 / 5120, 0.0, True), MaskFacts("1", "", 0.0, 0.0, False)]


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([_mask(255), _mask(1)], "the masks do not agree on what is polyp"),
        ([_mask((255, 0, 0)), _mask((0, 255, 0))], "the masks do not agree on what is polyp: #ff0000"),
        ([255 - _mask(), 255 - _mask()], "2 of 2 masks look inverted"),
        ([np.full((64, 80), 255, np.uint8)] * 2, "2 of 2 masks look inverted or white"),
        ([np.zeros((64, 80), np.uint8)] * 2, "none of the 2 masks holds a polyp"),
    ],
)
def test_inspect_tells_what_is_wrong_with_a_set(tmp_path, masks, message):
    findings = inspect([_set(tmp_path, *masks)], bits=-1)
    assert any(fault.reason.startswith(message) for fault in findings.faults)


def test_inspect_reads_as_the_rule_says(tmp_path):
    folder = _set(tmp_path, 255 - _mask(), 255 - _mask())
    findings = inspect([folder], bits=-1, rule=MaskRule(values=(0,)))
    assert findings.faults == []
    assert [found.polyp_share for found in findings.samples] == [600 / 5120] * 2
    colours = _set(tmp_path / "c", _mask((255, 0, 0)), _mask((0, 255, 0)))
    assert inspect([colours], bits=-1, rule=MaskRule(colours=("red", "#00ff00"))).faults == []


def test_load_polyp_dataset_refuses_mixed_values_and_takes_a_rule(tmp_path):
    folder = _set(tmp_path, _mask(255), _mask(1))
    with pytest.raises(DataError, match=r"masks: the masks do not agree.*--polyp-values 1,255"):
        load_polyp_dataset(folder / "images", folder / "masks", size=16)
    data = load_polyp_dataset(folder / "images", folder / "masks", size=16, mask_rule=MaskRule(values=(1, 255)))
    np.testing.assert_array_equal(data.masks[0], data.masks[1])
    assert data.masks.any()


def test_rule_of_a_config():
    config = load_config(overrides=["data.polyp_values=[1, 2]", 'data.mask_channel="alpha"'])
    assert rule_of(config.data) == MaskRule((1, 2), channel="alpha")
    colours = load_config(overrides=['data.polyp_colours=["red"]']).data
    assert rule_of(colours) == MaskRule(colours=("red",))
    assert not rule_of(load_config().data)
