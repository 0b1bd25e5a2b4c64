import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from polypseg.data.procedure import LEAST_SHARE, ProcedureRequest, draw_procedure, make_procedures
from polypseg.data.tube import FAR, STEP, Lesion, Pose, Tube, view
from polypseg.errors import DataError, UsageError

SMALL = ProcedureRequest(seconds=8, rate=5, side=64, num_lesions=2)


def straight(lesions=(), fold=None):
    """A straight tube of radius 1, with a fold (place, remaining radius) that is one entry thick."""
    num = int((12 + FAR) / STEP)
    radius = np.ones(num, np.float32)
    if fold is not None:
        radius[int(fold[0] / STEP) : int(fold[0] / STEP) + 6] = fold[1]
    grey = np.full((1536, 512, 3), 120, np.uint8)
    flat = np.zeros((1536, 512), np.float32)
    nothing = np.zeros(num, np.float32)
    return Tube(radius, nothing, np.zeros((num, 2), np.float32), grey, flat, flat, nothing, nothing, tuple(lesions))


def looking(z, yaw=0.0):
    return Pose(z, np.zeros(2, np.float32), yaw, 0.0, 0.0)


def ball(z, angle=0.0, radius=0.3):
    return Lesion(z, angle, radius, radius, np.array([[0, 0, 1]], np.float32), np.array([0.8, 0.4, 0.4], np.float32))


def test_distance_to_the_wall_by_hand():
    # In a straight tube a ray at an angle a to its axis meets the wall at 1 / sin(a). At the middle of the right edge
    # the tangent is 1.15: sin = 1.15 / sqrt(1 + 1.15²) = 0.7546, so 1.325; half a pixel less at 64 px: 1.125.. of it.
    seen = view(straight(), looking(2.0), (64, 64))
    tangent = 1.15 * 31.5 / 32
    across = tangent * np.sqrt(1 + (0.5 / 31.5) ** 2)
    expected = np.sqrt(1 + across**2) / across
    assert seen.distance[32, 63] == pytest.approx(expected, rel=0.03)
    assert seen.distance[32, 32] > 5  # along the axis


def test_a_ball_on_the_wall_by_hand():
    # The ball's middle is on the wall at the right (angle 0), one radius ahead of the camera: seen under 45 degrees, at
    # the tangent 1 of 1.15: pixel 32 + 32/1.15 = 59.8 of the 64; its near rim reaches in by about its radius.
    seen = view(straight([ball(3.0)]), looking(2.0), (64, 64))
    rows, columns = np.nonzero(seen.numbers)
    assert rows.mean() == pytest.approx(31.5, abs=1)
    assert columns.max() >= 59
    # The innermost point of the ball as seen: the tangent ray in the plane of the axis. The middle lies sqrt(2) away
    # under 45°, the ball spans asin(0.3 / sqrt(2)) = 12.2° to the inside: 32.8°, tangent 0.644: pixel 32 + 17.9 = 49.9.
    assert columns.min() == pytest.approx(50, abs=1)
    assert set(np.unique(seen.numbers)) == {0, 1}


def test_a_fold_hides_what_lies_behind():
    # A fold that leaves half of the radius, at 1 ahead: rays steeper than 0.5 stop there. The ball at 2 ahead reaches
    # from the wall to 0.7: seen at tangents above 0.3. Without the fold it is seen, behind a narrow one it is not.
    open_tube, narrow = straight([ball(4.0)]), straight([ball(4.0)], fold=(3.0, 0.15))
    assert view(open_tube, looking(2.0), (64, 64)).numbers.any()
    assert not view(narrow, looking(2.0), (64, 64)).numbers.any()
    # and comes back once the camera is past the fold
    assert view(narrow, looking(3.2), (64, 64)).numbers.any()


def test_turning_the_camera_moves_what_it_sees():
    ahead, turned = (view(straight([ball(4.0)]), looking(2.0, yaw), (64, 64)) for yaw in (0.0, 0.3))
    assert np.nonzero(turned.numbers)[1].mean() < np.nonzero(ahead.numbers)[1].mean() - 5  # to the left


def test_the_nearer_lesion_hides_the_other():
    both = view(straight([ball(4.2), ball(3.0, radius=0.7)]), looking(2.0), (64, 64))
    far = view(straight([ball(4.2)]), looking(2.0), (64, 64))
    near = view(straight([ball(3.0, radius=0.7)]), looking(2.0), (64, 64))
    overlap = (far.numbers > 0) & (near.numbers > 0)
    assert overlap.any()
    assert (both.numbers[overlap] == 2).all()


@pytest.mark.slow
def test_lesions_come_and_leave_and_the_same_seed_repeats():
    first, again = (list(draw_procedure(5, 1, SMALL)) for _ in range(2))
    assert len(first) == 40
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, again, strict=True))
    shares = np.array([np.count_nonzero(frame.numbers) / frame.numbers.size for frame in first])
    assert (shares > 0).any()
    assert (shares == 0).any()
    assert shares[shares > 0].min() >= LEAST_SHARE
    assert not np.array_equal(first[0].image, next(draw_procedure(6, 1, SMALL)).image)
    assert not np.array_equal(first[0].image, next(draw_procedure(5, 2, SMALL)).image)


def test_a_clean_procedure():
    clean = ProcedureRequest(seconds=2, rate=5, side=48, num_lesions=0)
    assert not any(frame.numbers.any() for frame in draw_procedure(0, 1, clean))


def test_files_fit_together(tmp_path):
    names = make_procedures(tmp_path, 2, 5, SMALL)
    assert names == ["procedure001", "procedure002"]
    content = json.loads((tmp_path / "lesions.json").read_text())
    assert len(content["images"]) == 80
    boxed = {}
    for one in content["annotations"]:
        name = content["images"][one["image_id"] - 1]["file_name"]
        boxed[name, one["lesion_id"]] = one
    for path in sorted((tmp_path / "masks").rglob("*.png")):
        numbers = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        for level in set(np.unique(numbers).tolist()) - {0}:
            one = boxed.pop((f"{path.parent.name}/{path.stem}.jpg", f"{path.parent.name}:{level}"))
            assert tuple(one["bbox"]) == cv2.boundingRect((numbers == level).astype(np.uint8))
            assert one["area"] == np.count_nonzero(numbers == level)
    assert not boxed  # and no box without its mask
    assert {one["look"] for one in content["lesions"]} <= {"flat", "protruding"}
    with pytest.raises(DataError, match="already holds files"):
        make_procedures(tmp_path, 1, 5, SMALL)


def test_its_own_report_reads_them(tmp_path):
    from polypseg.evaluate.procedures.references import open_references

    make_procedures(tmp_path, 1, 5, SMALL)
    masks, boxes = (open_references(tmp_path / name, 5.0) for name in ("masks", "lesions.json"))
    one, other = (references.sights_in(references.frames) for references in (masks, boxes))
    assert one.frame.tolist() == other.frame.tolist()
    assert one.box.tolist() == other.box.tolist()
    assert [one.lesions[place] for place in one.lesion] == [other.lesions[place] for place in other.lesion]
    np.testing.assert_allclose(one.percent, other.percent)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (SMALL._replace(seconds=0.1), "at least 2 frames"),
        (SMALL._replace(side=8), "at least 16 pixels"),
        (SMALL._replace(num_lesions=60), "0 to 50"),
    ],
)
def test_what_cannot_be(request_, message):
    with pytest.raises(UsageError, match=message):
        make_procedures(Path("unused"), 1, 0, request_)
