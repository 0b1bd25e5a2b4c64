"""How files come in, wait, fail and go."""

import re

import numpy as np
import pytest

from browser.conftest import canvas_pixels, give, shown
from serve.running import picture, png, serving

RED = picture(40, 60, (20, 10, 20, 20))
BLACK = np.zeros((30, 30, 3), np.uint8)

AS_FILES = """async ([selector, kind, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(bytes)], "given.png", { type: "image/png" }));
  const options = { bubbles: true, cancelable: true };
  const event = kind === "drop" ? new DragEvent("drop", { ...options, dataTransfer: data })
    : new ClipboardEvent("paste", { ...options, clipboardData: data });
  document.querySelector(selector).dispatchEvent(event);
}"""


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_an_image_is_dropped_or_pasted(page, kind):
    page.evaluate(AS_FILES, ["#drop" if kind == "drop" else "body", kind, list(png(RED))])
    shown(page)
    assert canvas_pixels(page).shape == (40, 60, 3)


@pytest.mark.parametrize("name", ["red.jpg", "flat.jpg", "none.jpg"])
def test_each_example_is_shown(page, name):
    page.locator(f"[data-example='{name}']").click()
    shown(page)
    assert canvas_pixels(page).shape == (512, 640, 3)
    assert page.locator("#result-title").inner_text() == f"synthetic_{name}"
    # The model of this test takes every reddish pixel for polyp.
    assert "found" in page.locator("#findings-title").inner_text()
    told = page.locator("#verdict-detail").inner_text()
    assert ("drawn without a polyp: what is marked is a false alarm" in told) == (name == "none.jpg")


def test_several_images_make_a_strip(page):
    files = [("one.png", RED), ("two.png", BLACK), ("three.png", picture(50, 50, (5, 5, 9, 9)))]
    page.set_input_files("#file", [{"name": n, "mimeType": "image/png", "buffer": png(i)} for n, i in files])
    page.locator("#strip li[data-state=done]").nth(2).wait_for()
    assert page.locator("#strip .badge").all_inner_texts() == ["1 found", "none found", "1 found"]
    shown(page)
    assert page.locator("#result-title").inner_text() == "one.png"
    page.get_by_role("button", name="three.png, 1 found").click()
    page.locator("#result-title", has_text="three.png").wait_for()
    assert canvas_pixels(page).shape == (50, 50, 3)
    page.get_by_role("button", name="Remove three.png").click()
    page.locator("#result-title", has_text="two.png").wait_for()
    assert page.locator("#strip li").count() == 2


@pytest.mark.parametrize(
    ("content", "title", "hint"),
    [
        (png(RED)[:-40], "Not an image that can be read", "Expected a JPEG, PNG, TIFF, BMP or WebP image"),
        (b"no image", "Not an image that can be read", "Does it open elsewhere?"),
        (b"", "Not an image that can be read", "Does it open elsewhere?"),
    ],
)
def test_a_broken_file_is_told_kindly_and_the_next_one_works(page, content, title, hint):
    give(page, content, "broken.png")
    shown(page, "#fault")
    assert page.locator("#fault-title").inner_text() == title
    assert hint in page.locator("#fault-hint").inner_text()
    told = page.locator("#fault").inner_text()
    assert "broken.png" in told
    assert not any(word in told for word in ("Traceback", "Error", "undefined", "[object", "/tmp"))
    assert page.locator("#strip .badge").inner_text() == "failed"
    give(page, png(RED))
    shown(page)
    assert not page.locator("#fault").is_visible()


def test_a_file_of_another_type_is_told_kindly(page):
    give(page, b"words", "words.txt", "text/plain")
    shown(page, "#fault")
    assert "Expected a JPEG" in page.locator("#fault-hint").inner_text()


def test_too_large_is_told_with_the_bound(open_page, red_model):
    with serving(red_model, max_image_pixels=1000) as strict:
        page = open_page(strict.base_url)
        give(page, png(RED))
        shown(page, "#fault")
        assert "1,000" in page.locator("#fault-detail").inner_text()
        assert "Make the file smaller" in page.locator("#fault-hint").inner_text()
        page.close()


def test_a_busy_server_is_asked_again_with_a_notice(page):
    answers = []

    def busy_once(route):
        answers.append(len(answers))
        if len(answers) == 1:
            route.fulfill(status=429, headers={"Retry-After": "2"}, content_type="application/problem+json", body="{}")
        else:
            route.continue_()

    page.route("**/v1/segment?*", busy_once)
    give(page, png(RED))
    page.locator("#waiting", has_text=re.compile(r"The server is busy.*Trying again in", re.DOTALL)).wait_for()
    shown(page)
    assert len(answers) == 2


def test_sending_and_working_are_shown_and_can_be_cancelled(page):
    page.route("**/v1/segment?*", lambda route: None)  # never answered
    give(page, png(RED))
    page.locator("#waiting-title", has_text="frame.png").wait_for()
    assert page.locator("#waiting-bar").is_visible()
    page.locator("#cancel").click()
    page.locator("#waiting").wait_for(state="hidden")
    assert page.locator("#strip").is_hidden()
    assert page.locator("#drop h2").is_visible()


def test_a_server_that_is_gone_is_told_and_tried_again(page):
    page.route("**/v1/segment?*", lambda route: route.abort())
    give(page, png(RED))
    shown(page, "#fault")
    assert page.locator("#fault-title").inner_text() == "The server cannot be reached"
    assert "polypseg serve" in page.locator("#fault-hint").inner_text()
    page.unroute("**/v1/segment?*")
    page.locator("#again").click()
    shown(page)


def test_a_token_is_asked_for_where_the_server_wants_one(open_page, red_model):
    with serving(red_model, token="secret") as guarded:
        page = open_page(guarded.base_url)
        shown(page, "#token")
        give(page, png(RED))
        shown(page, "#fault")
        page.get_by_label("Token, from the operator of the server").fill("wrong")
        page.get_by_role("button", name="Continue").click()
        shown(page, "#token")
        page.get_by_label("Token, from the operator of the server").fill("secret")
        page.get_by_role("button", name="Continue").click()
        shown(page)
        assert page.locator("#model").inner_text() == "red 1.0"
        page.close()
