"""What is kept of a frame, and which text is found."""

import numpy as np
import pytest

from polypseg.annotate.blanking import blank_frame
from polypseg.annotate.burnt_in import find_text
from polypseg.annotate.surround import picture_shape, shape_of_many
from polypseg.errors import ImageError

from .frames import BOX, CORNERS, CUT, HEIGHT, WIDTH, octagon, picture, write


def test_the_shape_of_an_octagon_is_kept_and_hardly_more():
    kept, expected = picture_shape(picture()[0]), octagon()
    assert kept[expected].mean() > 0.995
    assert np.count_nonzero(kept & ~expected) < 0.02 * np.count_nonzero(expected)  # the margin of 2 pixels


def test_a_picture_that_fills_the_frame_is_kept_wholly():
    top, bottom, left, right = BOX
    frame = picture()[0][top + CUT : bottom - CUT, left + CUT : right - CUT]
    assert picture_shape(frame).all()


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("level", [0, 24])
def test_text_at_every_corner_is_blanked_pixel_by_pixel(corner, level):
    clean = picture()[0]
    clean[~octagon()] = level  # a dark grey surround too
    written = write(clean, "DOE JANE 1970", CORNERS[corner], 0.5)
    stroke = (written != clean).any(axis=2)
    assert stroke.sum() > 200
    found = blank_frame(written)
    assert not found.image[stroke].any()
    assert (found.text_blanked, found.text_left) == (1, 0)
    assert found.bright_px > 100


def test_text_in_a_cut_off_corner_of_the_field_is_blanked():
    clean = picture()[0]
    written = write(clean, "7:15", (BOX[2] + 2, BOX[0] + 12), 0.4)
    stroke = (written != clean).any(axis=2)
    assert stroke.any()
    assert not blank_frame(written).image[stroke].any()


@pytest.mark.parametrize("place", [(60, 240), (450, 240), (250, 50), (250, 440), (250, 240)])
def test_text_over_the_edge_or_in_the_picture_is_told_and_blanked_on_request(place):
    clean = picture()[0]
    written = write(clean, "PATIENT 4711", place, 0.6)
    stroke = (written != clean).any(axis=2)
    told = blank_frame(written)
    assert told.text_left >= 1
    assert told.image[stroke & told.kept].any()
    hidden = blank_frame(written, blank_text=True)
    assert (hidden.text_left, hidden.image[stroke].any()) == (0, False)


@pytest.mark.parametrize("seed", range(6))
def test_a_picture_without_text_has_none(seed):
    frame = picture(seed)[0]
    assert find_text(frame) == []
    found = blank_frame(frame)
    assert (found.text_blanked, found.text_left, found.bright_px) == (0, 0, 0)


def test_a_page_of_text_has_no_picture():
    page = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for row in range(4):
        page = write(page, "NAME DOE JANE", (30, 60 + 80 * row))
    with pytest.raises(ImageError, match="no picture was found"):
        blank_frame(page)


def test_the_shape_of_a_video_is_that_of_most_frames():
    frames = [picture(seed)[0] for seed in range(8)]
    frames[3] = np.full_like(frames[3], 200)  # a menu that fills the screen
    frames[5] = np.zeros_like(frames[5])
    kept = shape_of_many(frames)
    assert kept[octagon()].mean() > 0.99
    assert np.count_nonzero(kept & ~octagon()) < 0.03 * kept.size
    assert shape_of_many([np.zeros_like(frames[0])] * 3) is None
