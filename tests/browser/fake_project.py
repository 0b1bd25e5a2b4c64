"""A project's routes, in memory, as the page expects them; faults are put in by the test."""

import io
import json
from datetime import UTC, datetime

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from PIL import Image

OPEN, LOOKED_AT = ("new", "proposed"), ("corrected", "accepted", "no-polyp", "rejected")


def grey(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return Response(buffer.getvalue(), media_type="image/png")


class FakeProject:
    """Frames of red blobs; the proposal is where red is at least 128, the probability is red.

    Attributes:
        masks: What was saved, by id: bool arrays.
        saves: Each save that was accepted: (id, state, labeller, whether a mask came with it).
        fail: Answer so many saves with 503.
        refusal: Answer saves with 409 and these words, which tell of no other save.
        others: Ids that somebody else saves just before the next save.
        training: What `GET /project/retrain` answers.
    """

    def __init__(self, images, doubts=None):
        self.images = {f"frame-{index}": image for index, image in enumerate(images)}
        self.records = {
            name: {
                "id": name,
                "name": f"{name}.png",
                "state": "proposed",
                "width": image.shape[1],
                "height": image.shape[0],
                "doubt": doubts[index] if doubts else None,
                "group": "patient 1",
                "labeller": "",
                "changed": None,
                "revision": 0,
            }
            for index, (name, image) in enumerate(self.images.items())
        }
        self.masks, self.saves, self.histories = {}, [], {name: [] for name in self.images}
        self.fail, self.others, self.refusal = 0, set(), ""
        self.training = {"status": "idle", "epoch": 0, "epochs": 0, "seconds": 0, "message": "", "comparison": None}
        self.training["better"] = False
        self.asked, self.models = [], []

    def proposal(self, name):
        return self.images[name][..., 0] >= 128

    def save(self, name, state, labeller, mask):
        record = self.records[name]
        if mask is not None:
            self.masks[name] = mask
        elif state == "no-polyp":
            self.masks[name] = np.zeros_like(self.proposal(name))
        elif state == "accepted":
            self.masks[name] = self.proposal(name)
        time = datetime.now(UTC).isoformat()
        record.update(state=state, labeller=labeller, revision=record["revision"] + 1, changed=time)
        self.histories[name].append(
            {"time": time, "labeller": labeller, "state": state, "revision": record["revision"], "from": "proposal"}
        )
        return record

    def extend(self, app):
        """Adds the routes to an application."""
        router = APIRouter()

        @router.get("/project")
        async def project():
            states = [record["state"] for record in self.records.values()]
            counts = {state: states.count(state) for state in (*OPEN, *LOOKED_AT)}
            facts = {"name": "colon", "folder": "/somewhere/colon", "model": "red", "frames": len(states)}
            return facts | {"states": counts, "labellers": ["Ada"], "reference": False, "previous_model": None}

        @router.get("/project/frames")
        async def frames(request: Request):
            self.asked.append(dict(request.query_params))
            state, order = request.query_params.get("state"), request.query_params.get("order")
            found = [record for record in self.records.values() if state in (None, record["state"])]
            if order == "useful":
                found.sort(key=lambda record: -(record["doubt"] or 0))
            return {"frames": found}

        @router.get("/project/frames/{name}/image")
        async def image(name: str):
            return grey(self.images[name])

        @router.get("/project/frames/{name}/proposal")
        async def proposal(name: str):
            return grey(255 * self.proposal(name).astype(np.uint8))

        @router.get("/project/frames/{name}/probability")
        async def probability(name: str):
            return grey(np.ascontiguousarray(self.images[name][..., 0]))

        @router.get("/project/frames/{name}/mask")
        async def mask(name: str):
            if name not in self.masks:
                return problem(404, "No mask", "nobody saved one")
            return grey(255 * self.masks[name].astype(np.uint8))

        @router.put("/project/frames/{name}/mask")
        async def put_mask(request: Request, name: str, state: str, labeller: str, revision: int):
            body = await request.body()
            if self.fail:
                self.fail -= 1
                return problem(503, "The disk is full", "free some space")
            if self.refusal:
                return problem(409, "The project does not allow it", self.refusal)
            if name in self.others:
                self.others.remove(name)
                self.save(name, "corrected", "Bert", np.ones_like(self.proposal(name)))
            if revision != self.records[name]["revision"]:
                return problem(409, "Saved by somebody else", "the frame was saved meanwhile")
            pixels = np.asarray(Image.open(io.BytesIO(body))) if body else None
            if pixels is not None:
                assert set(np.unique(pixels)) <= {0, 255}
                if pixels.shape != self.proposal(name).shape:
                    return problem(422, "Another size", "the mask has another size than the image")
            self.saves.append((name, state, labeller, pixels is not None))
            return self.save(name, state, labeller, None if pixels is None else pixels > 127)

        @router.get("/project/frames/{name}/history")
        async def history(name: str):
            return self.histories[name]

        @router.post("/project/retrain")
        async def start():
            self.training |= {"status": "training", "epoch": 1, "epochs": 4, "seconds": 3}
            return JSONResponse({"status": "training"}, 202)

        @router.delete("/project/retrain")
        async def cancel():
            self.training |= {"status": "cancelled"}
            return self.training

        @router.get("/project/retrain")
        async def retrain():
            return self.training

        @router.post("/project/model")
        async def model(use: str):
            self.models.append(use)
            self.training |= {"status": "done" if use == "new" else "waiting"}
            return {"model": use}

        @router.get("/project/export")
        async def export():
            return Response(b"PK", media_type="application/zip", headers={"Content-Disposition": "attachment"})

        app.include_router(router)


def problem(status, title, detail):
    return Response(json.dumps({"title": title, "status": status, "detail": detail}), status, {}, "application/json")
