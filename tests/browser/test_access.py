"""Everyone can use the page: by keyboard, on a phone, with a screen reader, in light and dark."""

import numpy as np
import pytest

from browser.conftest import canvas_pixels, give, pick, shown
from predict.video_making import spots, write_video
from serve.running import picture, png

RED = picture(60, 90, (20, 10, 30, 30))
FAULTS = """async () => (await axe.run()).violations
  .map(({ id, nodes }) => [id, ...nodes.map(({ html }) => html.slice(0, 160))])"""

CUT = """() => [...document.querySelectorAll("button, figcaption, label, h2, h3")]
  .filter((part) => part.checkVisibility() && part.scrollWidth > part.clientWidth + 1 && part.clientWidth > 1)
  .map((part) => part.textContent)"""


def as_empty(page):
    shown(page, "#model")


def as_mask(page):
    give(page, png(RED))
    shown(page)
    page.locator("#regions-all summary").click()
    page.locator(".controls summary").click()


def as_attention(page):
    give(page, png(RED))
    shown(page)
    pick(page, "view", "attention")
    pick(page, "layout", "slider")


def as_corrected(page):
    give(page, png(RED))
    shown(page)
    page.locator("#edit").click()
    shown(page, "#editor")
    page.keyboard.press("n")
    shown(page, "#drop-correction")


def as_fault(page):
    give(page, b"broken")
    shown(page, "#fault")


def as_waiting(page):
    page.route("**/v1/segment?*", lambda route: None)
    give(page, png(RED))
    shown(page, "#waiting")


def as_token(page):
    page.locator("#token").evaluate("part => { part.hidden = false }")


def as_none(page):
    give(page, png(np.zeros((20, 30, 3), np.uint8)))
    shown(page)


def as_film(page):
    pytest.importorskip("av")
    give(page, as_film.content, "film.mp4", "video/mp4")
    page.locator("#film").wait_for(state="visible", timeout=60_000)


STATES = [as_empty, as_mask, as_attention, as_none, as_corrected, as_fault, as_waiting, as_token, as_film]


@pytest.fixture(scope="module", autouse=True)
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    as_film.content = write_video(path, spots([None, (8, 8), (8, 8), None], (96, 128))).read_bytes()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_no_fault(open_page, axe, state, scheme):
    page = open_page(color_scheme=scheme, reduced_motion="reduce")
    state(page)
    page.evaluate(axe)
    assert page.evaluate(FAULTS) == []


def test_axe_would_find_a_fault(page, axe):
    page.evaluate("document.querySelector('#choose').textContent = ''")
    page.evaluate(axe)
    assert [found[0] for found in page.evaluate(FAULTS)] == ["button-name"]


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
@pytest.mark.parametrize("state", STATES)
def test_no_width_scrolls_sideways_or_cuts_words(open_page, state, width):
    page = open_page(viewport={"width": width, "height": 740}, is_mobile=width < 1000, has_touch=width < 1000)
    state(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CUT) == []
    notice = page.locator(".notice").bounding_box()
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    assert page.locator(".notice").bounding_box()["y"] == notice["y"]  # in sight wherever one has scrolled
    assert "Not a medical device" in page.locator(".notice").inner_text()


def focused(page):
    """The element that has the focus, and whether one sees that it has."""
    return page.evaluate(
        """() => {
          const found = document.activeElement;
          const { id, type, value, className, tagName } = found;
          const marked = type === "radio" ? found.nextElementSibling : id === "seek" ? found.parentElement : found;
          const style = getComputedStyle(marked);
          const isSeen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
          return [id || found.dataset.example || value || className || tagName, isSeen];
        }"""
    )


def walk_to(page, goal, limit=60):
    """Presses Tab until an element has the focus; each on the way must show that it has it."""
    for _ in range(limit):
        page.keyboard.press("Tab")
        name, is_seen = focused(page)
        assert is_seen, name
        if name == goal:
            return
    raise AssertionError(f"Tab does not reach {goal}")


def test_keyboard_alone_is_enough(page):
    choosers = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    walk_to(page, "skip")
    walk_to(page, "theme")
    walk_to(page, "choose")
    page.keyboard.press("Enter")
    for _ in range(100):
        page.wait_for_timeout(50)
        if choosers:
            break
    assert len(choosers) == 1
    walk_to(page, "red.jpg")
    page.keyboard.press("Enter")
    shown(page)
    before = canvas_pixels(page)
    walk_to(page, "mask")
    page.keyboard.press("ArrowRight")
    canvas_pixels(page)
    assert page.locator("#caption").inner_text() == "Probability map"
    assert (canvas_pixels(page) != before).any()
    walk_to(page, "threshold")
    page.keyboard.press("ArrowRight")
    canvas_pixels(page)
    assert page.locator("#threshold-value").inner_text() == "0.51"
    walk_to(page, "save-mask")
    with page.expect_download() as waiting:
        page.keyboard.press("Enter")
    assert waiting.value.suggested_filename == "synthetic_red_mask.png"


def test_the_outcome_is_announced(page):
    give(page, png(RED))
    shown(page)
    page.locator("#status", has_text="frame.png: 1 region found").wait_for(state="attached")


def test_the_theme_follows_the_system_until_one_is_chosen(open_page):
    page = open_page(color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(paper) == "rgb(15, 20, 24)"
    page.get_by_role("button", name="Light theme").click()
    assert page.evaluate(paper) == "rgb(243, 245, 247)"
    page.reload()
    assert page.evaluate(paper) == "rgb(243, 245, 247)"
    page.get_by_role("button", name="Dark theme").click()
    assert page.evaluate(paper) == "rgb(15, 20, 24)"
