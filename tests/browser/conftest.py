"""A real browser, and a page in it that must not complain or call elsewhere."""

import base64
import os
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from serve.models import write_red_model
from serve.running import serving

CHROMIUM = Path(os.environ.get("POLYPSEG_CHROMIUM", "/usr/bin/chromium"))
IS_REQUIRED = os.environ.get("POLYPSEG_BROWSER_TESTS") == "required"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def _unless_there(is_there, words):
    if is_there:
        return
    words += "; make test-browser sets it up"
    (pytest.fail if IS_REQUIRED else pytest.skip)(words)


@pytest.fixture(scope="session")
def browser():
    _unless_there(find_spec("playwright") is not None, 'playwright is not installed: pip install "polypseg[browser]"')
    _unless_there(CHROMIUM.is_file(), f"no browser in {CHROMIUM}: install chromium, or set POLYPSEG_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def axe():
    """The source of axe-core."""
    found = find_spec("axe_playwright_python")
    _unless_there(found is not None, 'axe-core is not installed: pip install "polypseg[browser]"')
    return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def red_model(tmp_path_factory):
    """The file of a model: probability is the image's red, attention 1 its green, attention 2 its blue."""
    return write_red_model(tmp_path_factory.mktemp("model") / "red.onnx", size=32, name="red")


@pytest.fixture(scope="session")
def client(red_model):
    with serving(red_model) as running:
        yield running


@pytest.fixture(scope="module")
def parts(browser, client):
    """A page whose modules are called one by one."""
    page = browser.new_page(base_url=str(client.base_url))
    page.goto("/")
    yield page
    page.close()


@pytest.fixture
def open_page(browser, client):
    """Opens the page again; at the end of the test nothing may have been complained of, or asked for elsewhere."""
    contexts, complaints, calls = [], [], []

    def opened(base_url=None, **options):
        context = browser.new_context(base_url=str(base_url or client.base_url), **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: calls.append(request.url))
        page.goto("/")
        return page

    yield opened
    for context in contexts:
        context.close()
    # A browser itself notes each answer of 400 and more; whether they are told kindly is what the tests look at.
    assert [words for words in complaints if "Failed to load resource" not in words] == []
    assert [url for url in calls if not re.match(r"http://127\.0\.0\.1:|blob:", url)] == []


@pytest.fixture
def page(open_page):
    return open_page()


def give(page, content, name="frame.png", media_type="image/png"):
    """Chooses a file, as a person does in the file dialogue."""
    page.set_input_files("#file", {"name": name, "mimeType": media_type, "buffer": content})


def shown(page, selector="#result"):
    """Waits for a part of the page."""
    page.locator(selector).wait_for(state="visible")


def canvas_pixels(page, selector="#shown"):
    """Red, green, blue of a canvas, (H, W, 3) uint8."""
    width, height, values = page.evaluate(
        """async (selector) => {
          await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
          const canvas = document.querySelector(selector);
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          let text = "";
          for (const value of data) text += String.fromCharCode(value);
          return [canvas.width, canvas.height, btoa(text)];
        }""",
        selector,
    )
    flat = np.frombuffer(base64.b64decode(values), np.uint8).reshape(height, width, 4)
    assert (flat[..., 3] == 255).all()
    return flat[..., :3]


def pick(page, name, value):
    """Chooses one of several, as a person does with the mouse."""
    page.locator(f"input[name={name}][value='{value}']").click()


def slide(page, selector, value):
    """Moves a slider."""
    page.locator(selector).fill(str(value))


def until(page, condition):
    """Waits for an expression to hold; Playwright's own way needs eval, which the page's policy forbids."""
    until_true(page, lambda: page.evaluate(condition), condition)


def until_true(page, condition, words="it"):
    """Waits for what a function gives, such as what a server has got; the page goes on meanwhile."""
    for _ in range(400):
        if condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never: {words}")
