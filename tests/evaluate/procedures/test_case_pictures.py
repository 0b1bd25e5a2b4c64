"""Crops of cases: which part of the frame, in which colours."""

import numpy as np

from metrics.procedures.conftest import build
from polypseg.evaluate.procedures.case_pictures import choose_cases, crop
from polypseg.overlay import FALSE_POSITIVE, OUTLINE, TRUE_POSITIVE

NONE = np.zeros((0, 4))


def has(image, colour):
    return bool((image == np.array(colour, np.uint8)).all(axis=-1).any())


def test_crop_holds_the_lesion_and_the_finding_on_it_with_their_surroundings():
    image = np.full((400, 400, 3), 9, np.uint8)
    places = ((100, 100, 60, 40), (120, 100, 60, 40), (350, 350, 20, 20))
    lesion, true, false = (np.array([box], float) for box in places)
    seen = crop(image, lesion, true, false, of_false=False)
    # Both boxes span 80 x 40; the longer side and 0.6 of it on each side make 176 pixels.
    assert seen.shape == (176, 176, 3)
    assert has(seen, OUTLINE)
    assert has(seen, TRUE_POSITIVE)
    assert not has(seen, FALSE_POSITIVE)
    other = crop(image, lesion, true, false, of_false=True)
    # The false box alone would make 44 pixels: 0.4 of the frame is the least. At the edge it is cut: from 280 to 400.
    assert other.shape == (120, 120, 3)
    assert has(other, FALSE_POSITIVE)
    assert not has(other, OUTLINE)
    assert (image == 9).all()


def test_lesion_whose_place_is_unknown_gives_the_whole_frame():
    image = np.full((40, 50, 3), 9, np.uint8)
    image.flags.writeable = False  # as a decoder gives it
    false = np.array([[5, 5, 9, 9.0]])
    seen = crop(image, np.full((1, 4), np.nan), NONE, false, of_false=False)
    assert seen.shape == (40, 50, 3)
    assert has(seen, FALSE_POSITIVE)
    assert (image == 9).all()


def test_lines_of_a_small_crop_are_thin():
    # The frame's longer side of 1000 would make lines of 8 pixels; the crop of 400 (0.4 of 1000) makes 3, which OpenCV
    # draws with up to 5: at most 10 in a row through both sides of the box, instead of 16 and more.
    image = np.full((1000, 1000, 3), 9, np.uint8)
    seen = crop(image, np.array([[480, 480, 40, 40.0]]), NONE, NONE, of_false=False)
    assert seen.shape == (400, 400, 3)
    across = (seen[200] == np.array(OUTLINE, np.uint8)).all(axis=-1)
    assert 2 <= int(across.sum()) <= 10


def test_cases_of_procedures_that_are_not_evaluated_take_no_place():
    # A (for validation) has seven missed lesions and seven false alerts, more than the six places; B has one of each.
    sights = [(2 * number, number) for number in range(7)] + [(15, 7)]
    findings = [(2 * number + 1, 0.9) for number in range(7)] + [(17, 0.8)]
    both = build([14, 6], sights, findings, [], [f"lesion{number}" for number in range(8)])
    chosen = list(choose_cases(both, 0.5, ("B",)))
    assert [(case.kind, case.frame, case.caption) for case in chosen] == [
        ("missed", 15, "lesion lesion7, found in 0 of 1 frames"),
        ("false", 17, "1 frame, score 0.80"),
    ]
    assert [case.kind for case in choose_cases(both, 0.5, ("A", "B"))] == ["missed"] * 6 + ["false"] * 6
