"""Crops of cases: which part of the frame, in which colours."""

import numpy as np

from polypseg.evaluate.procedures.case_pictures import crop
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
    assert crop(image, np.full((1, 4), np.nan), NONE, NONE, of_false=False).shape == (40, 50, 3)
