"""The routes of a project of corrections; there only where one is open (docs/reference/api.md)."""

import asyncio
from typing import Annotated

import cv2
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response
from starlette.background import BackgroundTask

from polypseg.annotate.bundle import ZIP_NAME, write_zip
from polypseg.annotate.mask_file import encode_mask
from polypseg.arrays import Image
from polypseg.errors import RequestError
from polypseg.serve import openapi
from polypseg.serve.labelling import Labelling
from polypseg.serve.mask_upload import PNG, read_mask_body
from polypseg.serve.project_schemas import (
    FrameList,
    FrameListQuery,
    FrameRecord,
    LeftOut,
    MaskQuery,
    MaskSaveQuery,
    ModelQuery,
    ModelServed,
    ProjectFacts,
    Retrain,
    RetrainBegun,
    SavedRevision,
)
from polypseg.serve.served_project import ServedProject
from polypseg.serve.service import Service
from polypseg.serve.uploads import Upload

router = APIRouter()


def _served(request: Request) -> ServedProject:
    service: Service = request.app.state.service
    if service.project is None:
        raise RequestError(404, "No project", "no project is open")
    return service.project


def _labelling(request: Request) -> Labelling:
    return _served(request).labelling


@router.get("/project", **openapi.route(ProjectFacts))
async def get_project(request: Request) -> ProjectFacts:
    """Tell of the project."""
    labelling, served = _labelling(request), _served(request)
    project, previous = labelling.project, await asyncio.to_thread(served.models.previous)
    return ProjectFacts(
        name=project.name,
        folder=str(project.folder.resolve()),
        images=str(project.images),
        model=labelling.model,
        previous_model=None if previous is None else previous.model,
        frames=len(project.frames),
        states=dict(project.counts()),
        labellers=project.labellers(),
        reference=labelling.has_reference,
        left_out=[LeftOut(name=fault.name, reason=fault.reason) for fault in project.left_out],
        notes=project.notes,
    )


@router.post("/project/retrain", status_code=202, **openapi.route(RetrainBegun, status=202, changes="training"))
async def start_retraining(request: Request) -> RetrainBegun:
    """Train the model again, with the labelled frames."""
    return RetrainBegun(status=await _served(request).retraining.begin())


@router.get("/project/retrain", **openapi.route(Retrain))
async def get_retraining(request: Request) -> Retrain:
    """Tell how far the training is, and how the models compare."""
    retraining = _served(request).retraining
    return await asyncio.to_thread(retraining.describe)


@router.delete("/project/retrain", **openapi.route(Retrain, changes="training"))
async def cancel_retraining(request: Request) -> Retrain:
    """End the training that runs; the model that is served stays, and the project is as before."""
    retraining = _served(request).retraining
    await retraining.cancel()
    return await asyncio.to_thread(retraining.describe)


@router.post("/project/model", **openapi.route(ModelServed, changes="model"))
async def choose_model(request: Request, query: Annotated[ModelQuery, Query()]) -> ModelServed:
    """Serve the trained model, or the one before."""
    retraining = _served(request).retraining
    await (retraining.use_new() if query.use == "new" else retraining.use_previous())
    return ModelServed(model=_labelling(request).model)


@router.get("/project/export", **openapi.route(None, media_type="application/zip"))
async def export_project(request: Request) -> Response:
    """All labelled frames as a ZIP: images, masks, and frames.csv."""
    labelling = _labelling(request)
    path = await asyncio.to_thread(write_zip, labelling.project)
    name = f'attachment; filename="{ZIP_NAME}"'
    return FileResponse(
        path,
        media_type="application/zip",
        headers={"Content-Disposition": name},
        background=BackgroundTask(path.unlink),
    )


@router.get("/project/frames", **openapi.route(FrameList))
async def list_frames(request: Request, query: Annotated[FrameListQuery, Query()]) -> FrameList:
    """List the frames."""
    return FrameList(frames=await _labelling(request).listed(query))


@router.get("/project/frames/{frame_id}/image", **openapi.route(None, missing="frame", media_type=PNG))
async def get_frame_image(request: Request, frame_id: str) -> Response:
    """A frame, upright, at its own size."""
    labelling = _labelling(request)
    image = await labelling.image(labelling.frame(frame_id))
    return Response(await asyncio.to_thread(_encoded, image), media_type=PNG)


@router.get("/project/frames/{frame_id}/proposal", **openapi.route(None, missing="frame", media_type=PNG))
async def get_frame_proposal(request: Request, frame_id: str) -> Response:
    """The mask that is proposed for a frame, grey 0 and 255."""
    labelling = _labelling(request)
    mask, _ = await labelling.proposed_mask(labelling.frame(frame_id))
    return Response(encode_mask(mask), media_type=PNG)


@router.get("/project/frames/{frame_id}/probability", **openapi.route(None, missing="frame", media_type=PNG))
async def get_frame_probability(request: Request, frame_id: str) -> Response:
    """The model's probability of a frame, times 255."""
    labelling = _labelling(request)
    return Response(await labelling.probability(labelling.frame(frame_id)), media_type=PNG)


@router.get("/project/frames/{frame_id}/mask", **openapi.route(None, missing="mask", media_type=PNG))
async def get_frame_mask(request: Request, frame_id: str, query: Annotated[MaskQuery, Query()]) -> Response:
    """The mask that a person saved, grey 0 and 255."""
    labelling = _labelling(request)
    frame = labelling.frame(frame_id)
    content = await asyncio.to_thread(labelling.project.mask_content, frame, query.revision)
    if content is None:
        raise RequestError(404, "No mask", "nobody saved a mask of this frame, or not in this revision")
    return Response(content, media_type=PNG)


@router.put("/project/frames/{frame_id}/mask", **openapi.route(FrameRecord, file="mask", missing="frame"))
async def save_frame_mask(request: Request, frame_id: str, query: Annotated[MaskSaveQuery, Query()]) -> FrameRecord:
    """Save what a person says of a frame; it is on the disk when the answer comes."""
    labelling, service = _labelling(request), request.app.state.service
    frame = labelling.frame(frame_id)
    with Upload(service.budget) as upload:
        content = await read_mask_body(request, upload, service.settings)
        await labelling.save(frame, query, content)
    return labelling.record(frame)


@router.get("/project/frames/{frame_id}/history", **openapi.route(list[SavedRevision], missing="frame"))  # type: ignore[arg-type]
async def get_frame_history(request: Request, frame_id: str) -> list[SavedRevision]:
    """Who saved a frame when, the oldest first."""
    labelling = _labelling(request)
    lines = labelling.project.history(labelling.frame(frame_id))
    return [
        SavedRevision(time=o.time, labeller=o.labeller, state=o.state, revision=o.revision, proposal=o.proposal)
        for o in lines
    ]


def _encoded(image: Image) -> bytes:
    fast = (cv2.IMWRITE_PNG_COMPRESSION, 1)
    return bytes(cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), fast)[1])
