"""Tables of videos from `polypseg predict`, as findings, against all three forms of references."""

import numpy as np
import pytest

from evaluate.procedures import toy
from evaluate.procedures.conftest import SIDE, save, write
from polypseg.errors import ScoreError, UsageError
from polypseg.evaluate.procedures.deployment import DeploymentOptions, report_deployment
from polypseg.evaluate.procedures.facts import facts_of_predictions
from polypseg.evaluate.procedures.references import open_references
from polypseg.predict.video.table import FrameTable
from polypseg.records.video_table import FrameRow


def found(number, box, score, tracks="1"):
    """A row of a frame in which something is found; ten frames a second."""
    return FrameRow(number, number / 10, 100, 2.5, *box, len(tracks.split("+")), score, 0, tracks=tracks)


def nothing(number, score):
    return FrameRow(number, number / 10, 0, 0, num_components=0, max_probability=score, num_withheld=0)


def table(folder, name, rows):
    folder.mkdir(exist_ok=True)
    writer = FrameTable(folder / f"{name}.csv")
    for row in rows:
        writer.add(row)
    return writer.finish()


@pytest.fixture
def tables(tmp_path):
    """p1: frames 0 to 3; found on (10, 10) in 1, on (50, 50) in 2 with two regions, withheld in 3. p2: two frames."""
    rows = [nothing(0, 0.2), found(1, (10, 10, 8, 8), 0.9, "4"), found(2, (50, 50, 9, 9), 0.7, "4+5"), nothing(3, 0.99)]
    table(tmp_path / "out", "p1", rows)
    table(tmp_path / "out", "p2", [nothing(0, 0.1), nothing(1, 0.1)])
    return tmp_path / "out"


def test_columns_by_hand(tables, tmp_path):
    intervals = "procedure,lesion,first_frame,last_frame\np1,a,1,2\np2,,,\n"  # without numbers of frames, or a rate
    facts = facts_of_predictions(tables, open_references(save(tmp_path / "lesions.csv", intervals)))
    assert facts.procedures.names == ("p1", "p2")
    assert facts.keys == ("0", "1", "2", "3", "0", "1")
    np.testing.assert_allclose(facts.procedures.seconds, [0, 0.1, 0.2, 0.3, 0, 0.1])
    assert facts.findings.frame.tolist() == [1, 2]  # what is withheld is not found, whatever its probability
    assert facts.findings.score.tolist() == [0.9, 0.7]
    assert facts.findings.percent.tolist() == [2.5, 2.5]
    assert facts.findings.track.tolist() == [4, -1]  # two regions, one box
    assert facts.procedures.sight_score.tolist() == [0.9, 0.7]
    record = report_deployment("table", facts, DeploymentOptions(0.5), tmp_path / "report")
    assert record.notes[0].startswith("a table of a video has one box per frame")
    assert record.points[0].frames.sensitivity.value == 1
    assert record.points[0].frames.specificity.value == 1


def test_boxes_decide_where_it_is_found(tables, tmp_path):
    images = [toy.image(n + 1, f"p1_{n:04d}.png") for n in range(4)] + [
        toy.image(9, "p2_0.png"),
        toy.image(8, "p2_1.png"),
    ]
    boxes = [toy.box(1, 2, (12, 12, 20, 20), "a"), toy.box(2, 3, (12, 12, 20, 20), "a")]
    content = {"images": images, "annotations": boxes}
    facts = facts_of_predictions(tables, open_references(save(tmp_path / "lesions.json", content), 30.0))
    assert facts.keys[:2] == ("p1_0000", "p1_0001")
    assert facts.procedures.seconds[1] == 0.1  # the video's own time, not that of the rate
    assert facts.procedures.sight_score.tolist() == [0.9, -np.inf]
    assert facts.procedures.false_score.tolist()[2] == 0.7


def test_one_table_against_masks(tables, tmp_path):
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[48:54, 48:54] = 255
    for number in range(4):
        write(tmp_path / "masks" / "p1", str(number), mask if number == 2 else 0 * mask)
    facts = facts_of_predictions(tables / "p1.csv", open_references(tmp_path / "masks"))
    assert facts.procedures.sight_score.tolist() == [0.7]
    (tmp_path / "masks" / "p1" / "3.png").unlink()
    with pytest.raises(ScoreError, match="p1: 1 frame is missing in the references, as 3; a frame without a lesion"):
        facts_of_predictions(tables / "p1.csv", open_references(tmp_path / "masks"))
    write(tmp_path / "masks" / "p1", "3", 0 * mask)
    write(tmp_path / "masks" / "p1", "4", 0 * mask)
    with pytest.raises(ScoreError, match="p1: 1 frame is missing in the tables, as 4; remove the references"):
        facts_of_predictions(tables / "p1.csv", open_references(tmp_path / "masks"))


def test_a_damaged_table_is_one_line(tables, tmp_path):
    intervals = open_references(save(tmp_path / "lesions.csv", "procedure,lesion,first_frame,last_frame\np1,a,1,2\n"))
    path = tables / "p1.csv"
    path.write_text(path.read_text().replace("0.1,100", "soon,100"))
    with pytest.raises(ScoreError, match=r"p1\.csv: cannot read the table of the video .*soon") as raised:
        facts_of_predictions(path, intervals)
    assert "\n" not in str(raised.value)


def test_masks_tell_no_time(tmp_path):
    write(tmp_path / "masks" / "p1", "1", np.zeros((SIDE, SIDE), np.uint8))
    rows = save(tmp_path / "findings.csv", "procedure,frame,x,y,width,height,score\np1,1,1,1,5,5,0.9\n")
    with pytest.raises(UsageError, match="masks tell no time; name the frames a second with --frame-rate"):
        facts_of_predictions(rows, open_references(tmp_path / "masks"))
    assert facts_of_predictions(rows, open_references(tmp_path / "masks", 25.0)).procedures.num_frames == 1
