"""A video file as a procedure: its frames are named by their numbers, or as the masks that end in them."""

import numpy as np
import pytest

from evaluate.procedures.conftest import SIDE, RedEngine, frame, save, write
from polypseg.evaluate.procedures.facts import facts_of_model
from polypseg.evaluate.procedures.films import find_films
from polypseg.evaluate.procedures.references import open_references
from polypseg.evaluate.procedures.watch import watch
from polypseg.predict.predictor import Predictor
from predict.video_making import write_video

pytest.importorskip("av")

LESION = np.zeros((SIDE, SIDE), np.uint8)
LESION[16:32, 16:32] = 2


@pytest.fixture
def film(tmp_path):
    """Six frames at 25 a second: a spot on the lesion in 2 and 3, nothing in the others."""
    images = [frame((16, 16, 16, 1.0)) if number in (2, 3) else frame() for number in range(6)]
    (tmp_path / "films").mkdir()
    write_video(tmp_path / "films" / "case.mp4", images)
    return tmp_path


def watched(film, references):
    references = open_references(references)
    films = find_films(film / "films")
    frames, found = watch(films, Predictor(RedEngine()), references)
    return facts_of_model(frames, next(iter(found.values())), references)


def test_masks_named_by_number(film):
    for number in range(6):
        write(film / "masks" / "case", f"case_{number:05d}", LESION if number in (1, 2, 3) else 0 * LESION)
    facts = watched(film, film / "masks")
    assert facts.keys[:2] == ("case_00000", "case_00001")
    np.testing.assert_allclose(facts.procedures.seconds, np.arange(6) / 25, atol=1e-3)
    assert facts.procedures.sight_frame.tolist() == [1, 2, 3]
    assert (facts.procedures.sight_score >= 0.6).tolist() == [False, True, True]
    assert facts.dice[1] > 0.8  # H.264 softens the edge


def test_intervals_hold_for_the_frames_of_the_video(film):
    table = save(film / "lesions.csv", "procedure,lesion,first_frame,last_frame\ncase,a,1,3\n")
    facts = watched(film, table)
    assert facts.keys == tuple(map(str, range(6)))
    assert (facts.procedures.sight_score >= 0.6).tolist() == [False, True, True]
    assert not facts.procedures.is_located
