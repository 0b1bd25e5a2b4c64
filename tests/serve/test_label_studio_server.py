"""The backend connected to a real Label Studio on the loopback; skipped where that is not installed.

It wants an environment of its own: `uv venv studio && uv pip install --python studio/bin/python label-studio`, then
POLYPSEG_LABEL_STUDIO=studio/bin/label-studio. Its first start takes a minute or more.
"""

import os
import shutil
import socket
import subprocess

import httpx
import numpy as np
import pytest

from polypseg.data.catalogue import find_samples
from polypseg.data.samples import load_sample
from polypseg.formats.label_studio import LABELLING
from polypseg.formats.label_studio_runs import decode

from .running import picture, png, serving, wait_until

PROGRAM = os.environ.get("POLYPSEG_LABEL_STUDIO") or shutil.which("label-studio")
TOKEN = "0123456789abcdef0123456789abcdef01234567"
SETTINGS = {
    "ML_BLOCK_LOCAL_IP": "false",  # no backend on the loopback is taken otherwise (seen with 1.23)
    "SSRF_PROTECTION_ENABLED": "false",  # nor its webhook, which is made with it
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
    "LATEST_VERSION_CHECK": "false",
    "COLLECT_ANALYTICS": "false",
    "SENTRY_DSN": "",
    **{f"ML_TIMEOUT_{step}": "90" for step in ("HEALTH", "SETUP")},  # a busy machine must not fail a test
    "ML_CONNECTION_TIMEOUT": "90",
}

BOX = (20, 10, 20, 20)  # x, y, width, height

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(PROGRAM is None, reason="Label Studio is not installed (POLYPSEG_LABEL_STUDIO=its program)"),
]


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """The address of a Label Studio that was started for it."""
    home = tmp_path_factory.mktemp("studio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--no-browser", "--internal-host", "127.0.0.1", "--port", port, "--data-dir", home]
    user = ["--username", "ann@example.org", "--password", "sesame-street", "--user-token", TOKEN]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, "start", *map(str, words), *user], env=os.environ | SETTINGS, stdout=log, stderr=log
        )
        try:
            address = f"http://127.0.0.1:{port}"
            assert wait_until(lambda: process.poll() is not None or is_up(address), 600)
            assert process.poll() is None, (home / "log").read_text()[-2000:]
            yield address
        finally:
            process.kill()
            process.wait()


def is_up(address):
    try:
        return httpx.get(f"{address}/health", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def told(answer):
    """The JSON of an answer that is no refusal."""
    assert answer.is_success, answer.text
    return answer.json()


def project_with_an_image(client):
    """The numbers of a new project with a red rectangle to label, and of its task."""
    project = told(client.post("/api/projects", json={"title": "polyps", "label_config": LABELLING}))["id"]
    image = png(picture(box=BOX, colour=(255, 0, 0)))
    told(client.post(f"/api/projects/{project}/import", files={"file": ("a b.png", image, "image/png")}))
    [task] = told(client.get("/api/tasks", params={"project": project}))["tasks"]
    return project, task["id"]


def connect(client, project, backend):
    """Connect the backend, as *Settings, Model* does, and ask for predictions of all tasks."""
    model = {"project": project, "url": f"{backend}/label-studio", "title": "polypseg", "is_interactive": False}
    told(client.post("/api/ml", json=model))
    asked = {"selectedItems": {"all": True, "excluded": []}, "project": project}
    where = {"id": "retrieve_tasks_predictions", "project": project}
    told(client.post("/api/dm/actions", params=where, json=asked))


def predictions(client, task):
    return told(client.get("/api/predictions", params={"task": task}))


def check_predicted(client, task):
    """The proposal of the rectangle is there, and can be turned into an annotation."""
    [found] = predictions(client, task)
    [region] = found["result"]
    mask = decode(region["value"]["rle"], 40 * 60).reshape(40, 60) > 0
    x, y, width, height = BOX
    assert mask[y + 2 : y + height - 2, x + 2 : x + width - 2].all()
    assert not mask[: y - 3].any()
    assert found["model_version"] == "red 1.0"
    return region, mask


@pytest.mark.parametrize("key", ["legacy", "personal"])
def test_real_server_is_given_proposals_and_gives_them_back(studio, red_model, tmp_path, key):
    headers = {"Authorization": f"Token {TOKEN}"}
    with httpx.Client(base_url=studio, headers=headers, timeout=120, trust_env=False) as client:
        given = told(client.post("/api/token", json={}))["token"] if key == "personal" else None
        project, task = project_with_an_image(client)
        with serving(red_model, label_studio=studio, label_studio_key=given) as backend:
            connect(client, project, str(backend.base_url))
        region, mask = check_predicted(client, task)
        told(client.post(f"/api/tasks/{task}/annotations", json={"result": [region]}))
        exported = client.get(f"/api/projects/{project}/export", params={"exportType": "JSON"})
        assert exported.is_success
    (tmp_path / "annotations.json").write_bytes(exported.content)
    (tmp_path / "a b.png").write_bytes(png(picture(box=BOX, colour=(255, 0, 0))))
    [sample], faults = find_samples(tmp_path)
    assert faults == []
    assert np.array_equal(load_sample(sample)[1], mask)
