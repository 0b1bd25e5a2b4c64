"""The backend's routes, with a small server that gives images as Label Studio does. The real package: scripts/."""

import http.server
import json
import threading

import pytest

from polypseg.formats.label_studio import LABELLING
from polypseg.formats.label_studio_runs import decode

from .running import picture, png, serving


class Images(http.server.BaseHTTPRequestHandler):
    """Gives one image to who has the key; /away leads elsewhere."""

    key, asked = "Token legacy", []

    def do_GET(self):
        Images.asked.append((self.path, self.headers.get("authorization")))
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()
            return
        is_known = self.headers.get("authorization") == self.key and self.path.startswith("/data/upload/1/a%20b.png")
        self.send_response(200 if is_known else 403)
        self.end_headers()
        self.wfile.write(png(picture(colour=(255, 0, 0))) if is_known else b"")

    def do_POST(self):
        sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
        is_known = self.path == "/api/token/refresh" and sent == {"refresh": "a.b.c"}
        self.send_response(200 if is_known else 401)
        self.end_headers()
        self.wfile.write(b'{"access": "short-lived"}')

    def log_message(self, *_):
        pass


@pytest.fixture
def studio():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Images)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    Images.key, Images.asked = "Token legacy", []
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def predict(client, *places, **more):
    tasks = [{"id": number, "data": {"image": place}, "more": 1} for number, place in enumerate(places)]
    return client.post("/label-studio/predict", json={"tasks": tasks, "label_config": LABELLING, **more})


def test_protocol(red_model, studio):
    with serving(red_model, label_studio=studio, label_studio_key="legacy") as client:
        assert client.get("/label-studio/health").json()["status"] == "UP"
        setup = {"project": "1.1", "schema": LABELLING, "hostname": studio, "access_token": "x", "extra_params": {}}
        assert client.post("/label-studio/setup", json=setup).json() == {"model_version": "red 1.0"}
        assert client.get("/label-studio/versions").json()["versions"] == ["red 1.0"]
        answer = predict(client, "/data/upload/1/a b.png").json()
    [result] = answer["results"]
    [region] = result["result"]
    assert (region["from_name"], region["to_name"], region["type"]) == ("brush", "image", "brushlabels")
    alpha = decode(region["value"]["rle"], 40 * 60).reshape(40, 60)
    assert alpha[20, 30] == 255
    assert not alpha[:6].any()
    assert result["model_version"] == "red 1.0"
    assert 0 <= result["score"] <= 1
    assert Images.asked == [("/data/upload/1/a%20b.png", "Token legacy")]


def test_key_of_setup_and_personal_keys(red_model, studio):
    with serving(red_model, label_studio=studio) as client:
        assert predict(client, "/data/upload/1/a b.png").json()["results"][0]["result"] == []  # no key yet
        client.post("/label-studio/setup", json={"schema": LABELLING, "access_token": "legacy"})
        assert predict(client, "/data/upload/1/a b.png").json()["results"][0]["result"]
    Images.key = "Bearer short-lived"
    with serving(red_model, label_studio=studio, label_studio_key="a.b.c") as client:
        assert predict(client, "/data/upload/1/a b.png").json()["results"][0]["result"]


@pytest.mark.parametrize(
    "place", ["http://127.0.0.1:1/x.png", "//127.0.0.1:1/x.png", "/away", "/missing.png", "file:///etc/passwd", 7]
)
def test_images_that_lie_elsewhere_are_not_fetched(red_model, studio, place):
    with serving(red_model, label_studio=studio, label_studio_key="legacy") as client:
        results = predict(client, place, "/data/upload/1/a b.png").json()["results"]
    assert results[0] == {"model_version": "red 1.0", "score": 0.0, "result": []}
    assert results[1]["result"]  # the others are answered


def test_interface_without_a_brush_is_refused(red_model, studio):
    with serving(red_model, label_studio=studio) as client:
        bare = client.post("/label-studio/setup", json={"schema": '<View><Image name="i" value="$image"/></View>'})
        assert bare.status_code == 422
        assert "has no brush for an image" in bare.json()["detail"]
        assert predict(client, label_config="<View>").status_code == 422


def test_token_as_a_password_and_no_routes_without(red_model, studio):
    with serving(red_model, label_studio=studio, token="secret") as client:
        assert client.get("/label-studio/health").status_code == 401
        assert client.get("/label-studio/health", auth=("anybody", "secret")).status_code == 200
        assert client.get("/label-studio/health", auth=("anybody", "wrong")).status_code == 401
        assert client.get("/label-studio/health", headers={"authorization": "Basic !"}).status_code == 401
    with serving(red_model) as client:
        assert client.get("/label-studio/health").status_code == 404
