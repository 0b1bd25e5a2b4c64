"""Annotation files after an accident: whatever a file holds, the answer is its regions or one line."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from polypseg.data.annotated import labelled_frames
from polypseg.errors import DataError
from polypseg.formats.finding import FoundAnnotations, find_annotations
from polypseg.formats.writing import FORMATS, write_data_set
from polypseg.preprocess import MaskRule

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**25), 10**25), st.floats(), st.text(max_size=5), st.just([]), st.just({})
)
ALL = MaskRule(labels=("*",))


@pytest.fixture
def written(tmp_path, scene, request):
    """A data set in a format, and its annotation file."""
    write_data_set(tmp_path / "set", request.param, scene.frames)
    found = find_annotations(tmp_path / "set")
    return found, found.paths[-1]


def outcome(found):
    """Nothing, unless something else than an error in one line happens."""
    told = ""
    try:
        again = find_annotations(found.folder)
        if again is not None:
            labelled_frames(FoundAnnotations(again.format, again.paths, again.folder), ALL)
    except DataError as error:
        told = str(error)
    assert "\n" not in told


@pytest.mark.parametrize("written", ["coco", "cvat", "label-studio", "labelme", "yolo"], indirect=True)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_byte_may_be_changed_or_cut(written, data):
    found, path = written
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    how = data.draw(st.sampled_from(["cut", "change", "repeat"]))
    changed = {
        "cut": whole[:place],
        "change": whole[:place] + data.draw(st.binary(min_size=1, max_size=3)) + whole[place + 1 :],
        "repeat": whole[: place + 20] + whole[place:],
    }[how]
    path.write_bytes(changed)
    outcome(found)
    path.write_bytes(whole)


def places_in(value, place=()):
    """The paths to all values within a JSON value."""
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places_in(item, (*place, key))


@pytest.mark.parametrize("written", ["coco", "label-studio", "labelme"], indirect=True)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_may_be_of_another_kind(written, data):
    found, path = written
    text = path.read_text()
    content = json.loads(text)
    place = data.draw(st.sampled_from([place for place in places_in(content) if place]))
    holder = content
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = data.draw(VALUES)
    path.write_text(json.dumps(content))
    outcome(found)
    path.write_text(text)


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"masks"}))
def test_images_that_are_no_images_are_told(tmp_path, scene, name):
    write_data_set(tmp_path / "set", name, scene.frames)
    images = sorted(path for path in (tmp_path / "set").rglob("*.png") if path.parent.name in (
        "images", "JPEGImages", "imagesTr"))  # fmt: skip
    images[0].write_bytes(b"no image")
    PillowImage.new("RGB", (9, 9)).save(images[1])
    frames, faults = labelled_frames(find_annotations(tmp_path / "set"), ALL)
    # YOLO's shares fit an image of any size
    assert [frame.name for frame in frames] == (["ring", "two"] if name == "yolo" else ["two"])
    assert len(faults) == 3 - len(frames)
