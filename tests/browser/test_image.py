"""What the page shows of an image is what the model says. The model's probability is red, attention green and blue."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from browser.conftest import canvas_pixels, give, pick, shown, slide, until
from polypseg.overlay import TRUE_POSITIVE, heat_map
from polypseg.predict.predictor import load
from polypseg.predict.regions import find_regions
from serve.running import png, serving

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools

HEIGHT, WIDTH = 90, 128


@pytest.fixture(scope="module")
def image():
    """Three red blobs that fade towards their edge, green from left to right, blue from top to bottom."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    red = np.zeros((HEIGHT, WIDTH))
    for row, column, radius, peak in ((30, 35, 26, 255), (60, 95, 20, 200), (12, 112, 10, 120)):
        distance = np.hypot(rows - row, columns - column)
        red = np.maximum(red, peak * np.clip(1.4 - distance / radius, 0, 1))
    picture = np.stack([red, columns * 200 / WIDTH, rows * 120 / HEIGHT], -1)
    return np.clip(picture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def prediction(red_model, image):
    return load(red_model, "onnxruntime").with_options(attention=True).predict(image)


@pytest.fixture
def opened(page, image):
    give(page, png(image))
    shown(page)
    return page


def tinted(page):
    """Where the canvas is the mask's colour and nothing else."""
    pick(page, "drawn", "fill")
    slide(page, "#opacity", 1)
    return (canvas_pixels(page) == TRUE_POSITIVE).all(-1)


def eight_bits(probability):
    return np.rint(255 * probability).astype(np.uint8)


def figure(page, term):
    row = page.locator("#figures > div").filter(has=page.locator("dt", has_text=term))
    return row.locator("dd").inner_text().replace("\u00a0", " ")


def test_overlay_is_the_models_mask_pixel_by_pixel(opened, image, prediction):
    np.testing.assert_array_equal(canvas_pixels(opened, "#original"), image)
    # The page rounds halves up, NumPy to even: a level of difference.
    difference = np.abs(canvas_pixels(opened).astype(int) - prediction.overlay(opacity=0.4))
    assert difference.max() <= 1
    np.testing.assert_array_equal(tinted(opened), prediction.mask)
    assert prediction.mask.any()


def test_outline_alone_leaves_the_inside_as_it_is(opened, image, prediction):
    pick(opened, "drawn", "contour")
    found = canvas_pixels(opened)
    line = (found == 255).all(-1)
    assert line.any()
    assert not (line & ~prediction.mask).any()
    np.testing.assert_array_equal(found[~line], image[~line])


def test_figures_are_those_of_the_api(opened, image, prediction):
    regions = find_regions(prediction.mask, prediction.probability)
    area = int(prediction.mask.sum())
    assert opened.locator("#findings-title").inner_text() == f"{len(regions)} regions found"
    assert figure(opened, "Area").startswith(f"{area:,} px\n{100 * area / (HEIGHT * WIDTH):.1f} % of the image")
    assert figure(opened, "Mean probability").startswith(f"{prediction.probability[prediction.mask].mean():.2f}")
    assert figure(opened, "Highest probability").startswith(f"{prediction.probability.max():.2f}")
    _, _, width, height = regions[0].box
    assert figure(opened, "Largest extent").startswith(f"{width} × {height} px")


@pytest.mark.parametrize("threshold", [0.2, 0.3, 0.75])
def test_threshold_moves_mask_and_figures_without_the_server(opened, prediction, threshold):
    calls = []
    opened.on("request", lambda request: calls.append(request.url))
    slide(opened, "#threshold", threshold)
    expected = eight_bits(prediction.probability) / 255 >= threshold
    assert (expected != prediction.mask).any()
    np.testing.assert_array_equal(tinted(opened), expected)
    regions = find_regions(expected, prediction.probability)
    assert opened.locator("#findings-title").inner_text().startswith(f"{len(regions)} region")
    assert figure(opened, "Area").startswith(f"{int(expected.sum()):,} px")
    assert calls == []
    opened.locator("#own").click()
    np.testing.assert_array_equal(tinted(opened), prediction.mask)


def test_small_regions_are_left_out(opened, prediction):
    regions = find_regions(prediction.mask, prediction.probability)
    assert len(regions) == 2
    opened.locator(".controls summary").click()
    opened.locator("#smallest").fill(str(regions[1].area_px + 1))
    assert tinted(opened).sum() == regions[0].area_px
    assert opened.locator("#findings-title").inner_text() == "1 region found"


def test_a_region_of_the_table_is_shown_in_the_image(opened, prediction):
    opened.locator("#regions-all summary").click()
    assert opened.locator("#regions tbody tr").count() == 2
    opened.get_by_role("button", name="Show region 2 in the image").click()
    x, y, width, height = find_regions(prediction.mask, prediction.probability)[1].box
    frame, box = opened.locator("#shown").bounding_box(), opened.locator("#box").bounding_box()
    scale = frame["width"] / WIDTH
    found = [
        (box["x"] - frame["x"]) / scale,
        (box["y"] - frame["y"]) / scale,
        box["width"] / scale,
        box["height"] / scale,
    ]
    np.testing.assert_allclose(found, (x, y, width, height), atol=0.2)


def test_attention_of_each_level_is_shown(opened, image, prediction):
    pick(opened, "view", "attention")
    pictures = {}
    for level, values in prediction.attention():
        pick(opened, "level", level)
        pictures[level] = canvas_pixels(opened).astype(int)
        expected = heat_map(image, eight_bits(values) / np.float32(255), 0.6)
        assert np.abs(pictures[level] - expected).max() <= 2  # the grey and the blend are each rounded
        assert opened.locator("#caption").inner_text() == f"Attention, gate {level}"
    assert sorted(pictures) == [1, 2]
    assert np.abs(pictures[1] - pictures[2]).max() > 100


def test_attention_opens_on_the_gate_that_agrees_best_and_keeps_a_picked_one(opened, prediction):
    best = prediction.level_to_show()
    pick(opened, "view", "attention")
    until(opened, f"document.querySelector('#caption').textContent === 'Attention, gate {best}'")
    pick(opened, "level", 3 - best)
    pick(opened, "view", "mask")
    pick(opened, "view", "attention")
    until(opened, f"document.querySelector('#caption').textContent === 'Attention, gate {3 - best}'")


def test_probability_is_shown_as_a_heat_map_with_its_opacity(opened, image, prediction):
    pick(opened, "view", "probability")
    slide(opened, "#opacity", 1)
    expected = heat_map(image, eight_bits(prediction.probability) / np.float32(255), 1.0)
    np.testing.assert_array_equal(canvas_pixels(opened), expected)
    assert opened.locator("#legend").is_visible()


def test_slider_uncovers_the_original(opened):
    assert not opened.locator("#compare").is_visible()
    pick(opened, "layout", "slider")
    slide(opened, "#compare", 25)
    clip = opened.locator("#shown").evaluate("canvas => getComputedStyle(canvas).clipPath")
    assert clip == "inset(0px 0px 0px 25%)"
    both = [opened.locator(name).bounding_box() for name in ("#original", "#shown")]
    assert both[0] == both[1]
    # Their captions share a line: one begins at its left, the other ends at its right.
    left, right = (
        opened.locator(f".{figure} figcaption").evaluate(
            "part => { const words = document.createRange(); words.selectNodeContents(part); "
            "const { left, right } = words.getBoundingClientRect(); return [left, right]; }"
        )
        for figure in ("original", "shown")
    )
    assert left[1] < right[0]


def downloaded(page, selector):
    with page.expect_download() as waiting:
        page.locator(selector).click()
    return waiting.value.suggested_filename, waiting.value.path().read_bytes()


def test_downloads_are_what_is_shown_at_the_own_size(opened, prediction):
    name, content = downloaded(opened, "#save-mask")
    mask = Image.open(io.BytesIO(content))
    assert (name, mask.mode, mask.size) == ("frame_mask.png", "L", (WIDTH, HEIGHT))
    np.testing.assert_array_equal(np.asarray(mask), 255 * prediction.mask.astype(np.uint8))
    name, content = downloaded(opened, "#save-view")
    assert name == "frame_overlay.png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content)).convert("RGB")), canvas_pixels(opened))


def test_json_is_the_servers_answer_or_says_what_was_recomputed(opened, prediction):
    _, content = downloaded(opened, "#save-json")
    own = json.loads(content)
    np.testing.assert_array_equal(coco.decode(own["mask"]), prediction.mask)
    assert own["polyps"][0]["polygon"]
    assert "recomputed" not in own
    assert not {"probability", "overlay", "attention"} & set(own)
    slide(opened, "#threshold", 0.3)
    canvas_pixels(opened)
    moved = json.loads(downloaded(opened, "#save-json")[1])
    expected = eight_bits(prediction.probability) / 255 >= 0.3
    np.testing.assert_array_equal(coco.decode(moved["mask"]), expected)
    regions = find_regions(expected, prediction.probability)
    assert [polyp["box"] for polyp in moved["polyps"]] == [list(region.box) for region in regions]
    assert [polyp["area_px"] for polyp in moved["polyps"]] == [region.area_px for region in regions]
    means = [polyp["mean_probability"] for polyp in moved["polyps"]]
    np.testing.assert_allclose(means, [region.mean_probability for region in regions], atol=1 / 510)
    assert (moved["threshold"], moved["area_px"]) == (0.3, int(expected.sum()))
    assert "8 bit" in moved["recomputed"]


def test_nothing_found_is_told_as_no_finding(page):
    give(page, png(np.zeros((20, 30, 3), np.uint8)))
    shown(page)
    assert page.locator("#findings-title").inner_text() == "No polyp found"
    assert "does not mean that there is none" in page.locator("#verdict-detail").inner_text()
    assert page.locator("#strip .badge").inner_text() == "none found"


def test_a_region_without_a_sure_pixel_is_left_out_until_the_threshold_is_moved(open_page, tmp_path):
    # Red 153 is a probability of 0.6: above the threshold 0.5, below the 0.8 that one pixel must reach.
    from serve.models import write_red_model
    from serve.running import picture

    with serving(write_red_model(tmp_path / "seeded.onnx", peak_threshold=0.8)) as seeded:
        page = open_page(seeded.base_url)
        give(page, png(picture(16, 16, (2, 4, 8, 5), (153, 0, 0))))
        shown(page)
        assert page.locator("#findings-title").inner_text() == "No polyp found"
        assert "only if one of its pixels reaches 0.80" in page.locator("#verdict-detail").inner_text()
        slide(page, "#threshold", 0.55)
        assert tinted(page).sum() == 8 * 5
        assert page.locator("#verdict-detail").inner_text() == "At threshold 0.55."
        page.close()


@pytest.mark.parametrize("tta", ["doubt", "flips"])
def test_mirror_images_are_asked_for(opened, tta):
    opened.locator(".controls summary").click()
    with opened.expect_request(f"**/v1/segment?*tta={tta}*"):
        opened.locator("#tta").select_option(tta)
    shown(opened)


def test_a_picture_that_the_browser_cannot_show_comes_from_the_server(page, image, prediction):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "TIFF")
    give(page, buffer.getvalue(), "frame.tif", "image/tiff")
    shown(page)
    assert "cannot show the file itself" in page.locator("#format-note").inner_text()
    np.testing.assert_array_equal(tinted(page), prediction.mask)


def test_a_turned_photograph_is_upright_in_both(page, image):
    # Orientation 6: the camera was turned; shown upright, height and width are exchanged.
    picture = Image.fromarray(image)
    exif = picture.getexif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif)
    give(page, buffer.getvalue(), "photo.jpg", "image/jpeg")
    shown(page)
    assert canvas_pixels(page).shape == (WIDTH, HEIGHT, 3)
    assert not page.locator("#format-note").is_visible()


def test_transparency_lies_on_black(page, client):
    clear = np.zeros((32, 32, 4), np.uint8)
    clear[..., 0] = 255
    clear[:, :16, 3] = 255
    give(page, png(clear))
    shown(page)
    found = canvas_pixels(page, "#original")
    assert (found[:, :16] == (255, 0, 0)).all()
    assert (found[:, 16:] == 0).all()


def test_a_model_without_gates_has_no_attention_view(open_page, image, tmp_path):
    from serve.models import write_red_model

    with serving(write_red_model(tmp_path / "plain.onnx", attention=False)) as plain:
        page = open_page(plain.base_url)
        give(page, png(image))
        shown(page)
        assert not page.locator("#view-attention").is_visible()
        page.close()
