"""The routes of a project of corrections; there only where one is open (docs/reference/api.md)."""

import asyncio
from typing import Annotated

import cv2
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

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
    ProjectFacts,
    SavedRevision,
)
from polypseg.serve.service import Service
from polypseg.serve.uploads import Upload

router = APIRouter()


def _labelling(request: Request) -> Labelling:
    service: Service = request.app.state.service
    if service.labelling is None:
        raise RequestError(503, "Not ready", "the server is starting or has ended", retry_seconds=1)
    return service.labelling


@router.get("/project", **openapi.route(ProjectFacts))
async def get_project(request: Request) -> ProjectFacts:
    """Tell of the project."""
    labelling = _labelling(request)
    project = labelling.project
    return ProjectFacts(
        name=project.name,
        folder=str(project.folder.resolve()),
        images=str(project.images),
        model=labelling.model,
        previous_model=None,
        frames=len(project.frames),
        states=dict(project.counts()),
        labellers=project.labellers(),
        reference=False,
        left_out=[LeftOut(name=fault.name, reason=fault.reason) for fault in project.left_out],
        notes=project.notes,
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
