"""The page shows what is doubtful: the band between inner and outer mask, and which images to look at again."""

import numpy as np
import pytest

from browser.conftest import canvas_pixels, give, pick, shown, slide, until
from browser.test_parts import computed
from polypseg.overlay import DOUBTFUL
from polypseg.predict.doubt import Doubt, review_order
from polypseg.predict.predictor import load
from polypseg.records.calibration import Bound, Calibration
from polypseg.records.digests import model_file_digest
from polypseg.records.stored import store_calibration
from serve.models import write_red_model
from serve.running import png, serving

HEIGHT, WIDTH = 48, 64


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A model that holds a calibration: outer from 0.2 on, inner from 0.8 on."""
    model = write_red_model(tmp_path_factory.mktemp("model") / "red.onnx", size=32, name="red")
    bounds = {
        side: Bound(family="threshold", value=value, risk=0.1, stretch=1.0)
        for side, value in (("outer", 0.2), ("inner", 0.8))
    }
    calibration = Calibration(
        level=0.1,
        model_sha256=model_file_digest(model),
        threshold=0.5,
        num_units=1,
        frame_sha256=("0" * 64,),
        units=(0,),
        statistics={"brightness": (0.5,)},
        **bounds,
    )
    store_calibration(model, calibration)
    return model


@pytest.fixture(scope="module")
def doubtful_client(calibrated):
    with serving(calibrated) as running:
        yield running


def blob(peak=255):
    """A red spot that fades towards its edge."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    red = peak * np.clip(1.3 - np.hypot(rows - 24, columns - 30) / 18, 0, 1)
    picture = np.stack([red, columns, rows], -1)
    return np.clip(picture, 0, 255).astype(np.uint8)


def test_the_doubtful_band_is_drawn_and_can_be_switched_off(open_page, doubtful_client, calibrated):
    page, image = open_page(doubtful_client.base_url), blob()
    give(page, png(image))
    shown(page)
    prediction = load(calibrated, "onnxruntime").predict(image)
    assert prediction.band.any()
    difference = np.abs(canvas_pixels(page).astype(int) - prediction.overlay(opacity=0.4))
    assert difference.max() <= 1
    assert "misses at most 10 % of a polyp's pixels" in page.locator("#band-legend").inner_text()
    pick(page, "drawn", "fill")
    slide(page, "#opacity", 1)
    np.testing.assert_array_equal((canvas_pixels(page) == DOUBTFUL).all(-1), prediction.band)
    page.locator("#band").click()
    assert not (canvas_pixels(page) == DOUBTFUL).all(-1).any()
    assert page.locator("#band-legend").is_hidden()
    page.locator("#band").click()
    slide(page, "#threshold", 0.3)  # the calibration is for the model's own threshold
    assert not (canvas_pixels(page) == DOUBTFUL).all(-1).any()
    assert page.locator("#band-switch").is_hidden()


def test_without_a_calibration_nothing_of_it_is_shown(page):
    give(page, png(blob()))
    shown(page)
    assert page.locator("#band-switch").is_hidden()
    assert page.locator("#band-legend").is_hidden()
    assert "Outer mask" not in page.locator("#figures").inner_text()
    assert "Doubt" in page.locator("#figures").inner_text()


def test_the_strip_is_sorted_by_doubt_where_asked(page):
    # sure: 1; soft: no pixel of the mark reaches 0.9; none: nothing is marked
    images = {"sure.png": np.zeros((32, 32, 3), np.uint8), "soft.png": blob(160), "none.png": blob(40)}
    images["sure.png"][8:20, 8:20, 0] = 255
    images |= {f"sure {number}.png": images["sure.png"] for number in range(7)}
    for name, image in images.items():
        assert page.locator("#strip li[data-again]").count() == 0  # of fewer than ten images none is marked
        give(page, png(image), name)
    until(page, "document.querySelectorAll('#strip li[data-state=done]').length === 10")
    names = "#strip .name"
    assert page.locator(names).all_inner_texts() == list(images)
    assert page.locator("#strip li[data-again] .name").all_inner_texts() == ["soft.png"]
    badge = page.locator("#strip li[data-again] .badge")
    assert badge.inner_text() == "1 found, look again"
    inside, around = badge.bounding_box(), page.locator("#strip li[data-again] .thumb").bounding_box()
    assert inside["x"] + inside["width"] <= around["x"] + around["width"]  # all of it can be read
    page.locator("#order").select_option("doubt")
    assert page.locator(names).all_inner_texts()[:3] == ["soft.png", "none.png", "sure.png"]
    page.locator("#order").select_option("given")
    assert page.locator(names).all_inner_texts() == list(images)


def test_the_order_equals_that_of_the_command(page):
    rng = np.random.default_rng(0)
    for count in (0, 1, 2, 25):
        doubts = [Doubt(*pair) for pair in rng.integers(0, 4, (count, 2)) / 4]
        is_marked = rng.random(count) < 0.6
        scores = [
            {"marked": bool(marked), "mark": doubt.mark, "outline": doubt.outline}
            for doubt, marked in zip(doubts, is_marked, strict=True)
        ]
        body = "const { reviewOrder } = await import('/page/doubt.js'); return reviewOrder(given.scores)"
        expected = [again.place for again in review_order(doubts, is_marked.tolist())]
        assert computed(page, body, scores=scores) == expected
