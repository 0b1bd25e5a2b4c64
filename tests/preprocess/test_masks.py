"""What means polyp in a mask file: two levels are read, anything else is refused with what was found."""

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.errors import ImageError, UsageError
from polypseg.preprocess import MaskRule, mask_rule, read_mask, read_mask_file
from preprocess.odd_files import polyp

TWO = np.zeros((60, 80), np.uint8)  # two lesions, 1 of 10x20 and 2 of 20x20 pixels: 200 and 400 of 4800
TWO[5:15, 5:25], TWO[30:50, 40:60] = 1, 2
RED, GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 0)


def _file(folder: Path, picture: np.ndarray | PillowImage.Image, ending: str = "png", **options: object) -> Path:
    path = folder / f"m.{ending}"
    (PillowImage.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(path, **options)
    return path


def _labels(first: int, second: int) -> np.ndarray:
    return np.array([0, first, second], np.uint8)[TWO]


def _colours(first: tuple, second: tuple, ground: tuple = BLACK) -> np.ndarray:
    return np.array([ground, first, second], np.uint8)[TWO]


@pytest.mark.parametrize("value", [1, 2, 7, 38, 127, 128, 200, 255])
@pytest.mark.parametrize("ending", ["png", "tif", "bmp", "gif"])
def test_zero_and_any_other_value_is_a_mask(tmp_path, value, ending):
    mask = polyp(np.random.default_rng(0))
    path = _file(tmp_path, mask.astype(np.uint8) * np.uint8(value), ending)
    np.testing.assert_array_equal(read_mask(path), mask)


@pytest.mark.parametrize("value", [1, 255, 257, 4095, 65535])
def test_zero_and_any_other_value_in_sixteen_bits(tmp_path, value):
    mask = polyp(np.random.default_rng(0))
    np.testing.assert_array_equal(read_mask(_file(tmp_path, mask.astype(np.uint16) * np.uint16(value))), mask)


def test_black_and_white_are_masks_and_any_other_single_value_is_not(tmp_path):
    assert not read_mask(_file(tmp_path, np.zeros((40, 50), np.uint8))).any()
    assert read_mask(_file(tmp_path, np.full((40, 50), 255, np.uint8))).all()
    with pytest.raises(ImageError, match=r"m\.png: holds only the value 7, and nothing says what it means"):
        read_mask(_file(tmp_path, np.full((40, 50), 7, np.uint8)))


@pytest.mark.parametrize("labels", [(1, 2), (1, 255), (20, 240), (100, 255), (128, 255), (40, 80), (254, 255)])
def test_a_third_value_is_refused_with_what_was_found(tmp_path, labels):
    # 200 and 400 of 4800 pixels are 4.2 and 8.3 %, the background is the rest.
    path = _file(tmp_path, _labels(*labels))
    told = rf"holds 3 values, 0 \(87.5 %\), {labels[1]} \(8.3 %\), {labels[0]} \(4.2 %\).*--polyp-values"
    with pytest.raises(ImageError, match=told):
        read_mask(path)


@pytest.mark.parametrize("labels", [(1, 255), (20, 240), (100, 255)])
@pytest.mark.parametrize("how", ["jpeg", "resized"])
def test_a_third_level_is_found_under_noise_and_smooth_edges(tmp_path, labels, how):
    large = np.kron(_labels(*labels), np.ones((4, 4), np.uint8))
    if how == "resized":
        large = cv2.resize(large, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_LINEAR)
    path = _file(tmp_path, large, "jpg" if how == "jpeg" else "png", **({"quality": 90} if how == "jpeg" else {}))
    with pytest.raises(ImageError, match=r"m\.(jpg|png): has"):
        read_mask(path)


def test_void_ring_is_not_the_polyp(tmp_path):
    mask = polyp(np.random.default_rng(1)).astype(np.uint8)
    outlines = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    path = _file(tmp_path, cv2.drawContours(mask.copy(), outlines, -1, 255, 2))
    with pytest.raises(ImageError, match=r"holds 3 values.*--polyp-values"):
        read_mask(path)
    ring = cv2.drawContours(np.zeros_like(mask), outlines, -1, 1, 2) > 0
    np.testing.assert_array_equal(read_mask(path, MaskRule(values=(1,))), (mask > 0) & ~ring)
    np.testing.assert_array_equal(read_mask(path, MaskRule(values=(1, 255))), (mask > 0) | ring)


@pytest.mark.parametrize("quality", [20, 50, 75, 90, 100])
@pytest.mark.parametrize("kind", ["L", "RGB", "png"])
def test_noise_of_jpeg_is_no_third_level(tmp_path, quality, kind):
    for seed in range(6):
        mask = polyp(np.random.default_rng(seed))
        grey = PillowImage.fromarray(mask.astype(np.uint8) * 255)
        path = _file(tmp_path, grey.convert("RGB" if kind == "RGB" else "L"), "jpg", quality=quality)
        if kind == "png":
            path = _file(tmp_path, PillowImage.open(path))
        found = read_mask(path)
        assert np.mean(found != mask) < 0.005  # some pixels of the edge
        assert read_mask_file(path).polyp == "255"


@pytest.mark.parametrize("how", [cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_LANCZOS4])
@pytest.mark.parametrize("factor", [0.5, 1.7])
def test_smooth_edges_are_no_third_level(tmp_path, how, factor):
    mask = polyp(np.random.default_rng(0), 240, 320)
    grey = cv2.resize(mask.astype(np.uint8) * 255, None, fx=factor, fy=factor, interpolation=how)
    np.testing.assert_array_equal(read_mask(_file(tmp_path, grey)), grey > 127)


def test_a_probability_map_is_no_mask(tmp_path):
    grey = cv2.GaussianBlur(polyp(np.random.default_rng(0)).astype(np.uint8) * 255, (0, 0), 8)
    with pytest.raises(ImageError, match=r"grey levels, .* % of its pixels between .*threshold it first"):
        read_mask(_file(tmp_path, grey))


def test_one_colour_on_black_is_a_mask(tmp_path):
    expected = TWO > 0
    for colour in (RED, (128, 0, 0), (255, 255, 0)):
        found = read_mask_file(_file(tmp_path, _colours(colour, colour)))
        np.testing.assert_array_equal(found.mask, expected)
        assert found.polyp == "#{:02x}{:02x}{:02x}".format(*colour)
    large = np.kron(_colours(RED, RED), np.ones((3, 3, 1), np.uint8))
    found = read_mask_file(_file(tmp_path, large, "jpg", quality=90))
    assert np.mean(found.mask != np.kron(expected, np.ones((3, 3), bool))) < 0.01
    assert found.polyp == "red"


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_two_colours_are_refused_by_name_and_read_on_request(tmp_path, ending):
    large = np.kron(_colours(RED, GREEN), np.ones((3, 3, 1), np.uint8))
    path = _file(tmp_path, large, ending)
    told = "red .4.*green|green .8.*red" if ending == "jpg" else "#00ff00.*#ff0000"
    with pytest.raises(ImageError, match=rf"a mask in .*({told}).*--polyp-colours"):
        read_mask(path)
    expected = np.kron(TWO, np.ones((3, 3), np.uint8))
    both = read_mask(path, MaskRule(colours=("#ff0000", "green" if ending == "" else "#00ff00")))
    red = read_mask(path, MaskRule(colours=("red",)))
    assert np.mean(both != (expected > 0)) < 0.01
    assert np.mean(red != (expected == 1)) < 0.01


def test_a_palette_of_several_entries(tmp_path):
    picture = PillowImage.fromarray(TWO, "L").convert("P")
    picture.putdata(TWO.ravel().tolist())
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    path = _file(tmp_path, picture)
    with pytest.raises(ImageError, match=r"a mask in 3 colours, #000000 \(87.5 %\), #008000.*#800000"):
        read_mask(path)
    np.testing.assert_array_equal(read_mask(path, MaskRule(values=(2,))), TWO == 2)  # places in the palette
    np.testing.assert_array_equal(read_mask(path, MaskRule(colours=("#800000",))), TWO == 1)


def test_colours_without_black_are_refused(tmp_path):
    with pytest.raises(ImageError, match=r"#00007f .*no black for background"):
        read_mask(_file(tmp_path, _colours((128, 0, 0), (128, 0, 0), ground=(0, 0, 127))))


@pytest.mark.parametrize("ground", [0, 255])
def test_a_mask_in_the_alpha_channel(tmp_path, ground):
    layered = np.full((60, 80, 4), ground, np.uint8)
    layered[..., 3] = (TWO > 0) * 255
    path = _file(tmp_path, layered)
    with pytest.raises(ImageError, match=r"the mask is in the alpha channel.*--mask-channel alpha"):
        read_mask(path)
    np.testing.assert_array_equal(read_mask(path, MaskRule(channel="alpha")), TWO > 0)


def test_alpha_of_zero_everywhere_is_refused(tmp_path):
    layered = np.zeros((60, 80, 4), np.uint8)
    layered[TWO > 0, :3] = 255
    path = _file(tmp_path, layered)
    with pytest.raises(ImageError, match="alpha is 0 everywhere"):
        read_mask(path)
    np.testing.assert_array_equal(read_mask(path, MaskRule(channel="red")), TWO > 0)


def test_alpha_that_says_what_the_colours_say(tmp_path):
    layered = np.zeros((60, 80, 4), np.uint8)
    layered[TWO > 0] = (255, 255, 255, 200)
    np.testing.assert_array_equal(read_mask(_file(tmp_path, layered)), TWO > 0)


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("at_the_border", [False, True])
def test_an_outline_without_its_filling(tmp_path, width, at_the_border):
    mask = np.zeros((240, 320), np.uint8)
    cv2.ellipse(mask, (0 if at_the_border else 160, 120), (60, 50), 0, 0, 360, 255, width)
    path = _file(tmp_path, mask)
    with pytest.raises(ImageError, match=r"an outline without its filling.*--polyp-values 255"):
        read_mask(path)
    np.testing.assert_array_equal(read_mask(path, MaskRule(values=(255,))), mask > 0)


def test_a_polyp_with_a_hole_or_across_the_image_is_no_outline(tmp_path):
    mask = np.zeros((240, 320), np.uint8)
    mask[90:150] = 255  # from side to side
    assert read_mask(_file(tmp_path, mask)).sum() == 60 * 320
    mask[110:130, 100:200] = 0
    assert read_mask(_file(tmp_path, mask)).sum() == 60 * 320 - 20 * 100


def test_values_in_a_lossy_file_are_the_nearest(tmp_path):
    large = np.kron(_labels(20, 240), np.ones((4, 4), np.uint8))
    path = _file(tmp_path, large, "jpg", quality=90)
    expected = np.kron(TWO, np.ones((4, 4), np.uint8))
    assert np.mean(read_mask(path, MaskRule(values=(20, 240))) != (expected > 0)) < 0.02
    assert np.mean(read_mask(path, MaskRule(values=(240,))) != (expected == 2)) < 0.02


def test_zero_may_be_the_polyp(tmp_path):
    path = _file(tmp_path, np.where(TWO > 0, 0, 255).astype(np.uint8))
    np.testing.assert_array_equal(read_mask(path, MaskRule(values=(0,))), TWO > 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"values": "1,a"}, "--polyp-values '1,a': expected whole numbers"),
        ({"values": "70000"}, "0 to 65535"),
        ({"values": "1", "colours": "red"}, "exclude one another"),
        ({"colours": "reddish"}, "--polyp-colours 'reddish': expected #rrggbb or a name"),
        ({"colours": "red", "channel": "alpha"}, "exclude one another"),
        ({"channel": "depth"}, "unknown mask channel 'depth'"),
    ],
)
def test_mask_rule_refuses_what_contradicts_itself(given, message):
    with pytest.raises(UsageError, match=message):
        mask_rule(**given)


@pytest.mark.parametrize("rule", [MaskRule(), MaskRule((1, 2)), MaskRule(colours=("#ff0000", "green")),
                                  MaskRule((3,), channel="alpha"),
                                  MaskRule(labels=("flat polyp", "größer=2"))])  # fmt: skip
def test_mask_rule_comes_back_from_its_text(rule):
    assert MaskRule.parse(rule.text()) == rule
    assert bool(rule) == bool(rule.text())


@pytest.mark.data
@pytest.mark.parametrize("data_set", ["kvasir-seg", "cvc-clinicdb", "polypgen-c1-c3", "bkai-neopolyp"])
def test_real_masks_read_as_they_always_did(real_data, data_set):
    folder = real_data / data_set / "masks"
    if not folder.is_dir():
        pytest.skip(f"no {data_set} in {real_data}")
    paths = sorted(folder.iterdir())
    odd = [folder / f"{number}.png" for number in (1, 2, 117, 301, 389, 470, 489)] if "cvc" in data_set else []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in [*paths[::25], *odd]:  # the odd ones have further levels: 11 of 255 over areas, up to 28 as specks
            with PillowImage.open(path) as opened:
                before = np.asarray(opened.convert("L")) > 127
            np.testing.assert_array_equal(read_mask(path), before, err_msg=str(path))


@pytest.mark.parametrize("second", [(100, 0, 0), (128, 0, 0), (255, 100, 0), (60, 60, 60)])
@pytest.mark.parametrize("how", ["jpg", "webp", "resized"])
def test_a_second_shade_of_a_colour_is_found_under_noise_and_smooth_edges(tmp_path, second, how):
    large = np.kron(_colours(RED, second), np.ones((3, 3, 1), np.uint8))  # areas of 30x60 and 60x60 pixels
    if how == "resized":
        path = _file(tmp_path, cv2.resize(large, None, fx=1.7, fy=1.7))
    else:
        path = _file(tmp_path, large, how, quality=85)
    with pytest.raises(ImageError, match=r"a mask in red and a further shade, about #.*--polyp-colours"):
        read_mask(path)


@pytest.mark.parametrize("quality", [30, 50, 75, 95])
@pytest.mark.parametrize("colour", [RED, GREEN, (255, 128, 0), (128, 0, 0)])
def test_noise_of_jpeg_is_no_further_shade(tmp_path, quality, colour):
    rng = np.random.default_rng(quality)
    for _ in range(5):
        mask = polyp(rng)
        drawn = np.zeros((*mask.shape, 3), np.uint8)
        drawn[mask] = colour
        found = read_mask(_file(tmp_path, drawn, "jpg", quality=quality))
        assert np.mean(found != mask) < 0.01


@pytest.mark.parametrize(
    ("palette", "told"),
    [
        ([0] * 9, r"0 as #000000, 1 as #000000, 2 as #000000"),  # a label map whose palette was lost
        ([0, 0, 0, 0, 0, 0, 255, 0, 0], r"0 as #000000, 1 as #000000, 2 as #ff0000"),  # a class hidden in black
        ([0, 0, 0, 255, 255, 255, 255, 255, 255], r"0 as #000000, 1 as #ffffff, 2 as #ffffff"),
    ],
)
def test_numbers_of_a_palette_that_are_drawn_alike_are_refused(tmp_path, palette, told):
    picture = PillowImage.fromarray(TWO).convert("P")
    picture.putdata(TWO.ravel().tolist())
    picture.putpalette(palette)
    path = _file(tmp_path, picture)
    with pytest.raises(ImageError, match=rf"draws different numbers alike \({told}\); say .* --polyp-values"):
        read_mask(path)
    np.testing.assert_array_equal(read_mask(path, mask_rule(values="1")), TWO == 1)


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("kind", ["open", "dashed", "points"])
def test_an_outline_that_is_not_closed(tmp_path, kind, width):
    drawn = np.zeros((240, 320), np.uint8)
    steps = {"open": [(0, 320)], "dashed": [(at, at + 12) for at in range(0, 360, 20)], "points": []}[kind]
    for begin, end in steps:
        cv2.ellipse(drawn, (150, 120), (70, 60), 0, begin, end, 255, width)
    for angle in np.linspace(0, 2 * np.pi, 40) if kind == "points" else []:
        cv2.circle(drawn, (round(150 + 70 * np.cos(angle)), round(120 + 60 * np.sin(angle))), width, 255, -1)
    with pytest.raises(ImageError, match=r"an outline without its filling"):
        read_mask(_file(tmp_path, drawn))


def test_small_polyps_side_by_side_are_no_outline(tmp_path):
    drawn = np.zeros((240, 320), np.uint8)
    for place in ((60, 60), (75, 70), (92, 66), (200, 180), (215, 171)):
        cv2.circle(drawn, place, 6, 255, -1)
    np.testing.assert_array_equal(read_mask(_file(tmp_path, drawn)), drawn > 0)
