"""The lit field: synthetic frames with every kind of surround, at any place and scale; and real ones."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import polypseg
from polypseg.data.synthetic import synthetic_image
from polypseg.errors import UsageError
from polypseg.metrics.overlap import dice
from polypseg.predict.predictor import NO_PICTURE, PredictOptions
from polypseg.preprocess import Field, field_of, field_rule, find_field, put_back, read_image, whole_frame


def picture(height, width, seed=0, level=110):
    """Mucosa without a dark rim: smooth changes of light, noise; nowhere darker than half of level."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0.6, 1.4, (6, 8, 1)).astype(np.float32)
    light = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    colour = np.array([1.4, 0.8, 0.6], np.float32)
    noise = rng.normal(0, 4, (height, width, 3))
    return np.clip(level * light * colour + noise, level * 0.5, 255).astype(np.uint8)


def in_canvas(inner, height, width, top, left, colour=(0, 0, 0)):
    frame = np.full((height, width, 3), colour, np.uint8)
    frame[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return frame


def octagon(inner, share=0.22):
    """The picture with its corners cut off by a share of the shorter side."""
    height, width = inner.shape[:2]
    cut = int(share * min(height, width))
    corners = [
        (cut, 0), (width - cut, 0), (width, cut), (width, height - cut),
        (width - cut, height), (cut, height), (0, height - cut), (0, cut),
    ]  # fmt: skip
    mask = cv2.fillPoly(np.zeros((height, width), np.uint8), [np.array(corners)], 1)
    return inner * mask[..., None]


def circle(inner):
    height, width = inner.shape[:2]
    mask = cv2.ellipse(np.zeros((height, width), np.uint8), ((width / 2, height / 2), (width, height), 0), 1, -1)
    return inner * mask[..., None]


def near(found, expected, pixels=6):
    """Whether each edge lies within some pixels of where it was drawn (a circle touches its box in one point)."""
    assert found is not None
    edges = [(f.top, f.top + f.height, f.left, f.left + f.width) for f in (found, Field(*expected))]
    assert np.abs(np.subtract(*edges)).max() <= pixels, (found, expected)


@pytest.mark.parametrize(
    "colour", [(0, 0, 0), (17, 17, 17), (8, 12, 20), (30, 60, 160), (255, 255, 255), (120, 120, 120)]
)
@pytest.mark.parametrize("shape", [octagon, circle, lambda inner: inner])
def test_picture_in_a_surround_of_one_colour(colour, shape):
    inner = shape(picture(400, 480))
    inner[inner.max(-1) == 0] = colour
    frame = in_canvas(inner, 720, 1280, 150, 500, colour)
    near(find_field(frame), (150, 500, 400, 480), pixels=14 if shape is circle else 6)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(240, 1080), st.integers(320, 1920), st.floats(0.3, 0.95), st.floats(0, 1), st.floats(0, 1),
    st.integers(0, 5),
)  # fmt: skip
def test_small_picture_anywhere(height, width, scale, down, right, seed):
    inner = picture(int(scale * height), int(scale * width), seed)
    top, left = int(down * (height - inner.shape[0])), int(right * (width - inner.shape[1]))
    found = find_field(in_canvas(inner, height, width, top, left))
    near(found, (top, left, *inner.shape[:2]), pixels=max(6, int(0.025 * max(height, width))))


def test_burnt_in_text_is_not_picture():
    frame = in_canvas(octagon(picture(500, 560)), 576, 1024, 40, 420)
    for line, text in enumerate(
        ("Name: A. B.", "ID 0123456", "Sex: -  Age: -", "29/11/2026", "10:15:31", "CVP:17 D.F:01")
    ):
        cv2.putText(frame, text, (20, 60 + 40 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2)
    near(find_field(frame), (40, 420, 500, 560))


@pytest.mark.parametrize("colour", [(40, 180, 140), (60, 60, 60), (70, 90, 200)])
def test_panel_that_touches_the_picture(colour):
    frame = in_canvas(picture(576, 620), 576, 1024, 0, 404, (16, 16, 16))
    frame[380:, 60:404] = colour  # the position of the scope, drawn beside the picture
    cv2.line(frame, (120, 560), (180, 420), (30, 30, 30), 3)
    near(find_field(frame), (0, 404, 576, 620))


def test_second_small_picture_is_left_out():
    frame = in_canvas(octagon(picture(560, 600)), 576, 1024, 8, 400)
    frame[20:120, 60:180] = picture(100, 120, seed=3)
    near(find_field(frame), (8, 400, 560, 600))


def test_picture_parted_by_a_shadow_stays_one():
    inner = picture(500, 600)
    inner[:, 260:330] = 6  # a fold without light
    near(find_field(in_canvas(inner, 600, 900, 50, 200)), (50, 200, 500, 600))


def test_dim_picture_in_black_is_found():
    inner = picture(400, 500, level=44)  # its darkest pixels have 22 of 255
    near(find_field(in_canvas(inner, 600, 800, 100, 200)), (100, 200, 400, 500))


@pytest.mark.parametrize("shape", [(288, 384), (720, 1280), (1080, 1920), (64, 64)])
def test_frame_that_is_all_picture_is_whole(shape):
    assert find_field(picture(*shape)) == (0, 0, *shape)


@pytest.mark.parametrize("level", [0, 5, 17, 128, 255])
def test_frame_of_one_colour_has_no_field(level):
    image = np.full((200, 300, 3), level, np.uint8)
    assert find_field(image) is None
    assert field_of(image, "auto") == (whole_frame(image.shape), False)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2), (8, 500)])
def test_tiny_frames_do_not_fail(shape):
    rng = np.random.default_rng(0)
    field, _ = field_of(rng.integers(0, 256, (*shape, 3), np.uint8), "auto")
    assert field.top >= 0
    assert field.top + field.height <= shape[0]
    assert field.height > 0
    assert field.width > 0


def test_rule_whole_sees_all():
    frame = in_canvas(picture(100, 100), 300, 300, 100, 100)
    assert field_of(frame, "whole") == (whole_frame(frame.shape), True)
    assert field_of(frame, "auto")[0] != whole_frame(frame.shape)


def test_unknown_rule_is_refused():
    assert field_rule(None) is None
    assert field_rule("auto") == "auto"
    with pytest.raises(UsageError, match="unknown field 'crop'"):
        field_rule("crop")


def test_put_back_is_zero_outside_and_restored_inside():
    field = Field(2, 3, 4, 4)
    found = put_back(np.ones((2, 2), np.float32), field, (8, 10))
    assert found.sum() == 16
    assert found[2:6, 3:7].all()


@pytest.fixture(scope="module")
def predictor():
    return polypseg.load("polyp-lite", options=PredictOptions(field="auto"))


class TestPrediction:
    """The packaged model, told to look at the lit field."""

    @pytest.mark.parametrize("scale", [0.3, 0.5, 0.7, 0.9])
    @pytest.mark.slow
    def test_mask_in_a_canvas_is_the_mask_of_the_frame(self, predictor, scale):
        for seed in range(3):
            image = synthetic_image(np.random.default_rng(seed), (288, 384))[0]
            alone = predictor.predict(image)
            height, width = round(288 / scale), round(384 / scale)
            top, left = (height - 288) // 3, (width - 384) // 2
            framed = predictor.predict(in_canvas(image, height, width, top, left))
            inside = framed.mask[top : top + 288, left : left + 384]
            assert dice(inside, alone.mask) >= 0.98
            assert framed.mask.sum() == inside.sum()

    def test_black_frame_is_whole_and_noted(self, predictor):
        found = predictor.predict(np.zeros((200, 300, 3), np.uint8))
        assert found.field == (0, 0, 200, 300)
        assert found.note == NO_PICTURE

    def test_attention_lies_in_the_field(self, predictor):
        frame = in_canvas(picture(300, 300), 600, 600, 200, 100)
        found = predictor.with_options(attention=True).predict(frame)
        for _, map_ in found.attention():
            assert map_.shape == (600, 600)
            assert map_[:190].max() == 0


@pytest.mark.data
@pytest.mark.parametrize("scale", [0.35, 0.6])
def test_real_frames_are_found_in_a_canvas(real_data, scale):
    paths = sorted((real_data / "cvc-clinicdb" / "images").iterdir())[::40]
    for path in paths:
        image = read_image(path)
        alone, _ = field_of(image, "auto")
        height, width = round(image.shape[0] / scale), round(image.shape[1] / scale)
        frame = in_canvas(image, height, width, height // 5, width // 4)
        found, is_found = field_of(frame, "auto")
        assert is_found
        near(found, (alone.top + height // 5, alone.left + width // 4, alone.height, alone.width), pixels=16)
