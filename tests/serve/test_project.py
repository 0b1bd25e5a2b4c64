"""The routes of a project, through a real server; the model's probability is the image's red."""

import csv
import io
import json
import re
import threading
import zipfile

import numpy as np
import pytest
from PIL import Image

from polypseg.annotate.beginning import begin_project
from polypseg.annotate.training import CancelledError, Trained
from polypseg.data.catalogue import find_samples
from polypseg.errors import BusyError, ModelError, ProjectError
from polypseg.records.project import GateComparison, SetComparison
from polypseg.serve import retraining
from polypseg.serve.api import create_app
from polypseg.serve.settings import Settings

from .models import write_red_model
from .running import picture, png, serving, wait_until

BOX = (20, 10, 20, 20)  # x, y, width, height


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("frames")
    for number, red in enumerate((250, 150, 60)):  # surely a polyp, doubtful, none
        (place / f"f{number}.png").write_bytes(png(picture(box=BOX, colour=(red, 90 + 30 * number, 90))))
    begin_project(place, place / "project", "three")
    return place / "project"


@pytest.fixture(scope="module")
def client(folder, red_model):
    with serving(red_model, project=folder) as running:
        assert wait_until(lambda: all(f["doubt"] is not None for f in frames(running)))
        yield running


def frames(client, **query):
    return client.get("/project/frames", params=query).json()["frames"]


def frame(client, name):
    return next(one for one in frames(client) if one["name"] == name)


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def mask_png(mask):
    return png(mask.astype(np.uint8) * 255)


def save(client, name, content=b"", **query):
    one = frame(client, name)
    query = {"state": "corrected", "labeller": "Ann", "revision": one["revision"]} | query
    return client.put(f"/project/frames/{one['id']}/mask", params=query, content=content)


def test_project_tells_of_itself(client, folder):
    facts = client.get("/project").json()
    assert facts["name"] == "three"
    assert facts["model"] == "red 1.0"
    assert facts["frames"] == 3
    assert facts["states"] == {"proposed": 3}
    assert facts["folder"] == str(folder)
    assert facts["reference"] is False
    assert facts["labellers"] == []


def test_frames_are_ordered(client):
    assert [one["name"] for one in frames(client, order="name")] == ["f0", "f1", "f2"]
    # f0: sure (250/255); f1: 150/255 is marked and far from 0.9: its mark is in doubt; f2: 60/255 unmarked, doubt 0.24
    assert next(one["name"] for one in frames(client)) == "f1"
    orders = {tuple(one["name"] for one in frames(client, order="random", seed=seed)) for seed in range(8)}
    assert len(orders) > 1
    assert frames(client, order="random", seed=3) == frames(client, order="random", seed=3)


def test_names_are_ordered_as_numbers_run(red_model, tmp_path):
    for name in ("v2_10", "v2_9", "v10_1", "v2", "b"):
        (tmp_path / f"{name}.png").write_bytes(png(picture()))
    begin_project(tmp_path, tmp_path / "project", "films")
    with serving(red_model, project=tmp_path / "project") as running:
        assert [one["name"] for one in frames(running, order="name")] == ["b", "v2", "v2_9", "v2_10", "v10_1"]


def test_image_proposal_and_probability_are_of_the_frames_size(client):
    one = frame(client, "f1")
    address = f"/project/frames/{one['id']}"
    shown = client.get(f"{address}/image")
    assert shown.headers["content-type"] == "image/png"
    assert np.array_equal(pixels(shown.content), picture(box=BOX, colour=(150, 120, 90)))
    mask = pixels(client.get(f"{address}/proposal").content)
    assert mask.shape == (40, 60) == (one["height"], one["width"])
    assert set(np.unique(mask)) == {0, 255}
    x, y, width, height = BOX
    assert mask[y + height // 2, x + width // 2] == 255
    assert not mask[: y - 3].any()
    probability = pixels(client.get(f"{address}/probability").content)
    assert abs(int(probability[20, 30]) - 150) <= 1


def test_correction_is_saved_pixel_for_pixel(client, folder):
    mask = np.zeros((40, 60), bool)
    mask[5:9, 7:31] = True
    mask[6, 8] = False
    saved = save(client, "f0", mask_png(mask))
    assert saved.status_code == 200
    record = saved.json()
    assert (record["state"], record["revision"], record["labeller"]) == ("corrected", 1, "Ann")
    assert np.array_equal(pixels(client.get(f"/project/frames/{record['id']}/mask").content) > 0, mask)
    assert np.array_equal(pixels((folder / "masks" / "f0.png").read_bytes()) > 0, mask)
    [told] = client.get(f"/project/frames/{record['id']}/history").json()
    assert told["from"].startswith("red 1.0 sha256:")
    assert told["revision"] == 1
    canvas = np.dstack(
        [np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2), np.full(mask.shape, 255, np.uint8)]
    )
    assert save(client, "f0", png(canvas)).json()["revision"] == 2  # as a canvas gives it: RGBA, opaque
    assert np.array_equal(pixels((folder / "masks" / "f0.png").read_bytes()) > 0, mask)
    first = client.get(f"/project/frames/{record['id']}/mask", params={"revision": 1})
    assert np.array_equal(pixels(first.content) > 0, mask)


def test_states_without_a_body(client, folder):
    accepted = save(client, "f1", state="accepted").json()
    address = f"/project/frames/{accepted['id']}"
    assert client.get(f"{address}/mask").content == client.get(f"{address}/proposal").content
    assert save(client, "f2", state="no-polyp").json()["state"] == "no-polyp"
    assert not pixels((folder / "masks" / "f2.png").read_bytes()).any()
    assert {"f1", "f2"} <= {sample.name for sample in find_samples(folder)[0]}
    assert save(client, "f2", state="rejected").json()["state"] == "rejected"
    one = frame(client, "f2")
    told = client.get(f"/project/frames/{one['id']}/history").json()
    assert [(line["state"], line["from"][:15]) for line in told] == [
        ("no-polyp", "red 1.0 sha256:"),
        ("rejected", "red 1.0 sha256:"),
    ]
    assert client.get(f"/project/frames/{one['id']}/mask").status_code == 404
    assert [f["name"] for f in frames(client, state="rejected")] == ["f2"]


def test_second_save_of_one_revision_is_refused(client):
    revision = frame(client, "f1")["revision"]
    assert save(client, "f1", state="accepted", labeller="Ann", revision=revision).status_code == 200
    refused = save(client, "f1", state="no-polyp", labeller="Bo", revision=revision)
    assert refused.status_code == 409
    assert "Ann saved revision" in refused.json()["detail"]
    assert refused.json()["title"] == "Somebody else saved"


@pytest.mark.parametrize(
    ("content", "query", "status", "detail"),
    [
        (lambda: mask_png(np.zeros((60, 40), bool)), {}, 422, "the mask is 60x40 pixels .* its frame 40x60"),
        (lambda: png(np.full((40, 60), 7, np.uint8)), {}, 422, "other values than 0 and 255"),
        (lambda: png(np.full((40, 60, 3), (255, 0, 0), np.uint8)), {}, 422, "colours or transparent"),
        (lambda: png(picture(), "JPEG"), {}, 422, "no PNG, or a damaged one"),
        (lambda: mask_png(np.ones((40, 60), bool))[:60], {}, 422, "damaged"),
        (lambda: b"", {}, 422, "expected a PNG in the body"),
        (lambda: b"", {"state": "finished"}, 422, "state"),
        (lambda: b"", {"state": "accepted", "labeller": "a\nb"}, 422, "labeller"),
        (lambda: mask_png(np.ones((40, 60), bool)), {"state": "no-polyp"}, 422, "expected an empty one"),
    ],
)
def test_saves_that_do_not_fit_change_nothing(client, content, query, status, detail):
    before = frame(client, "f1")
    answer = save(client, "f1", content(), **query)
    assert answer.status_code == status
    assert re.search(detail, answer.json()["detail"])
    assert frame(client, "f1") == before


def test_unknown_frames(client):
    assert client.get("/project/frames/0123456789abcdef/image").status_code == 404
    assert client.put("/project/frames/x/mask", params={"state": "rejected"}).status_code == 404
    assert (
        client.put(
            f"/project/frames/{frame(client, 'f1')['id']}/mask",
            params={"state": "rejected"},
            content=b"x",
            headers={"content-type": "text/html"},
        ).status_code
        == 415
    )


def test_without_a_project_there_are_no_routes(red_model):
    with serving(red_model) as running:
        assert running.get("/project").status_code == 404
        assert running.get("/project/frames").status_code == 404
        assert "/project" not in running.get("/docs").text


def test_project_needs_the_token_and_its_own_page(folder, red_model, tmp_path):
    (tmp_path / "a.png").write_bytes(png(picture()))
    begin_project(tmp_path, tmp_path / "project", "x")
    with serving(red_model, project=tmp_path / "project", token="secret") as running:
        assert running.get("/project").status_code == 401
        running.headers["authorization"] = "Bearer secret"
        one = frame(running, "a")
        answer = running.put(
            f"/project/frames/{one['id']}/mask",
            params={"state": "rejected"},
            headers={"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"},
        )
        assert answer.status_code == 403


def test_two_servers_on_one_project(client, folder, red_model):
    with pytest.raises(BusyError, match="is at work here"):
        create_app(Settings(model=red_model, engine="onnxruntime", project=folder))


def test_image_that_vanishes_is_told(red_model, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(png(picture()))
    begin_project(tmp_path, tmp_path / "project", "x")
    with serving(red_model, project=tmp_path / "project") as running:
        one = frame(running, "b")
        (tmp_path / "b.png").unlink()
        answer = running.get(f"/project/frames/{one['id']}/image")
        assert answer.status_code == 404
        assert answer.json()["detail"] == "b.png: cannot read the file: No such file or directory"
        assert wait_until(lambda: frame(running, "a")["doubt"] is not None)
        assert save(running, "a", state="accepted").status_code == 200


def test_mask_beside_the_image_is_proposed_first(red_model, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(png(picture()))
    mask = np.zeros((40, 60), bool)
    mask[:4, :4] = True
    (tmp_path / "masks" / "a.png").write_bytes(mask_png(mask))
    begin_project(tmp_path, tmp_path / "project", "x")
    with serving(red_model, project=tmp_path / "project") as running:
        one = frame(running, "a")
        assert np.array_equal(pixels(running.get(f"/project/frames/{one['id']}/proposal").content) > 0, mask)
        save(running, "a", state="accepted")
        [told] = running.get(f"/project/frames/{one['id']}/history").json()
        assert told["from"] == "masks"


def test_model_before_is_one_click_away(red_model, tmp_path):
    (tmp_path / "a.png").write_bytes(png(picture(colour=(150, 0, 0))))
    begin_project(tmp_path, tmp_path / "project", "x")
    other = write_red_model(tmp_path / "other.onnx", version="2.0", threshold=0.9)
    with serving(red_model, project=tmp_path / "project") as running:
        one = frame(running, "a")
        assert pixels(running.get(f"/project/frames/{one['id']}/proposal").content).any()  # 150/255 is above 0.5
    with serving(other, project=tmp_path / "project") as running:
        facts = running.get("/project").json()
        assert facts["model"] == "red 2.0"
        assert facts["previous_model"] == str(red_model)
        assert not pixels(running.get(f"/project/frames/{one['id']}/proposal").content).any()
        assert running.post("/project/model", params={"use": "previous"}).json() == {"model": "red 1.0"}
        assert pixels(running.get(f"/project/frames/{one['id']}/proposal").content).any()
        assert running.get("/v1/models").json()["models"][0]["version"] == "1.0"
        shown = running.post("/v1/segment", content=png(picture(colour=(150, 0, 0))), params={"format": "png"})
        assert pixels(shown.content).any()
    with serving(None, project=tmp_path / "project") as running:  # the last one that was served
        assert running.get("/project").json()["model"] == "red 1.0"
    lines = [json.loads(line) for line in (tmp_path / "project" / "models.jsonl").read_text().splitlines()]
    assert [line["reason"] for line in lines] == [
        "opened with it", "named on the command line", "a person went back to it",
    ]  # fmt: skip
    red_model.rename(red_model.with_name("gone.onnx"))
    try:
        with pytest.raises(ModelError, match="the model that the project was served with is gone"):
            create_app(Settings(engine="onnxruntime", project=tmp_path / "project"))
    finally:
        red_model.with_name("gone.onnx").rename(red_model)


@pytest.fixture
def ready(red_model, tmp_path):
    """A server whose project has a labelled frame, and whose trainings end as the test says."""
    (tmp_path / "a.png").write_bytes(png(picture(colour=(150, 0, 0))))
    begin_project(tmp_path, tmp_path / "project", "x")
    with serving(red_model, project=tmp_path / "project") as running:
        save(running, "a", state="accepted")
        yield running


class FakeTraining:
    """Gives a model of another threshold, and a comparison with what the test wants."""

    stage, epochs = "training", 5

    def __init__(self, difference, error=None):
        self.difference, self.error, self.gate = difference, error, threading.Event()

    def __call__(self, folder, start):
        self.folder, self.start = folder, start
        return self

    def epochs_done(self):
        return 3

    def cancel(self):
        self.gate.set()

    def work(self):
        assert self.gate.wait(20)
        if self.error:
            raise self.error
        place = self.folder / "models" / "1"
        place.mkdir(parents=True, exist_ok=True)
        path = write_red_model(place / "model.onnx", version="1.0+x.1", threshold=0.9)
        one = SetComparison(
            frames=4, old=0.8, new=0.8 + self.difference, difference=self.difference, low=-0.1, high=0.2, negatives=0,
            old_marked=0, new_marked=0,
        )  # fmt: skip
        worse = ["on it its mean Dice is lower"] if self.difference < 0 else []
        compared = GateComparison(
            project=one, reference=None, is_worse=bool(worse), reasons=worse, old_digest="", new_digest=""
        )
        return Trained(path, compared, 1.0)


def wait_for(running, status):
    assert wait_until(lambda: running.get("/project/retrain").json()["status"] == status)
    return running.get("/project/retrain").json()


def test_better_model_is_served_without_a_restart(ready, monkeypatch):
    training = FakeTraining(0.05)
    monkeypatch.setattr(retraining, "Training", training)
    begun = ready.post("/project/retrain")
    assert begun.status_code == 202
    assert begun.json() == {"status": "training"}
    told = ready.get("/project/retrain").json()
    assert (told["epoch"], told["epochs"], told["comparison"]) == (3, 5, None)
    assert ready.post("/project/retrain").status_code == 409  # one at a time
    assert training.start.threshold == 0.5
    training.gate.set()
    told = wait_for(ready, "done")
    assert told["better"] is True
    assert told["comparison"]["project"]["difference"] == 0.05
    assert ready.get("/project").json()["model"] == "red 1.0+x.1"
    assert ready.post("/project/model", params={"use": "previous"}).json() == {"model": "red 1.0"}
    assert ready.get("/project/retrain").json()["status"] == "waiting"  # it is not served any more
    assert ready.post("/project/model", params={"use": "new"}).json() == {"model": "red 1.0+x.1"}
    assert ready.get("/project/retrain").json()["status"] == "done"
    for model, status in (("red 1.0", "waiting"), ("red 1.0+x.1", "done")):
        assert ready.post("/project/model", params={"use": "previous"}).json() == {"model": model}
        assert ready.get("/project/retrain").json()["status"] == status


def test_worse_model_waits_for_a_person(ready, monkeypatch):
    training = FakeTraining(-0.05)
    monkeypatch.setattr(retraining, "Training", training)
    ready.post("/project/retrain")
    training.gate.set()
    told = wait_for(ready, "waiting")
    assert told["better"] is False
    assert told["message"] == "the new model is worse: on it its mean Dice is lower"
    assert ready.get("/project").json()["model"] == "red 1.0"
    assert ready.post("/project/model", params={"use": "new"}).json() == {"model": "red 1.0+x.1"}
    assert ready.get("/project/retrain").json()["status"] == "done"


def test_failed_training_says_why_and_changes_nothing(ready, monkeypatch):
    training = FakeTraining(0, ProjectError("polypseg train failed: no room"))
    monkeypatch.setattr(retraining, "Training", training)
    ready.post("/project/retrain")
    training.gate.set()
    assert wait_for(ready, "failed")["message"] == "polypseg train failed: no room"
    assert ready.get("/project").json()["model"] == "red 1.0"


def test_cancelled_training_leaves_the_served_model(ready, monkeypatch):
    refused = ready.delete("/project/retrain")
    assert refused.status_code == 409
    assert refused.json()["title"] == "No training runs"
    training = FakeTraining(0, CancelledError("the training was cancelled"))  # its cancel() opens the gate
    monkeypatch.setattr(retraining, "Training", training)
    ready.post("/project/retrain")
    told = ready.delete("/project/retrain")
    assert told.status_code == 200
    assert (told.json()["status"], told.json()["comparison"]) == ("cancelled", None)
    assert ready.get("/project").json()["model"] == "red 1.0"
    assert ready.post("/project/model", params={"use": "new"}).status_code == 409
    assert ready.delete("/project/retrain").status_code == 409
    again = FakeTraining(0.05)
    again.gate.set()
    monkeypatch.setattr(retraining, "Training", again)
    assert ready.post("/project/retrain").status_code == 202
    wait_for(ready, "done")


def test_cancelling_is_in_the_document(client):
    told = client.get("/openapi.json").json()["paths"]["/project/retrain"]["delete"]["responses"]
    assert {"200", "403", "409"} <= told.keys()


def test_export_is_read_without_us(client, folder):
    save(client, "f0", mask_png(np.ones((40, 60), bool)))
    answer = client.get("/project/export")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.read("images/f0.png") == (folder.parent / "f0.png").read_bytes()
        assert pixels(archive.read("masks/f0.png")).all()
        rows = list(csv.DictReader(io.StringIO(archive.read("frames.csv").decode())))
    row = next(row for row in rows if row["name"] == "f0")
    assert (row["image"], row["mask"], row["state"]) == ("images/f0.png", "masks/f0.png", "corrected")


def test_export_without_labels_is_told(red_model, tmp_path):
    (tmp_path / "a.png").write_bytes(png(picture()))
    begin_project(tmp_path, tmp_path / "project", "x")
    with serving(red_model, project=tmp_path / "project") as running:
        assert "nothing is labelled yet" in running.get("/project/export").json()["detail"]
        told = running.get("/project/retrain").json()
        assert told["status"] == "idle"
        refused = running.post("/project/retrain")
        assert refused.status_code == 409
        assert "no frame of this project is labelled yet" in refused.json()["detail"]
        for use in ("new", "previous"):
            assert running.post("/project/model", params={"use": use}).status_code == 409
