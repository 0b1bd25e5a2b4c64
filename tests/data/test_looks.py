"""Looks: what a frame's colours are is known by hand, and frames of one look get one kind."""

import numpy as np
import pytest

from polypseg.data.looks import kinds_of_looks, look, sorted_into_kinds
from polypseg.errors import ImageError

GREY = 128
LIGHTNESS = 116 * (((GREY / 255 + 0.055) / 1.055) ** 2.4) ** (1 / 3) - 16  # CIELAB of an sRGB grey


def flat(*colour, side=60):
    return np.full((side, side, 3), colour, np.uint8)


def test_look_of_a_flat_grey_is_its_lightness_and_no_detail():
    expected = [LIGHTNESS, 0, 0] * 3 + [np.log(0.1)]
    np.testing.assert_allclose(look(flat(GREY, GREY, GREY)), expected, atol=0.1)


def test_black_rim_does_not_count_and_place_does_not():
    image = flat(GREY, GREY, GREY, side=128)
    image[:, :48] = 0
    np.testing.assert_allclose(look(image), look(flat(GREY, GREY, GREY)), atol=0.1)
    halves = np.concatenate([flat(90, 60, 50), flat(200, 120, 90)], axis=1)
    np.testing.assert_allclose(look(halves), look(halves[:, ::-1]), atol=0.1)


def test_wholly_dark_image_has_a_look():
    assert np.isfinite(look(flat(0, 0, 0))).all()


def test_quantiles_and_detail_tell_what_differs():
    generator = np.random.default_rng(0)
    noisy = np.clip(flat(150, 90, 80, side=128) + generator.normal(0, 20, (128, 128, 1)), 0, 255).astype(np.uint8)
    calm, rough = look(flat(150, 90, 80)), look(noisy)
    assert rough[-1] > calm[-1] + 2  # sharp
    assert rough[0] < calm[0] - 3 < calm[6] < rough[6] - 3  # the lightness spreads to both sides
    assert look(flat(200, 150, 60))[5] > calm[5] + 10  # yellow: b rises


def test_kinds_are_the_three_groups_that_there_are_whatever_was_drawn_before():
    generator = np.random.default_rng(1)
    colours = [(190, 110, 90), (150, 120, 40), (120, 110, 130)]
    which = generator.integers(0, 3, 45)
    looks = [look(flat(*(np.array(colours[kind]) + generator.integers(-4, 5, 3)))) for kind in which]
    kinds = sorted_into_kinds(looks, 3)
    assert len({(int(group), kind) for group, kind in zip(which, kinds, strict=True)}) == 3
    assert sorted_into_kinds(looks, 3) == kinds


def test_fewer_looks_than_kinds_are_a_kind_each():
    assert sorted_into_kinds([look(flat(100, 90, 80))] * 2, 5) == [0, 1]


def test_file_that_is_no_picture_is_named(tmp_path):
    path = tmp_path / "frame.png"
    path.write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"frame\.png"):
        kinds_of_looks([path], 2)
