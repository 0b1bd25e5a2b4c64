"""Many images at once, and faults that the page once had."""

import csv
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from browser.conftest import canvas_pixels, give, pick, shown, slide, until
from browser.editing import downloaded, mask_of
from browser.test_video import walk_to
from polypseg.predict.predictor import load
from predict.video_making import spots, write_video
from serve.running import picture, png

AGAIN = ", look again"
RED = picture(40, 60, (20, 10, 20, 20))


def levels(*reds):
    """Rectangles of 10 by 10 pixels, side by side, of these reds."""
    image = np.zeros((30, 20 * len(reds) + 10, 3), np.uint8)
    for index, red in enumerate(reds):
        image[10:20, 20 * index + 10 : 20 * index + 20, 0] = red
    return image


def give_several(page, **images):
    files = [{"name": f"{name}.png", "mimeType": "image/png", "buffer": png(image)} for name, image in images.items()]
    page.set_input_files("#file", files)
    page.locator("#strip li[data-state=done]").nth(len(images) - 1).wait_for()
    shown(page)


def badges(page):
    return [words.removesuffix(AGAIN) for words in page.locator("#strip .badge").all_inner_texts()]


def until_badges(page, words):
    texts = "[...document.querySelectorAll('#strip .badge')].map((badge) => badge.textContent).join()"
    until(page, f"{texts}.replace('{AGAIN}', '') === '{words}'")


def test_a_threshold_holds_for_all_images_and_those_to_come(page):
    # By hand: levels 240, 180 and 100 of 255 are 0.94, 0.71 and 0.39; the model's own threshold is 0.5.
    give_several(page, one=levels(240, 180, 100), two=levels(180, 100))
    assert badges(page) == ["2 found", "1 found"]
    slide(page, "#threshold", 0.3)
    until_badges(page, "3 found,2 found")
    page.get_by_role("button", name="two.png, 2 found", exact=False).click()
    page.locator("#threshold-value", has_text="0.30").wait_for()
    page.locator("#findings-title", has_text="2 regions found").wait_for()
    give(page, png(levels(100)), "three.png")
    page.locator("#result-title", has_text="three.png").wait_for()
    page.locator("#findings-title", has_text="1 region found").wait_for()
    page.locator("#for-all").uncheck()
    slide(page, "#threshold", 0.9)
    page.locator("#findings-title", has_text="No polyp found").wait_for()
    page.get_by_role("button", name="one.png, 3 found").click()
    page.locator("#findings-title", has_text="3 regions found").wait_for()
    page.locator("#for-all").check()
    page.locator("#own").click()
    until_badges(page, "2 found,1 found,none found")


def test_all_masks_come_as_one_file_with_a_table(page, red_model):
    images = {"a_1": levels(240, 180), "b_1": levels(100), "a_2": levels(180)}
    expected = {name: load(red_model, "onnxruntime").predict(image).mask for name, image in images.items()}
    areas = {name: int(mask.sum()) for name, mask in expected.items()}
    assert areas["a_1"] > areas["a_2"] > areas["b_1"] == 0
    give_several(page, **images)
    page.locator("#group-by").select_option("patient")
    assert page.locator(".group-name").all_inner_texts() == ["a", "b"]
    assert page.locator("#strip .name").all_inner_texts() == ["a_1.png", "a_2.png", "b_1.png"]
    name, content = downloaded(page, "#zip-all")
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        assert (name, opened.namelist()) == (
            "masks.zip",
            ["masks/a_1.png", "masks/a_2.png", "masks/b_1.png", "masks.csv"],
        )
        masks = {name: mask_of(opened.read(f"masks/{name}.png")) for name in ("a_1", "a_2", "b_1")}
        rows = list(csv.DictReader(io.TextIOWrapper(opened.open("masks.csv"), "utf-8", newline="")))
    for name, mask in masks.items():
        np.testing.assert_array_equal(mask, expected[name])
    told = [(row["file"], row["group"], row["state"], row["regions"], row["area_px"], row["threshold"]) for row in rows]
    assert told == [
        ("a_1.png", "a", "predicted", "2", str(areas["a_1"]), "0.5"),
        ("a_2.png", "a", "predicted", "1", str(areas["a_2"]), "0.5"),
        ("b_1.png", "b", "predicted", "0", "0", "0.5"),
    ]
    assert rows[0]["area_percent"] == f"{100 * areas['a_1'] / (30 * 50):.4f}"
    page.get_by_label("Select a_2.png").check()
    assert page.locator("#many-words").inner_text() == "1 of 3 files selected"
    with zipfile.ZipFile(io.BytesIO(downloaded(page, "#zip-all")[1])) as opened:
        assert opened.namelist() == ["masks/a_2.png", "masks.csv"]
    page.locator("#remove-all").click()
    assert page.locator("#strip .name").all_inner_texts() == ["a_1.png", "b_1.png"]


def test_a_folder_is_taken_with_its_groups(page, tmp_path):
    for name in ("case 1/x.png", "case 1/notes.txt", "case 2/x.png"):
        path = tmp_path / "colon" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(RED) if path.suffix == ".png" else b"words")
    page.set_input_files("#folder", str(tmp_path / "colon"))
    page.locator("#strip li[data-state=done]").nth(1).wait_for()
    assert page.locator(".group-name").all_inner_texts() == ["colon/case 1", "colon/case 2"]
    assert page.locator("#strip .name").count() == 2  # the text file is left out
    with zipfile.ZipFile(io.BytesIO(downloaded(page, "#zip-all")[1])) as opened:  # two of one name are kept apart
        assert opened.namelist() == ["masks/x.png", "masks/x_2.png", "masks.csv"]


def test_arrow_keys_move_along_the_strip(page):
    give_several(page, one=levels(240), two=levels(240), three=levels(240))
    walk_to(page, "thumb")
    for key, name in (
        ("ArrowRight", "two"),
        ("End", "three"),
        ("ArrowRight", "three"),
        ("ArrowLeft", "two"),
        ("Home", "one"),
    ):
        page.keyboard.press(key)
        page.locator("#result-title", has_text=f"{name}.png").wait_for()
        label = page.evaluate("document.activeElement.getAttribute('aria-label')")
        assert label.removesuffix(AGAIN) == f"{name}.png, 1 found"
    assert page.locator("#strip [tabindex='0']").count() == 3  # one file's: shown, selected, removed


WIDE_FIGURES = """async () => {
  const { RegionTable } = await import("/page/regions.js");
  const polyp = { area_px: 2248500, area_percent: 74.95, box: [0, 0, 1499, 1500] };
  Object.assign(polyp, { mean_probability: 0.98, max_probability: 1 });
  new RegionTable().show([polyp], { width: 2000, height: 1500 });
  const part = document.querySelector("#regions-all .scroll");
  return part.scrollWidth <= part.clientWidth;
}"""


@pytest.mark.parametrize("width", [1280, 1024, 390])
def test_each_region_is_seen_whole(open_page, width):
    page = open_page(viewport={"width": width, "height": 800})
    give(page, png(RED))
    shown(page)
    page.locator("#regions-all summary").click()
    assert page.evaluate(WIDE_FIGURES)
    assert "2,248,500" in page.locator("#regions").inner_text()


def test_where_nothing_is_found_no_edge_is_called_sure(page):
    give(page, png(np.full((20, 30, 3), (0, 60, 0), np.uint8)))
    shown(page)
    assert "surer" not in page.locator("#doubt").inner_text()
    give(page, png(RED))
    page.locator("#findings-title", has_text="1 region").wait_for()
    assert "surer" in page.locator("#doubt").inner_text()


def test_a_file_without_a_picture_shows_a_sign_instead(page):
    give(page, b"no picture", "broken.png")
    shown(page, "#fault")
    give(page, b"words", "words.txt", "text/plain")
    page.locator("#strip li[data-state=failed]").nth(1).wait_for()
    until(
        page,
        "[...document.querySelectorAll('#strip .still')].every((sign) => !sign.hidden && sign.textContent === '?')",
    )
    assert page.locator("#strip img:visible").count() == 0


def test_each_page_of_a_tiff_is_an_image(page):
    pages = [Image.fromarray(levels(240)), Image.fromarray(levels(240, 180)), Image.fromarray(levels(100))]
    buffer = io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    give(page, buffer.getvalue(), "stack.tif", "image/tiff")
    page.locator("#strip li[data-state=done]").nth(2).wait_for()
    assert page.locator("#strip .name").all_inner_texts() == [f"stack.tif, page {number}" for number in (1, 2, 3)]
    assert badges(page) == ["1 found", "2 found", "none found"]
    page.get_by_role("button", name="stack.tif, page 2, 2 found").click()
    page.locator("#result-title", has_text="page 2").wait_for()
    np.testing.assert_array_equal(canvas_pixels(page, "#original"), levels(240, 180))  # and no mask is drawn on it


def test_a_blank_attention_map_is_not_the_one_that_is_opened(page):
    """Gate 1 is green, a slope; gate 2 blue, the same everywhere."""
    columns = np.arange(64)
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 1], image[..., 2] = 3 * columns, 120
    give(page, png(image))  # nothing is found: the server names the middle gate, which is blank
    shown(page)
    pick(page, "view", "attention")
    found = {}
    for level in (1, 2):
        until(page, "document.querySelector('#caption').textContent.startsWith('Attention')")
        found[level] = page.locator(f"input[name=level][value='{level}']").is_checked()
    assert found == {1: True, 2: False}
    assert "nearly the same" not in page.locator("#legend-text").inner_text()
    pick(page, "level", 2)
    page.locator("#legend-text", has_text="nearly the same everywhere").wait_for()


def test_frames_of_a_video_become_images(page, tmp_path):
    pytest.importorskip("av")
    places = [(8, 8) if 20 <= index < 35 else None for index in range(50)]
    light = np.zeros((96, 128, 3), np.uint8)
    light[:, :, 1] = np.linspace(40, 120, 128)  # frames that are black or of one colour are refused
    lit = [np.maximum(image, light) for image in spots(places, (96, 128), side=16)]
    film = write_video(tmp_path / "film.mp4", lit).read_bytes()
    give(page, film, "film.mp4", "video/mp4")
    page.locator("#film").wait_for(state="visible", timeout=60_000)
    assert page.locator("#frames-words").inner_text() == "2 frames"  # 0 and 25
    page.locator("#frames-take").click()
    page.locator("#strip li[data-state=done]").nth(2).wait_for(timeout=60_000)
    assert page.locator("#strip .name").all_inner_texts()[:2] == ["film_frame_000000.png", "film_frame_000025.png"]
    assert page.locator(".group-name").all_inner_texts() == ["film", "No folder"]
    assert sorted(badges(page)) == ["1 found", "1 found", "none found"]
    page.locator("#result-title", has_text="film_frame").wait_for()
    assert canvas_pixels(page, "#original").shape == (96, 128, 3)


DOUBTFUL = """async (given) => {
  const part = await import("/page/video_frames.js");
  return [part.mostDoubtful(given.frames, 3, given.level), part.everyNth(given.frames, 4)];
}"""


def test_the_most_doubtful_frames_are_apart(page):
    highest = [0.01, 0.3, 0.02, 0.9, 0.5, 0.45, 0.99, 0.98, None, 0.2, 0.6, 0.97]
    frames = [
        {"frame": index, "seconds": index / 10, "max_probability": value, "area_percent": None if value is None else 1}
        for index, value in enumerate(highest)
    ]
    # Ten frames a second. 4 (0.5) is nearest to 0.5, then 5, too soon after it, then 10 (0.6); all others are too near.
    assert page.evaluate(DOUBTFUL, {"frames": frames, "level": 0.5}) == [[4, 10], [0, 4]]
    # 7 is 0.98 itself; the next by their logits, 11, 6, 3, 10, 4 and 5, are too near; 1 is 0.6 s from it.
    assert page.evaluate(DOUBTFUL, {"frames": frames, "level": 0.98})[0] == [1, 7]
