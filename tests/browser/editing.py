"""Hands on the editor: where a pixel of the image lies on the screen, strokes, clicks, fingers."""

import io

import numpy as np
from PIL import Image

from browser.conftest import shown

MARGIN = 16


class Place:
    """Where the pixels of an image lie, when all of it is shown.

    Args:
        page: With the editor open.
        width: Of the image.
        height: Of the image.
    """

    def __init__(self, page, width, height):
        box = page.locator("#editor-canvas").bounding_box()
        self.scale = min((box["width"] - 2 * MARGIN) / width, (box["height"] - 2 * MARGIN) / height)
        self.left = box["x"] + (box["width"] - self.scale * width) / 2
        self.top = box["y"] + (box["height"] - self.scale * height) / 2

    def of(self, pixel):
        """The middle of a pixel (column, row), in CSS pixels of the window."""
        return self.left + (pixel[0] + 0.5) * self.scale, self.top + (pixel[1] + 0.5) * self.scale


def stroke(page, place, *pixels):
    """Draws with the mouse from pixel to pixel."""
    page.mouse.move(*place.of(pixels[0]))
    page.mouse.down()
    for pixel in pixels[1:]:
        page.mouse.move(*place.of(pixel))
    page.mouse.up()


def click(page, place, *pixels):
    for pixel in pixels:
        page.mouse.click(*place.of(pixel))


def tool(page, name, size=None):
    page.locator(f"[data-tool={name}]").click()
    if size is not None:
        page.locator("#editor-size").fill(str(size))


def near_line(shape, start, end, reach):
    """Pixels at most `reach` from the line between two pixels, (column, row)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    (x1, y1), (x2, y2) = start, end
    length2 = (x2 - x1) ** 2 + (y2 - y1) ** 2
    share = np.clip(((columns - x1) * (x2 - x1) + (rows - y1) * (y2 - y1)) / max(length2, 1), 0, 1)
    return np.hypot(columns - x1 - share * (x2 - x1), rows - y1 - share * (y2 - y1)) <= reach + 1e-9


def leave(page):
    page.locator("#editor-leave").click()
    shown(page)


def downloaded(page, selector):
    with page.expect_download() as waiting:
        page.locator(selector).click()
    return waiting.value.suggested_filename, waiting.value.path().read_bytes()


def mask_of(content):
    """The mask of a downloaded file; grey, 0 and 255."""
    opened = Image.open(io.BytesIO(content))
    assert opened.mode == "L"
    pixels = np.asarray(opened)
    assert set(np.unique(pixels)) <= {0, 255}
    return pixels == 255


class Fingers:
    """Fingers on a touch screen."""

    def __init__(self, page):
        self.session = page.context.new_cdp_session(page)

    def send(self, kind, *points):
        touches = [{"x": x, "y": y, "id": index} for index, (x, y) in enumerate(points)]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    def draw(self, *points):
        self.send("touchStart", points[0])
        for point in points[1:]:
            self.send("touchMove", point)
        self.send("touchEnd")


def flat(mask):
    """A mask as JavaScript takes it: 0 and 1, row by row."""
    return mask.astype(int).ravel().tolist()
