"""The contract of docs/reference/api.md. The model's probability is red, its gates' coefficients green and blue."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from polypseg.overlay import contour, line_width_px, overlay
from polypseg.predict.predictor import load
from polypseg.serve.schemas import Job, Segmentation, SegmentationBatch, ServedModels
from serve.models import SIZE, write_red_model
from serve.running import picture, png, png_header, serving, wait_until

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools

PNG = {"Content-Type": "image/png"}

# At the model's own size nothing is resized: the numbers below can be followed by hand.
SMALL = picture(SIZE, SIZE, (2, 4, 8, 5), (204, 102, 51))


def segment(client, image, **query):
    return client.post("/v1/segment", content=png(image), headers=PNG, params=query)


def pixels(answer):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["png"]))))


def problem(answer, status):
    """The problem document of an answer, once it is one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert set(told) == {"type", "title", "status", "detail"}
    assert told["status"] == status
    assert not re.search(r"/[a-z]+/|Traceback|0x[0-9a-f]{4}|\.py", answer.text)
    return told


def test_answer_by_hand(client):
    answer = segment(client, SMALL).json()
    Segmentation.model_validate(answer)
    assert answer["model"] == {"name": "red", "version": "1.0", "size": 16, "engine": "onnxruntime"}
    assert answer["image"] == {"height": 16, "width": 16}
    assert (answer["threshold"], answer["num_components"]) == (0.5, 1)
    assert answer["area_px"] == 40  # 8 x 5
    assert answer["area_percent"] == 15.625  # 40 of 256
    assert answer["max_probability"] == answer["mean_probability"] == 0.8  # 204 of 255
    assert set(answer["seconds"]) == {"decode", "infer", "total"}
    assert 0 < answer["seconds"]["infer"] < answer["seconds"]["total"]
    assert not {"probability", "overlay", "picture", "attention"} & set(answer)
    [polyp] = answer["polyps"]
    # The border runs from pixel corner to pixel corner: columns 2 to 10, rows 4 to 9.
    corners = {tuple(corner) for corner in np.reshape(polyp.pop("polygon"), (-1, 2)).tolist()}
    assert corners == {(2, 4), (10, 4), (10, 9), (2, 9)}
    assert polyp == {
        "area_px": 40,
        "area_percent": 15.625,
        "box": [2, 4, 8, 5],
        "mean_probability": 0.8,
        "max_probability": 0.8,
    }
    np.testing.assert_array_equal(coco.decode(answer["mask"]), SMALL[..., 0] > 0)


def test_empty_mask(client):
    answer = segment(client, np.zeros((9, 7, 3), np.uint8)).json()
    assert (answer["area_px"], answer["polyps"], answer["num_components"]) == (0, [], 0)
    assert (answer["max_probability"], answer["mean_probability"]) == (0.0, None)
    assert coco.decode(answer["mask"]).shape == (9, 7)


def test_raw_body_and_form_are_alike_and_equal_the_predictor(client, red_model):
    image = picture(50, 70, (11, 13, 30, 20))
    prediction = load(red_model, "onnxruntime").predict(image)
    raw = segment(client, image, probability=True).json()
    form = client.post("/v1/segment?probability=1", files={"image": ("x.png", png(image), "image/png")}).json()
    named = client.post("/v1/segment", files={"image": ("../../x", png(image))}).json()
    for answer in (raw, form, named):
        np.testing.assert_array_equal(coco.decode(answer["mask"]), prediction.mask)
    assert raw["probability"] == form["probability"]
    np.testing.assert_array_equal(pixels(raw["probability"]), np.rint(prediction.probability * 255))


def test_png_is_the_mask(client, red_model):
    image = picture(50, 70, (11, 13, 30, 20))
    answer = segment(client, image, format="png")
    assert answer.headers["content-type"] == "image/png"
    found = np.asarray(Image.open(io.BytesIO(answer.content)))
    np.testing.assert_array_equal(found, load(red_model, "onnxruntime").predict(image).mask * np.uint8(255))


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("image/png", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("image/*", "image/png"),
        ("application/json;q=0.5, image/png;q=0.9", "image/png"),
        ("image/png;q=0.2, application/json", "application/json"),
        ("image/png;q=0, */*", "application/json"),
        ("image/png;q=x", "application/json"),
        ("*/*", "application/json"),
        ("text/html", "application/json"),
        ("", "application/json"),
    ],
)
def test_accept_chooses_the_format(client, accept, media_type):
    answer = client.post("/v1/segment", content=png(SMALL), headers=PNG | {"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert answer.headers["vary"] == "Accept"
    if media_type == "image/png":
        assert answer.content == segment(client, SMALL, format="png").content


def test_the_parameter_outweighs_accept_and_pictures_need_json(client):
    asked = PNG | {"Accept": "image/png"}
    answer = client.post("/v1/segment?format=json", content=png(SMALL), headers=asked)
    assert answer.headers["content-type"] == "application/json"
    problem(client.post("/v1/segment?overlay=1", content=png(SMALL), headers=asked), 422)


@pytest.fixture(scope="module")
def pages():
    """A TIFF of three pages, with 40, 12 and no red pixels."""
    images = [SMALL, picture(SIZE, SIZE, (0, 0, 4, 3), (255, 0, 0)), np.zeros((9, 7, 3), np.uint8)]
    buffer = io.BytesIO()
    first, *rest = map(Image.fromarray, images)
    first.save(buffer, "TIFF", save_all=True, append_images=rest)
    return buffer.getvalue()


@pytest.mark.parametrize(("page", "area"), [(1, 40), (2, 12), (3, 0)])
def test_each_page_of_a_tiff_can_be_asked_for(client, pages, page, area):
    answer = client.post(f"/v1/segment?page={page}", content=pages, headers={"Content-Type": "image/tiff"}).json()
    Segmentation.model_validate(answer)
    assert (answer["page"], answer["num_pages"], answer["area_px"]) == (page, 3, area)


def test_a_tiff_of_several_pages_says_how_it_is_asked_for(client, pages):
    tiff = {"Content-Type": "image/tiff"}
    told = problem(client.post("/v1/segment", content=pages, headers=tiff), 400)
    assert told["detail"] == "it holds 3 pages; ask for one at a time: page=1 to page=3"
    assert problem(client.post("/v1/segment?page=4", content=pages, headers=tiff), 404)["title"] == "No such page"
    problem(client.post("/v1/segment?page=0", content=pages, headers=tiff), 422)


def test_another_file_has_one_page(client):
    answer = segment(client, SMALL, page=1).json()
    assert (answer["page"], answer["num_pages"]) == (1, 1)
    problem(segment(client, SMALL, page=2), 404)


def test_a_photo_with_further_pictures_is_its_first_one_and_says_so(client):
    buffer = io.BytesIO()
    first = Image.fromarray(picture())
    first.save(buffer, "MPO", save_all=True, append_images=[first.resize((20, 20))])
    answer = client.post("/v1/segment", content=buffer.getvalue(), headers={"Content-Type": "image/jpeg"}).json()
    assert answer["image"] == {"height": 40, "width": 60}
    assert answer["note"] == "holds 2 pictures; the first one was read"


def test_a_text_field_is_no_file(client):
    head = b'--b\r\nContent-Disposition: form-data; name="image"%s\r\n\r\n'
    form, headers = png(SMALL) + b"\r\n--b--\r\n", {"Content-Type": "multipart/form-data; boundary=b"}
    told = problem(client.post("/v1/segment", content=head % b"" + form, headers=headers), 422)
    assert told["detail"] == "the field 'image' holds text; expected a file with a filename"
    for name in (b'; filename="x"', b"; filename*=UTF-8''x", b"; FileName=x"):
        assert client.post("/v1/segment", content=head % name + form, headers=headers).status_code == 200


def test_picture_is_the_image_as_it_was_read(client):
    assert "picture" not in segment(client, SMALL).json()
    np.testing.assert_array_equal(pixels(segment(client, SMALL, picture=True).json()["picture"]), SMALL)


def test_overlay_is_the_mask_on_the_image(client):
    answer = segment(client, SMALL, overlay=True).json()
    mask = SMALL[..., 0] > 0
    expected = contour(overlay(SMALL, mask, opacity=0.4), mask, width_px=line_width_px(mask.shape))
    np.testing.assert_array_equal(pixels(answer["overlay"]), expected)


def test_attention_comes_by_level_at_the_own_size(client):
    fine, coarse = segment(client, SMALL, attention=True).json()["attention"]
    assert (fine["level"], coarse["level"]) == (1, 2)
    np.testing.assert_array_equal(pixels(fine), SMALL[..., 1])
    assert pixels(coarse).shape == (16, 16)
    assert pixels(coarse).max() == 51


def test_gate_to_look_at_first_is_the_one_that_agrees_best_with_the_mask(client):
    # Attention 1 is the image's green, attention 2 its blue. Green is 255 on the polyp and blue everywhere 100, or the
    # other way round. Without a polyp it is the middle one of two, the finer.
    polyp = np.zeros((16, 16), bool)
    polyp[4:8, 4:12] = True
    for channel, other, expected in ((1, 2, 1), (2, 1, 2)):
        image = np.zeros((16, 16, 3), np.uint8)
        image[polyp, 0] = image[polyp, channel] = 255
        image[..., other] = 100
        assert segment(client, image, attention=True).json()["attention_level"] == expected
    image[..., 0] = 0
    assert segment(client, image, attention=True).json()["attention_level"] == 1
    assert segment(client, image).json().get("attention_level") is None


@pytest.mark.parametrize(
    ("query", "area"),
    [({"threshold": 0.8}, 40), ({"threshold": 0.81}, 0), ({"min_area": 40}, 40), ({"min_area": 41}, 0)],
)
def test_threshold_and_min_area_act(client, query, area):
    assert segment(client, SMALL, **query).json()["area_px"] == area


def test_tta_acts(red_model):
    # A model that sees red in its left half only: of the four mirror images two show it there, so each half gets 0.4.
    from serve.models import GatedEngine

    class LeftOnly(GatedEngine):
        def run(self, batch):
            return batch[..., :1] * (np.arange(SIZE) < SIZE // 2)[:, np.newaxis].astype(np.float32)

    image = picture(SIZE, SIZE, (0, 0, SIZE, SIZE), (204, 0, 0))
    with serving(engine=LeftOnly()) as client:
        assert segment(client, image, threshold=0.5).json()["area_percent"] == 50
        assert segment(client, image, threshold=0.5, tta="flips").json()["area_percent"] == 0
        assert segment(client, image, threshold=0.39, tta="flips").json()["area_percent"] == 100


def test_a_photo_is_turned_upright(client):
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    Image.fromarray(picture(30, 50)).save(buffer, "JPEG", exif=exif)
    answer = client.post("/v1/segment", content=buffer.getvalue(), headers={"Content-Type": "image/jpeg"})
    assert answer.json()["image"] == {"height": 50, "width": 30}


@pytest.mark.parametrize("name", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_formats(client, name):
    answer = client.post("/v1/segment", content=png(picture(), name), headers={"Content-Type": "image/x"})
    assert answer.json()["image"] == {"height": 40, "width": 60}


@pytest.mark.parametrize(
    "content", [b"no image", png(picture())[:100], png(picture(), "GIF"), b"%!PS-Adobe-3.0\n", b"<svg/>", b"\x00" * 99]
)
def test_no_image_is_400(client, content):
    problem(client.post("/v1/segment", content=content, headers=PNG), 400)


def test_no_body_is_400(client):
    assert problem(client.post("/v1/segment", headers=PNG), 400)["title"] == "Empty"


@pytest.mark.parametrize("size", [(5001, 5000), (100_000, 100_000), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_413_from_its_header(client, size):
    problem(client.post("/v1/segment", content=png_header(*size), headers=PNG), 413)


def test_as_many_pixels_as_allowed_are_taken(red_model):
    with serving(red_model, max_image_pixels=2400) as client:
        assert segment(client, picture(40, 60)).status_code == 200
        told = problem(segment(client, picture(40, 61)), 413)
    assert told["detail"] == "40x61 pixels; at most 2,400 are taken: make it smaller"


def test_as_many_bytes_as_allowed_are_taken(red_model):
    image = png(picture())
    with serving(red_model, max_image_bytes=len(image)) as client:
        assert client.post("/v1/segment", content=image, headers=PNG).status_code == 200
        assert client.post("/v1/segment", files={"image": image}).status_code == 200
        problem(client.post("/v1/segment", content=image + b"x", headers=PNG), 413)
        problem(client.post("/v1/segment", files={"image": image + b"x"}), 413)
        much = image * 5000  # more than a form may hold beside the image: refused by the length, or while it comes
        for content in (much, iter([much])):
            told = problem(client.post("/v1/segment", content=content, headers=PNG), 413)
            assert told["detail"] == f"at most {len(image):,} bytes are taken"


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "video/mp4", "application/x-www-form-urlencoded"])
def test_another_type_is_415(client, kind):
    problem(client.post("/v1/segment", content=png(picture()), headers={"Content-Type": kind}), 415)
    problem(client.post("/v1/segment", files={"image": ("x", png(picture()), kind)}), 415)


@pytest.mark.parametrize(
    "query",
    [
        {"threshold": 1.1},
        {"threshold": "nan"},
        {"threshold": "high"},
        {"tta": "rotate"},
        {"min_area": -1},
        {"min_area": 10**30},
        {"format": "gif"},
        {"overlay": "perhaps"},
        {"treshold": 0.5},
        {"format": "png", "overlay": True},
        {"format": "png", "picture": True},
        {"format": "png", "attention": True},
        {"format": "png", "probability": True},
    ],
)
def test_a_parameter_that_does_not_fit_is_422(client, query):
    problem(segment(client, SMALL, **query), 422)


def test_attention_of_a_model_without_gates_is_422(tmp_path):
    with serving(write_red_model(tmp_path / "plain.onnx", attention=False)) as client:
        assert "gives no attention" in problem(segment(client, SMALL, attention=True), 422)["detail"]
        assert segment(client, SMALL).status_code == 200


def test_batch_answers_in_order_with_problems_in_place(client):
    files = [("images", png(SMALL)), ("images", b"bad"), ("images", png(picture(30, 20, (0, 0, 1, 1))))]
    answer = client.post("/v1/segment/batch?threshold=0.25", files=files)
    SegmentationBatch.model_validate(answer.json())
    first, bad, last = answer.json()["results"]
    assert (first["area_px"], first["threshold"]) == (40, 0.25)
    assert (bad["status"], bad["title"]) == (400, "Not an image that can be read")
    assert last["image"] == {"height": 30, "width": 20}


def test_batch_is_bounded(red_model):
    with serving(red_model, max_images=2, max_image_bytes=1000) as client:
        files = [("images", png(SMALL))] * 2
        assert len(client.post("/v1/segment/batch", files=files).json()["results"]) == 2
        problem(client.post("/v1/segment/batch", files=files * 2), 413)
        large = client.post("/v1/segment/batch", files=[("images", b"x" * 1001), *files[:1]]).json()["results"]
        assert [one.get("status", "good") for one in large] == [413, "good"]


def test_other_fields_are_422(client):
    assert "'image'" in problem(client.post("/v1/segment", files={"images": png(SMALL)}), 422)["detail"]
    two = [("image", png(SMALL))] * 2
    assert "send several as a batch" in problem(client.post("/v1/segment", files=two), 422)["detail"]
    problem(client.post("/v1/segment/batch", files={"image": png(SMALL)}), 422)


def test_models_tell_of_the_served_one(client):
    answer = client.get("/v1/models").json()
    [model] = ServedModels.model_validate(answer).models
    assert (model.name, model.size, model.attention_levels, model.threshold) == ("red", 16, [1, 2], 0.5)


def test_several_engines_give_the_same(red_model, client):
    image = picture(50, 70, (11, 13, 30, 20))
    with serving(red_model, num_engines=2) as double:
        assert len(set(double.service._engines)) == 2
        assert [segment(double, image).json()["mask"] for _ in range(4)] == [segment(client, image).json()["mask"]] * 4


def test_health_and_metrics(client):
    assert client.get("/healthz").json() == client.get("/readyz").json() == {"status": "ok"}
    assert client.head("/healthz").status_code == client.head("/readyz").status_code == 200  # monitors ask so

    def answered():
        text = client.get("/metrics").text
        found = re.search(r'^polypseg_requests_total\{route="/v1/segment",status="200"\} (\S+)', text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    before = answered()
    segment(client, SMALL)
    assert wait_until(lambda: answered() > before)  # a request is counted after its answer
    assert answered() == before + 1
    assert wait_until(lambda: "polypseg_images_accepted 0.0" in client.get("/metrics").text)
    text = client.get("/metrics").text
    assert "polypseg_run_seconds_count" in text
    assert "polypseg_batch_images_bucket" in text


def test_unknown_paths_and_methods_are_problems(client):
    problem(client.get("/v1/nothing"), 404)
    problem(client.get("/v1/segment"), 405)
    problem(client.get("/v1/jobs/../../etc/passwd"), 404)
    problem(client.get("/v1/jobs/%2e%2e%2f%2e%2e%2fetc"), 404)


def test_a_wrong_method_is_told_the_right_ones(client):
    assert client.post("/v1/jobs/x").headers["allow"] == "DELETE, GET"
    assert client.get("/v1/segment").headers["allow"] == "POST"
    assert client.post("/healthz").headers["allow"] == "GET, HEAD"


def test_documentation_has_the_policy_of_the_page(client):
    answer, page = client.get("/docs"), client.get("/")
    for name in ("content-security-policy", "cross-origin-opener-policy", "permissions-policy"):
        assert answer.headers[name] == page.headers[name]
    assert not re.search(r"<style|<script|style=|\son\w+=", answer.text)
    for path in re.findall(r'(?:href|src)="([^"#]+)"', answer.text):
        assert client.get(path if path.startswith("/") else f"/{path}").status_code == 200


def test_documentation_names_every_route_and_fetches_nothing(client):
    document, page = client.get("/openapi.json").json(), client.get("/docs").text
    assert {"/v1/segment", "/v1/segment/batch", "/v1/video", "/v1/jobs/{job_id}", "/metrics"} <= set(document["paths"])
    for path in document["paths"]:
        assert path in page
    assert not re.search(r"(src|href)=[\"']?(https?:)?//|@import|url\(", page)
    assert set(document["components"]["schemas"]) >= {"Problem", "Segmentation", Job.__name__}
    used = set(re.findall(r"#/components/schemas/(\w+)", client.get("/openapi.json").text))
    assert used <= set(document["components"]["schemas"])
