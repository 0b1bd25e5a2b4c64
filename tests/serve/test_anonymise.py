"""Uploads without what tells the patient."""

import base64
import io

import numpy as np
from PIL import Image

from annotate.frames import picture, write

from .running import png, serving


def overlay(answer):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["overlay"]["png"]))).convert("RGB"))


def test_uploads_are_anonymised(red_model):
    """A name is burnt into the surround of a picture: nothing of it reaches the answer."""
    frame, _ = picture()
    named = write(frame, "DOE JANE", (14, 24))
    title_page = write(np.zeros_like(frame), "DOE JANE", (200, 240), 1.0)
    with serving(red_model) as plain, serving(red_model, anonymise=True) as client:
        before, after = (
            one.post("/v1/segment", content=png(named), params={"overlay": True}).json() for one in (plain, client)
        )
        refused = client.post("/v1/segment", content=png(title_page))
    assert "anonymised" not in before["note"]
    assert after["note"].startswith("anonymised: ")
    assert before["image"] == after["image"]
    corner = slice(4, 30), slice(10, 120)
    assert overlay(before)[corner].max() > 200
    assert overlay(after)[corner].max() == 0
    assert overlay(after)[240, 320].max() > 30
    assert refused.status_code == 422
    assert refused.json()["title"] == "Nothing to show"
