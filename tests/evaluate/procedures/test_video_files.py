"""A video file as a procedure: its frames are named by their numbers, or as the masks that end in them."""

import cv2
import numpy as np
import pytest

from evaluate.procedures.conftest import SIDE, RedEngine, frame, save, write
from polypseg.errors import ScoreError
from polypseg.evaluate.procedures.case_pictures import Filmed, check_films, draw_cases
from polypseg.evaluate.procedures.facts import facts_of_model, facts_of_predictions
from polypseg.evaluate.procedures.films import find_films
from polypseg.evaluate.procedures.references import open_references
from polypseg.evaluate.procedures.watch import watch
from polypseg.predict.predictor import Predictor
from polypseg.records.deployment import DeploymentFolder
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


def test_pictures_of_saved_findings_come_from_the_frames_with_their_numbers(film):
    for number in range(7):  # one more than the film has
        write(film / "masks" / "case", f"case_{number:05d}", LESION if number in (2, 6) else 0 * LESION)
    references = open_references(film / "masks", 25.0)
    rows = ["procedure,frame,x,y,width,height,score", "case,case_00002,16,16,16,16,0.9", "case,case_00000,1,1,5,5,0.8"]
    facts = facts_of_predictions(save(film / "findings.csv", "\n".join(rows)), references)
    filmed = Filmed(find_films(film / "films"), references.frames)
    check_films(filmed.films, references.frames)  # a film is not read to its end only for this
    folder = DeploymentFolder(film / "out")
    # The lesion's boxes are equal in frames 2 and 6, and 6 is missed; of its film nothing is left by then.
    with pytest.raises(ScoreError, match=r"case\.mp4: has no frame case_00006; name the videos of the findings"):
        draw_cases(facts, ["case"], 0.5, 0, filmed, folder)
    rows.append("case,case_00006,16,16,16,16,0.9")
    facts = facts_of_predictions(save(film / "findings.csv", "\n".join(rows)), references)
    drawn = draw_cases(facts, ["case"], 0.5, 0, filmed, folder)
    assert [(one.kind, one.frame) for one in drawn] == [("found", "case_00002"), ("false", "case_00000")]
    pictures = {path.name: cv2.imread(str(path)) for path in folder.pictures_folder.glob("*.jpg")}
    blue, _, red = pictures["01-found.jpg"][18, 18].tolist()  # the middle of the spot, in frame 2 alone
    assert (red > 150, blue < 80) == (True, True)
    assert pictures["02-false.jpg"][12:, 12:, 2].max() < 60  # below the box nothing is red in frame 0
