"""Uploads without what tells the patient."""

import base64
import io

import numpy as np
from PIL import Image

from .running import png, serving


def test_uploads_are_anonymised(red_model):
    """A name is burnt into the surround of a picture: nothing of it reaches the answer."""
    image = np.zeros((200, 300, 3), np.uint8)
    texture = np.random.default_rng(0).integers(60, 200, (140, 180, 3), np.uint8)
    image[40:180, 60:240] = texture
    image[4:14, 4:80] = 255  # a panel in the corner
    with serving(red_model) as plain, serving(red_model, anonymise=True) as client:
        before, after = (
            one.post("/v1/segment", content=png(image), params={"overlay": True, "probability": True}).json()
            for one in (plain, client)
        )
        blank = client.post("/v1/segment", content=png(np.full((64, 64, 3), 2, np.uint8)))
    assert "anonymised" not in before["note"]
    assert after["note"].startswith("anonymised: ")
    assert before["image"] == after["image"]
    shown = {name: overlay(answer) for name, answer in (("before", before), ("after", after))}
    assert shown["before"][4:14, 4:80].max() == 255
    assert shown["after"][4:14, 4:80].max() == 0
    assert shown["after"][100, 150].max() > 30
    assert blank.status_code == 422
    assert blank.json()["title"] == "Nothing to show"


def overlay(answer):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["overlay"]["png"]))).convert("RGB"))
