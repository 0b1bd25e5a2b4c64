"""Whatever is sent, the server answers for it and lives: no 5xx, no path, no stack."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from serve.models import write_red_model
from serve.running import picture, png, serving

LEAK = re.compile(r"Traceback|\.py\b|0x[0-9a-f]{6}|/(home|root|tmp|usr|work)/")
# Pillow warns of odd tags in damaged files; the command line shows none of that.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning:PIL")]

KINDS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")


def damaged(rng, content):
    """The bytes of a file with a few of them changed, cut off, doubled or moved."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(0, max(1, len(data))))
        way = rng.integers(0, 5)
        if way == 0:
            data[at : at + 1] = bytes([rng.integers(0, 256)])
        elif way == 1:
            data[at : at + 4] = rng.integers(0, 256, 4, np.uint8).tobytes()
        elif way == 2:
            data[at : at + 4] = b"\xff\xff\xff\xff"
        elif way == 3:
            del data[at:]
        else:
            data[at:at] = data[: int(rng.integers(1, 64))]
    return bytes(data)


def sources():
    image = picture(48, 64)
    files = [png(image, kind) for kind in KINDS]
    for mode in ("L", "P", "CMYK", "I;16", "1", "LA", "RGBA"):
        buffer = io.BytesIO()
        pillow = Image.fromarray(image).convert("RGB" if mode == "I;16" else mode)
        if mode == "I;16":
            pillow = Image.fromarray(np.full((48, 64), 40_000, np.uint16))
        pillow.save(buffer, "TIFF")
        files.append(buffer.getvalue())
    return files


@pytest.mark.parametrize("seed", range(2))
def test_damaged_images_never_fail_the_server(client, seed):
    rng, files, statuses = np.random.default_rng(seed), sources(), set()
    for number in range(300):
        content = damaged(rng, files[number % len(files)])
        answer = client.post("/v1/segment", content=content, headers={"Content-Type": "image/png"})
        assert answer.status_code in (200, 400, 413), (seed, number, answer.text)
        assert not LEAK.search(answer.text), (seed, number, answer.text)
        statuses.add(answer.status_code)
    assert {200, 400} <= statuses
    assert client.get("/readyz").status_code == 200


def test_damaged_forms_never_fail_the_server(client):
    rng, image = np.random.default_rng(0), png(picture())
    head = b'--b\r\nContent-Disposition: form-data; name="images"; filename="x"\r\nContent-Type: image/png\r\n\r\n'
    form = head + image + b"\r\n" + head + image + b"\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    for number in range(300):
        answer = client.post("/v1/segment/batch", content=damaged(rng, form), headers=headers)
        assert answer.status_code in (200, 400, 413, 415, 422), (number, answer.text)
        assert not LEAK.search(answer.text)
    assert client.get("/readyz").status_code == 200


def test_damaged_videos_never_fail_the_server(client):
    pytest.importorskip("av")
    from serve.films import finished, video

    rng, content, states = np.random.default_rng(0), video(6), set()
    for number in range(60):
        answer = client.post("/v1/video", content=damaged(rng, content), headers={"Content-Type": "video/mp4"})
        assert answer.status_code in (202, 400), (number, answer.text)
        if answer.status_code == 202:
            told = finished(client, answer.json()["id"])
            assert told["error"] is None or told["error"]["status"] in (400, 413, 422), (number, told)
            assert not LEAK.search(str(told))
            states.add(told["state"])
    assert states == {"done", "failed"}


# What a schema cannot say: whether bytes are an image or a video (400), and which parameters go together (422). That
# too many images are 413 and not 422 is the contract's word.
EXPECTED = {
    "positive_data_acceptance": {"expected-statuses": ["2xx", 400, 404, 422, 429]},
    "negative_data_rejection": {"expected-statuses": [400, 404, 405, 413, 415, 422, 429]},
}
NOT_TOGETHER = "overlay, attention, probability and picture are parts of JSON"


def validate(case, answer):
    """All of schemathesis' checks; a wrong form field without a value is not sent at all, and not refused therefore."""
    from schemathesis.core.failures import FailureGroup

    try:
        case.validate_response(answer)
    except FailureGroup as group:
        if [error for error in group.exceptions if "body - violates `additionalProperties`" not in str(error)]:
            raise


def call_many(operation, mode, is_positive):
    from hypothesis import HealthCheck, Phase, given, settings

    @settings(
        max_examples=40,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case):
        answer = case.call()
        assert answer.status_code < 500, (case.as_curl_command(), answer.text)
        assert not LEAK.search(answer.content.decode("latin-1"))
        validate(case, answer)
        if is_positive and answer.status_code == 422:
            assert NOT_TOGETHER in answer.text

    check()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_what_the_openapi_document_allows_and_forbids_is_what_the_server_does(tmp_path):
    schemathesis = pytest.importorskip("schemathesis")
    positive, negative = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
    model = write_red_model(tmp_path / "red.onnx")
    with serving(model, job_seconds=5) as client:
        config, seen = schemathesis.Config.from_dict({"checks": EXPECTED}), set()
        document = schemathesis.openapi.from_url(str(client.base_url.join("/openapi.json")), config=config)
        for found in document.get_all_operations():
            operation = found.ok()
            call_many(operation, positive, True)
            if operation.method == "post":  # a GET without parameters has no wrong call
                call_many(operation, negative, False)
            seen.add(f"{operation.method} {operation.path}")
        assert seen >= {"post /v1/segment", "post /v1/video", "delete /v1/jobs/{job_id}"}
        options = client.options("/v1/jobs/x")
        assert (options.status_code, options.headers["allow"]) == (405, "DELETE, GET")
        assert client.get("/readyz").status_code == 200
