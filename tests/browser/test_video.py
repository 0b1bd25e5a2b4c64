"""A video from the file to the player. The model's probability is red."""

import json
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest

from browser.conftest import give, pick, shown, slide, until
from browser.test_access import walk_to
from predict.video_making import spots, write_video

pytest.importorskip("av")

HEIGHT, WIDTH = 96, 128
NUM_FRAMES, FIRST, BEYOND = 50, 20, 35
"""At 25 frames a second the red spot is seen from 0.8 s until 1.4 s of 2 s."""

FRAME_PIXELS = """async (seconds) => {
  const player = document.querySelector("#player");
  const happened = (event) => new Promise((resolve) => player.addEventListener(event, resolve, { once: true }));
  if (player.readyState < 2) await happened("loadeddata");
  const shown = new Promise((resolve) => { // "seeked" may come before the frame is there to be drawn
    const wait = () => player.requestVideoFrameCallback(look);
    const look = (now, frame) => Math.abs(frame.mediaTime - seconds) < 0.1 ? resolve() : wait();
    wait();
  });
  player.currentTime = seconds;
  await shown;
  const canvas = new OffscreenCanvas(player.videoWidth, player.videoHeight);
  const context = canvas.getContext("2d");
  context.drawImage(player, 0, 0);
  const colours = [[16, 16], [110, 80]].map(([x, y]) => [...context.getImageData(x, y, 1, 1).data.slice(0, 3)]);
  return [canvas.width, canvas.height, ...colours];
}"""


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    places = [(8, 8) if FIRST <= index < BEYOND else None for index in range(NUM_FRAMES)]
    images = spots(places, (HEIGHT, WIDTH), side=16)
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", images).read_bytes()


@pytest.fixture
def opened(page, film):
    give(page, film, "film.mp4", "video/mp4")
    page.locator("#film").wait_for(state="visible", timeout=60_000)
    return page


def test_a_video_job_completes_and_tells_its_detection(opened):
    assert opened.locator("#film-verdict").inner_text() == "Polyp seen in 1 stretch"
    assert "of 2.0 seconds, 50 frames" in opened.locator("#film-detail").inner_text()
    assert opened.locator("#detections button").all_inner_texts() == ["0:00.8 – 0:01.4"]
    assert opened.locator("#strip .badge").inner_text() == "1 found"


def test_the_player_shows_the_mask(opened):
    width, height, spot, elsewhere = opened.evaluate(FRAME_PIXELS, 1.0)
    assert (width, height) == (WIDTH, HEIGHT)
    # The spot's middle under the tint, give or take the codec: 0.6 (250, 0, 0) + 0.4 (86, 180, 233) = (184, 72, 93).
    np.testing.assert_allclose(spot, (184, 72, 93), atol=40)
    assert max(elsewhere) < 40
    assert max(opened.evaluate(FRAME_PIXELS, 0.2)[2]) < 40


def test_a_click_on_the_timeline_seeks_and_the_figures_follow(opened):
    until(opened, "document.querySelector('#player').readyState >= 1")
    opened.locator("#seek").click()  # in its middle
    until(opened, "Math.abs(document.querySelector('#player').currentTime - 1.0) < 0.1")
    assert "Regions\n1" in opened.locator("#now").inner_text()
    opened.locator("#seek").focus()
    opened.keyboard.press("Home")
    until(opened, "document.querySelector('#player').currentTime === 0")
    assert "Regions\n0" in opened.locator("#now").inner_text()


def test_a_detection_of_the_list_is_gone_to(opened):
    until(opened, "document.querySelector('#player').readyState >= 1")
    opened.locator("#detections button").click()
    until(opened, "Math.abs(document.querySelector('#player').currentTime - 0.8) < 0.05")


def test_progress_is_shown_and_a_job_cancelled_on_the_server(page, film, client):
    asked = []

    def half_way(route):
        asked.append(route.request.url)
        if route.request.method != "GET":
            route.continue_()
            return
        job = {"state": "running", "progress": 0.5, "frames_done": 25, "num_frames": 50, "result": None, "error": None}
        route.fulfill(json=job)

    page.route("**/v1/jobs/*", half_way)
    give(page, film, "film.mp4", "video/mp4")
    page.locator("#waiting-detail", has_text="frame 25 of 50").wait_for()
    assert page.locator("#waiting-bar").get_attribute("value") == "0.5"
    path = "/v1/jobs/" + asked[0].rpartition("/")[2]
    assert client.get(path).status_code == 200
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as deleted:
        page.locator("#cancel").click()
    assert deleted.value.status == 204
    assert client.get(path).status_code == 404
    assert page.locator("#strip").is_hidden()


def test_removing_a_video_removes_it_from_the_server(opened, client):
    path = opened.locator("#player").get_attribute("src").removesuffix("/video")
    assert client.get(path).status_code == 200
    with opened.expect_response(lambda answer: answer.request.method == "DELETE"):
        opened.get_by_role("button", name="Remove film.mp4").click()
    assert client.get(path).status_code == 404


def predict_again(page):
    """Presses the button, and waits for the new result; gives what the request asked for."""
    with page.expect_request("**/v1/video?*") as sent:
        page.get_by_role("button", name="Predict again").click()
    page.locator("#film").wait_for(state="visible", timeout=60_000)
    return dict(parse_qsl(urlsplit(sent.value.url).query))


def stretches(page):
    return page.locator("#detections button").all_inner_texts()


def test_short_detections_are_withheld_on_demand(opened, client):
    before = opened.locator("#player").get_attribute("src").removesuffix("/video")
    again = opened.get_by_role("button", name="Predict again")
    assert again.is_disabled()
    assert not opened.locator("#withheld-key").is_visible()
    slide(opened, "#withhold", BEYOND - FIRST)
    assert opened.locator("#withhold-value").inner_text() == "up to 15 frames"
    asked = predict_again(opened)
    assert (asked["withhold"], asked["smoothing"]) == ("15", "none")
    assert opened.locator("#film-verdict").inner_text() == "No polyp found"
    assert "In 15 frames a detection was too short and is withheld" in opened.locator("#film-detail").inner_text()
    assert opened.locator("#withheld-key").is_visible()
    assert opened.locator("#strip .badge").inner_text() == "none found"
    assert again.is_disabled()
    assert client.get(before).status_code == 404  # the former result is not kept
    slide(opened, "#withhold", BEYOND - FIRST - 1)
    assert predict_again(opened)["withhold"] == "14"
    assert stretches(opened) == ["0:00.8 – 0:01.4"]


@pytest.mark.parametrize("smoothing", ["exponential", "window"])
def test_smoothing_is_asked_for_and_changes_the_result(opened, client, smoothing):
    pick(opened, "smoothing", smoothing)
    assert predict_again(opened)["smoothing"] == smoothing
    # The spot's red is 250 of 255 and 15 frames long. The mean of 5 frames is above 0.5 from the third to the second
    # frame after it; s = p / 3 + 2 s / 3 from the second (0.54) to the first after it (0.65, then 0.43).
    late = {"exponential": 1, "window": 2}[smoothing]
    told = client.get(opened.locator("#player").get_attribute("src").removesuffix("/video")).json()
    found = [(one["begin"], one["end"]) for one in told["result"]["detections"]]
    assert found == [(pytest.approx((FIRST + late) / 25), pytest.approx((BEYOND + late) / 25))]
    with opened.expect_download() as waiting:
        opened.locator("#save-film-json").click()
    assert json.loads(waiting.value.path().read_bytes())["smoothing"] == smoothing
    pick(opened, "smoothing", "none")
    predict_again(opened)
    assert stretches(opened) == ["0:00.8 – 0:01.4"]


def test_what_is_done_over_time_is_reached_by_keyboard_and_holds_for_the_next_video(opened, film):
    opened.locator("#seek").focus()
    walk_to(opened, "none")
    opened.keyboard.press("ArrowRight")
    assert opened.get_by_role("radio", name="Exponential").is_checked()
    walk_to(opened, "withhold")
    opened.keyboard.press("End")
    assert opened.get_by_role("slider", name="Withhold short detections").input_value() == "50"
    walk_to(opened, "rerun")
    with opened.expect_request("**/v1/video?*withhold=50*"):
        opened.keyboard.press("Enter")
    assert opened.evaluate("document.activeElement.id") == "cancel"
    opened.locator("#film").wait_for(state="visible", timeout=60_000)
    with opened.expect_request("**/v1/video?*smoothing=exponential&withhold=50"):
        give(opened, film, "next.mp4", "video/mp4")
    opened.locator("#film-title", has_text="next.mp4").wait_for()


def test_frames_without_a_picture_are_told(page, film):
    def lossy(route):
        if route.request.method != "GET":
            route.continue_()
            return
        lost = {"area_percent": None, "components": None, "max_probability": None, "withheld": False}
        frames = [{"frame": index, "seconds": index / 25} | lost for index in range(2)]
        result = {"frames": frames, "detections": [], "fps": 25.0}
        job = {"state": "done", "progress": 1, "frames_done": 2, "num_frames": 2, "error": None}
        route.fulfill(json=job | {"result": result | {"video": "/v1/jobs/x/video"}})

    page.route("**/v1/jobs/*", lossy)
    give(page, film, "film.mp4", "video/mp4")
    shown(page, "#film")
    assert "2 frames could not be decoded" in page.locator("#film-detail").inner_text()
    assert "Area\n–" in page.locator("#now").inner_text()


def test_a_broken_video_is_told_kindly(page, film):
    give(page, film[:300], "broken.mp4", "video/mp4")
    shown(page, "#fault")
    assert "Expected a video" in page.locator("#fault-hint").inner_text()
    assert "broken.mp4" in page.locator("#fault-detail").inner_text()
