"""Draws the screenshots of docs/how-to/page.md again, of a server that runs.

polypseg serve
python scripts/draw_page_screenshots.py http://127.0.0.1:8000

Needs the extras `serve`, `video` and `browser`, and Chromium; names its own synthetic video, draws no other image.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from polypseg.data.synthetic import synthetic_image

FOLDER = Path(__file__).parents[1] / "docs" / "images"
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}


def write_film(path: Path, num_frames: int = 100) -> None:
    """A camera that looks around in one synthetic scene, so that the polyp comes and goes."""
    scene, _ = synthetic_image(np.random.default_rng(3), (800, 1000))
    height, width = 512, 640
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for index in range(num_frames):
            turn = 2 * np.pi * 1.5 * index / num_frames
            top = round((800 - height) * (0.5 - 0.5 * np.cos(turn)))
            left = round((1000 - width) * (0.5 + 0.5 * np.sin(1.3 * turn)))
            cut = np.ascontiguousarray(scene[top : top + height, left : left + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(cut, format="rgb24")))
        container.mux(stream.encode(None))


def save(page: Page, name: str, **options: object) -> None:
    path = FOLDER / f"page_{name}.png"
    page.wait_for_timeout(600)
    page.screenshot(path=path, **options)  # type: ignore[arg-type]
    picture = Image.open(path).convert("RGB")
    colours = picture.quantize(256)  # dithering needs a palette that is given
    picture.quantize(palette=colours, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    print(path, path.stat().st_size)


def opened(browser: Browser, address: str, scheme: str, **options: object) -> Page:
    page = browser.new_context(color_scheme=scheme, **options).new_page()  # type: ignore[arg-type]
    page.goto(address)
    page.locator("#model").wait_for()
    return page


def show_examples(page: Page, *names: str) -> None:
    for name in names:
        page.click(f"[data-example='{name}.jpg']")
        page.locator("#result-title", has_text=name).wait_for()
    page.locator("#strip li[data-state=done]").nth(len(names) - 1).wait_for()


def draw(browser: Browser, address: str, film: Path) -> None:
    page = opened(browser, address, "light", viewport=DESKTOP)
    show_examples(page, "none", "flat", "red")
    save(page, "mask", full_page=True)
    page = opened(browser, address, "dark", viewport=DESKTOP)
    show_examples(page, "none", "flat", "red")
    page.locator("input[name=view][value=attention]").click()
    page.locator("input[name=level][value='2']").click()
    page.locator("input[name=layout][value=slider]").click()
    save(page, "attention", full_page=True)
    page = opened(browser, address, "light", viewport=PHONE, device_scale_factor=1.5, is_mobile=True, has_touch=True)
    show_examples(page, "red")
    page.locator("#result-title").evaluate("title => title.scrollIntoView()")
    save(page, "phone")
    page = opened(browser, address, "light", viewport=DESKTOP)
    show_examples(page, "red")
    page.click("#edit")
    page.click("[data-tool=polygon]")
    box = page.locator("#editor-canvas").bounding_box()
    for across, down in ((0.62, 0.3), (0.7, 0.36), (0.68, 0.5)):
        page.mouse.click(box["x"] + across * box["width"], box["y"] + down * box["height"])  # type: ignore[index]
    save(page, "editor")
    page = opened(browser, address, "light", viewport=DESKTOP)
    page.set_input_files("#file", film)
    page.locator("#film").wait_for(timeout=120_000)
    page.locator("#player").evaluate(
        "player => new Promise((done) => { player.onseeked = () => setTimeout(done, 1500); player.currentTime = 1.6; })"
    )
    page.evaluate("window.scrollTo(0, 0)")
    save(page, "video", full_page=True)


if __name__ == "__main__":
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        write_film(Path(folder) / "synthetic_video.mp4")
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        draw(running, sys.argv[1], Path(folder) / "synthetic_video.mp4")
        running.close()
