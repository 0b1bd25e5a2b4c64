"""A mask edited in the browser comes out pixel for pixel as it was drawn; by mouse, pen, fingers and keys."""

import csv
import io
import zipfile

import numpy as np
import pytest
from scipy import ndimage

from browser.conftest import canvas_pixels, give, shown, slide
from browser.editing import Fingers, Place, click, downloaded, leave, mask_of, near_line, stroke, tool
from browser.test_access import walk_to
from polypseg.predict.predictor import load
from serve.running import png

HEIGHT, WIDTH = 90, 128
SHAPE = HEIGHT, WIDTH
FAULTS = """async () => (await axe.run()).violations
  .map(({ id, nodes }) => [id, ...nodes.map(({ html }) => html.slice(0, 160))])"""


@pytest.fixture(scope="module")
def image():
    """A bright red blob, found; a dim one, missed; both fade at their edges."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    red = np.zeros(SHAPE)
    for row, column, radius, peak in ((30, 35, 26, 255), (60, 95, 20, 100)):
        red = np.maximum(red, peak * np.clip(1.4 - np.hypot(rows - row, columns - column) / radius, 0, 1))
    picture = np.stack([red, columns * 200 / WIDTH, rows * 120 / HEIGHT], -1)
    return np.clip(picture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def predicted(red_model, image):
    mask = load(red_model, "onnxruntime").predict(image).mask
    assert 500 < mask.sum() < 4000
    return mask


@pytest.fixture
def opened(page, image):
    return opened_on(page, image)


def opened_on(page, image):
    give(page, png(image))
    shown(page)
    page.locator("#edit").click()
    shown(page, "#editor")
    return page


def result(page):
    """The mask that is downloaded when the editor is left."""
    leave(page)
    return mask_of(downloaded(page, "#save-mask")[1])


def test_a_mask_that_nobody_changed_stays_the_models(opened, predicted):
    np.testing.assert_array_equal(result(opened), predicted)
    assert opened.locator("#drop-correction").is_hidden()
    assert opened.locator("#strip .badge").inner_text() == "1 found"


@pytest.mark.parametrize(("name", "size"), [("brush", 1), ("brush", 9), ("eraser", 13)])
def test_a_stroke_comes_out_pixel_for_pixel(opened, predicted, name, size):
    tool(opened, name, size)
    place = Place(opened, WIDTH, HEIGHT)
    corners = [(20, 20), (70, 31), (64, 80)]
    stroke(opened, place, *corners)
    drawn = near_line(SHAPE, *corners[:2], size / 2) | near_line(SHAPE, *corners[1:], size / 2)
    expected = predicted | drawn if name == "brush" else predicted & ~drawn
    assert (expected != predicted).any()
    np.testing.assert_array_equal(result(opened), expected)
    assert opened.locator("#verdict-detail").inner_text() == "Corrected by hand."
    assert opened.locator("#strip .badge").inner_text() == "corrected"
    slide(opened, "#opacity", 1)
    opened.locator("input[name=drawn][value=fill]").click()
    np.testing.assert_array_equal((canvas_pixels(opened) == (86, 180, 233)).all(-1), expected)
    opened.locator("#drop-correction").click()
    np.testing.assert_array_equal(mask_of(downloaded(opened, "#save-mask")[1]), predicted)


def test_zoomed_in_a_stroke_meets_the_same_pixels(opened, predicted):
    tool(opened, "brush", 3)
    place = Place(opened, WIDTH, HEIGHT)
    anchor = place.of((90, 20))
    opened.mouse.move(*anchor)
    opened.mouse.wheel(0, -800)  # the pixel under the pointer stays there
    opened.wait_for_timeout(100)
    zoom = int(opened.locator("#editor-zoom").inner_text().removesuffix(" %")) / 100
    assert zoom > 2 * place.scale
    scale = place.scale * 1.0015**800
    assert abs(zoom - scale) < 0.02
    opened.mouse.down()
    opened.mouse.move(anchor[0] + 6 * scale, anchor[1] + 4 * scale)
    opened.mouse.up()
    np.testing.assert_array_equal(result(opened), predicted | near_line(SHAPE, (90, 20), (96, 24), 1.5))


def test_the_screen_shows_the_mask_that_is_drawn(opened):
    """A pixel of the image is several of the screen: inside it is tinted, its edge is white."""
    tool(opened, "brush", 15)
    place = Place(opened, WIDTH, HEIGHT)
    click(opened, place, (100, 20))
    opened.mouse.move(5, 5)
    opened.wait_for_timeout(100)
    box = opened.locator("#editor-canvas").bounding_box()
    seen = []
    for pixel in ((100, 20), (107, 20), (109, 20)):
        x, y = place.of(pixel)
        seen.append(screen_colour(opened, x - box["x"], y - box["y"]))
    # By hand: green and blue of (100, 20) are 156 and 27; 0.6 (0, 156, 27) + 0.4 (86, 180, 233) = (34, 166, 109).
    np.testing.assert_allclose(seen[0], (34, 166, 109), atol=4)
    assert min(seen[1]) > 210
    np.testing.assert_allclose(seen[2], (0, 109 * 200 // WIDTH, 27), atol=4)


def screen_colour(page, x, y):
    return page.evaluate(
        """async ([x, y]) => {
          await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
          const canvas = document.querySelector("#editor-canvas"), ratio = window.devicePixelRatio;
          return [...canvas.getContext("2d").getImageData(ratio * x, ratio * y, 1, 1).data.slice(0, 3)];
        }""",
        [x, y],
    )


def test_a_polygon_is_added_and_another_cut_away(opened, predicted):
    tool(opened, "polygon")
    place = Place(opened, WIDTH, HEIGHT)
    click(opened, place, (80, 10), (110, 10), (110, 40), (80, 40), (80, 10))
    assert opened.locator("#editor-draft").is_hidden()
    click(opened, place, (90, 20), (100, 20), (100, 30), (90, 30))
    assert opened.locator("#draft-words").inner_text() == "4 corners"
    opened.locator("#draft-cut").click()
    expected = predicted.copy()
    expected[10:41, 80:111] = True
    expected[20:31, 90:101] = False
    np.testing.assert_array_equal(result(opened), expected)


def test_nothing_lies_over_the_image_while_a_polygon_is_drawn(opened, predicted):
    """At the top middle, where its buttons once lay and took the clicks: a box of 41 columns and 21 rows."""
    tool(opened, "polygon")
    place = Place(opened, WIDTH, HEIGHT)
    click(opened, place, (44, 0), (84, 0), (84, 20), (44, 20))
    assert opened.locator("#draft-words").inner_text() == "4 corners"
    opened.keyboard.press("Enter")
    expected = predicted.copy()
    expected[:21, 44:85] = True
    np.testing.assert_array_equal(result(opened), expected)


@pytest.mark.parametrize(
    ("name", "words"), [("polygon", "Close the polygon first"), ("propose", "Click the other end")]
)
def test_what_is_begun_is_not_lost_by_going_on(opened, name, words):
    tool(opened, name)
    place = Place(opened, WIDTH, HEIGHT)
    click(opened, place, (100, 10))
    for key in ("a", "n", "x", "PageDown"):
        opened.keyboard.press(key)
        assert opened.locator("#editor-words").inner_text().startswith(words)
    assert opened.locator("#editor-foot").evaluate("foot => foot.inert")  # its buttons are covered
    opened.keyboard.press("Escape")
    opened.keyboard.press("a")
    shown(opened)
    assert opened.locator("#strip .badge").inner_text() == "accepted"


def test_corners_are_taken_back_and_dropped(opened, predicted):
    tool(opened, "polygon")
    place = Place(opened, WIDTH, HEIGHT)
    click(opened, place, (80, 10), (110, 10), (110, 60))
    opened.locator("#draft-back").click()
    assert opened.locator("#draft-words").inner_text() == "2 corners"
    assert opened.locator("#draft-add").is_disabled()
    opened.locator("#draft-drop").click()
    np.testing.assert_array_equal(result(opened), predicted)


def test_two_clicks_propose_the_polyp_that_was_missed(opened, image, predicted):
    tool(opened, "propose")
    click(opened, Place(opened, WIDTH, HEIGHT), (76, 60), (114, 60))
    opened.locator("#editor-words", has_text="Two clicks").wait_for()
    found = result(opened)
    assert (found >= predicted).all()
    missed = image[..., 0] >= 40  # the dim blob, wide
    missed &= np.arange(WIDTH) > 66
    added = found & ~predicted
    assert 2 * (added & missed).sum() / (added.sum() + missed.sum()) > 0.75


def test_holes_regions_and_smoothing(opened, predicted):
    tool(opened, "eraser", 5)
    place = Place(opened, WIDTH, HEIGHT)
    click(opened, place, (30, 25), (40, 34))
    tool(opened, "brush", 7)
    click(opened, place, (100, 15), (100, 70))
    tool(opened, "remove")
    click(opened, place, (100, 70))
    expected = predicted & ~near_line(SHAPE, (30, 25), (30, 25), 2.5) & ~near_line(SHAPE, (40, 34), (40, 34), 2.5)
    tool(opened, "fill")
    click(opened, place, (30, 25))
    expected |= near_line(SHAPE, (30, 25), (30, 25), 2.5) | near_line(SHAPE, (100, 15), (100, 15), 3.5)
    click(opened, place, (2, 2))
    assert "no hole" in opened.locator("#editor-words").inner_text()
    opened.locator("#editor-holes").click()
    expected = ndimage.binary_fill_holes(expected)
    opened.locator("#editor-smooth").click()
    counts = np.rint(9 * ndimage.uniform_filter(expected.astype(float), 3, mode="constant"))
    inside = np.rint(9 * ndimage.uniform_filter(np.ones(SHAPE), 3, mode="constant"))
    np.testing.assert_array_equal(result(opened), 2 * counts > inside)


def test_every_stroke_is_undone_and_done_again(opened, predicted):
    tool(opened, "brush", 3)
    place = Place(opened, WIDTH, HEIGHT)
    expected, numbers = predicted.copy(), np.random.default_rng(0)
    for _ in range(25):
        pixel = (int(numbers.integers(WIDTH)), int(numbers.integers(HEIGHT)))
        click(opened, place, pixel)
        expected |= near_line(SHAPE, pixel, pixel, 1.5)
    opened.locator("#editor-canvas").focus()
    for _ in range(30):
        opened.keyboard.press("Control+z")
    assert opened.locator("#editor-undo").is_disabled()
    assert opened.locator("#editor-area").inner_text().replace("\u00a0", " ") == f"{predicted.sum():,} px"
    for _ in range(30):
        opened.keyboard.press("Control+Shift+Z")
    np.testing.assert_array_equal(result(opened), expected)


def test_the_brush_grows_by_wheel_and_keys(opened):
    tool(opened, "brush", 15)
    place = Place(opened, WIDTH, HEIGHT)
    opened.mouse.move(*place.of((60, 60)))
    opened.keyboard.down("Shift")
    opened.mouse.wheel(0, -100)
    opened.keyboard.up("Shift")
    assert opened.locator("#editor-size-value").inner_text() == "17 px"
    opened.locator("#editor-canvas").focus()
    for key, size in (("[", 15), ("[", 13), ("]", 15)):
        opened.keyboard.press(key)
        assert opened.locator("#editor-size-value").inner_text() == f"{size} px"


def test_keys_alone_are_enough(page, image, predicted):
    give(page, png(image))
    shown(page)
    walk_to(page, "edit", limit=80)
    page.keyboard.press("Enter")
    shown(page, "#editor")
    assert page.evaluate("document.activeElement.id") == "editor-canvas"
    page.locator("#editor-size").evaluate("slider => { slider.value = 5; slider.dispatchEvent(new Event('input')); }")
    page.keyboard.press("b")
    page.keyboard.press("ArrowRight")  # from the middle: (64, 45)
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.down(" ")
    for _ in range(4):
        page.keyboard.press("ArrowDown")
    page.keyboard.up(" ")
    expected = predicted | near_line(SHAPE, (94, 45), (94, 49), 2.5)
    assert page.locator("#editor-cursor").inner_text() == "Column 94, row 49, polyp"
    page.keyboard.press("e")
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    expected &= ~near_line(SHAPE, (94, 49), (104, 49), 2.5)
    page.keyboard.press("p")
    for keys in (["Shift+ArrowUp"], ["Shift+ArrowUp"], ["Shift+ArrowRight"]):
        for key in keys:
            page.keyboard.press(key)
        page.keyboard.press(" ")
    page.keyboard.press("Enter")
    # Corners (104, 40), (104, 30), (114, 30): a right triangle with both legs of ten pixels.
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    expected |= (columns >= 104) & (rows >= 30) & (columns - 104 <= 40 - rows)
    page.keyboard.press("?")
    assert page.locator("#editor-help").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#editor-help").is_hidden()
    page.keyboard.press("Escape")
    shown(page)
    assert page.evaluate("document.activeElement.id") == "edit"
    np.testing.assert_array_equal(mask_of(downloaded(page, "#save-mask")[1]), expected)


def test_one_finger_draws_and_two_zoom(open_page, image, predicted):
    page = open_page(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    opened_on(page, image)
    size = int(page.locator("#editor-size-value").inner_text().removesuffix(" px"))
    place, fingers = Place(page, WIDTH, HEIGHT), Fingers(page)
    fingers.draw(place.of((80, 20)), place.of((110, 30)))
    expected = predicted | near_line(SHAPE, (80, 20), (110, 30), size / 2)
    before = page.locator("#editor-zoom").inner_text()
    x, y = place.of((60, 70))
    fingers.send("touchStart", (x, y))
    fingers.send("touchMove", (x + 4, y))
    fingers.send("touchStart", (x + 4, y), (x + 60, y))  # what the first finger had drawn is taken back
    fingers.send("touchMove", (x - 40, y), (x + 100, y))
    fingers.send("touchEnd")
    assert page.locator("#editor-zoom").inner_text() != before
    np.testing.assert_array_equal(result(page), expected)


def test_a_pen_draws_and_the_hand_beside_it_does_not(open_page, image, predicted):
    page = open_page(viewport={"width": 820, "height": 1180}, has_touch=True)
    opened_on(page, image)
    tool(page, "brush", 5)
    place = Place(page, WIDTH, HEIGHT)
    session = page.context.new_cdp_session(page)
    for kind, pixel in (("mousePressed", (80, 20)), ("mouseMoved", (100, 20)), ("mouseReleased", (100, 20))):
        x, y = place.of(pixel)
        session.send(
            "Input.dispatchMouseEvent",
            {"type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1, "pointerType": "pen"},
        )
    Fingers(page).draw(place.of((20, 70)), place.of((40, 75)))
    np.testing.assert_array_equal(result(page), predicted | near_line(SHAPE, (80, 20), (100, 20), 2.5))


@pytest.mark.parametrize(
    ("state", "badge", "words"),
    [
        ("accepted", "accepted", "Reviewed and accepted."),
        ("no-polyp", "no polyp", "Reviewed: no polyp here."),
        ("rejected", "rejected", "Reviewed and rejected: unusable."),
    ],
)
def test_what_is_decided_of_an_image(opened, predicted, state, badge, words):
    opened.locator(f"[data-decide='{state}']").click()
    shown(opened)  # it was the last one
    assert opened.locator("#strip .badge").inner_text() == badge
    assert opened.locator("#verdict-detail").inner_text() == words
    found = mask_of(downloaded(opened, "#save-mask")[1])
    np.testing.assert_array_equal(found, np.zeros(SHAPE, bool) if state == "no-polyp" else predicted)


def test_what_was_corrected_is_downloaded_as_a_data_set(page, image, predicted):
    names = ["a_1.png", "a_2.png", "b_1.png", "c.png"]
    page.set_input_files("#file", [{"name": n, "mimeType": "image/png", "buffer": png(image)} for n in names])
    page.locator("#strip li[data-state=done]").nth(3).wait_for()
    shown(page)
    page.locator("#group-by").select_option("patient")
    page.locator("#edit-all").click()
    shown(page, "#editor")
    tool(page, "brush", 5)
    stroke(page, Place(page, WIDTH, HEIGHT), (80, 20), (100, 20))
    drawn = predicted | near_line(SHAPE, (80, 20), (100, 20), 2.5)
    for name, state in (("a_1.png", "accepted"), ("a_2.png", "no-polyp"), ("b_1.png", "rejected")):
        page.locator("#editor-title", has_text=name).wait_for()
        page.locator(f"[data-decide='{state}']").click()
    page.locator("#editor-title", has_text="c.png").wait_for()
    leave(page)
    name, content = downloaded(page, "#zip-corrected")
    assert name == "corrections.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        assert sorted(opened.namelist()) == [
            "images/a_1.png",
            "images/a_2.png",
            "masks.csv",
            "masks/a_1.png",
            "masks/a_2.png",
        ]
        assert opened.read("images/a_1.png") == png(image)
        np.testing.assert_array_equal(mask_of(opened.read("masks/a_1.png")), drawn)
        assert not mask_of(opened.read("masks/a_2.png")).any()
        rows = list(csv.DictReader(io.TextIOWrapper(opened.open("masks.csv"), "utf-8", newline="")))
    assert [(row["file"], row["group"], row["state"]) for row in rows] == [
        ("a_1.png", "a", "corrected"),
        ("a_2.png", "a", "no-polyp"),
        ("b_1.png", "b", "rejected"),
    ]
    assert rows[0]["area_px"] == str(drawn.sum())


STATES = {
    "drawn": lambda page: stroke(page, Place(page, WIDTH, HEIGHT), (80, 20), (100, 20)),
    "draft": lambda page: (
        tool(page, "polygon"),
        click(page, Place(page, WIDTH, HEIGHT), (80, 10), (110, 10), (110, 60)),
    ),
    "help": lambda page: page.keyboard.press("?"),
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_no_fault_in_the_editor(open_page, axe, image, state, scheme):
    page = open_page(color_scheme=scheme, reduced_motion="reduce")
    opened_on(page, image)
    STATES[state](page)
    page.evaluate(axe)
    assert page.evaluate(FAULTS) == []


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1280, 420), (390, 740)])
def test_the_list_of_keys_is_read_to_its_end(open_page, image, width, height):
    page = opened_on(open_page(viewport={"width": width, "height": height}), image)
    page.keyboard.press("?")
    keys = page.locator("#editor-keys-list")
    assert keys.evaluate("list => list.scrollWidth <= list.clientWidth")
    last = keys.get_by_text("Ctrl + S", exact=True)
    last.scroll_into_view_if_needed()
    box, room = last.bounding_box(), keys.bounding_box()
    assert room["x"] <= box["x"]
    assert box["x"] + box["width"] <= room["x"] + room["width"]
    assert box["y"] + box["height"] <= room["y"] + room["height"] + 1


@pytest.mark.parametrize("width", [320, 390, 768])
def test_on_a_phone_all_of_the_editor_is_reached(open_page, image, width):
    page = open_page(viewport={"width": width, "height": 740}, is_mobile=True, has_touch=True)
    opened_on(page, image)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert "Not a medical device" in page.locator(".notice").inner_text()
    for selector in ("#editor-leave", "#editor-keys", "#editor-undo", "[data-decide=accepted]", "#editor-next"):
        box = page.locator(selector).bounding_box()
        assert box["x"] >= 0, selector
        assert box["x"] + box["width"] <= width, selector
        assert box["y"] + box["height"] <= 740, selector
    canvas = page.locator("#editor-canvas").bounding_box()
    assert canvas["height"] > 300
    page.locator("#editor-hide").scroll_into_view_if_needed()
    page.locator("#editor-hide").tap()
    assert page.locator("#editor-hide").get_attribute("aria-pressed") == "true"
