"""The application and its routes; docs/reference/api.md is the contract."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Coroutine
from threading import Event
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect

from polypseg import __version__
from polypseg.errors import DataError, RequestError
from polypseg.predict.predictor import Predictor
from polypseg.serve import openapi
from polypseg.serve.guard import Guard
from polypseg.serve.jobs import JobRecord
from polypseg.serve.label_studio import router as label_studio_router
from polypseg.serve.negotiation import preferred
from polypseg.serve.page import HEADERS, mount_page
from polypseg.serve.problems import problem_of, tell_problems
from polypseg.serve.project_api import router as project_router
from polypseg.serve.schemas import (
    BatchQuery,
    Health,
    Job,
    JobCreated,
    Segmentation,
    SegmentationBatch,
    SegmentQuery,
    ServedModels,
    VideoFramesQuery,
    VideoQuery,
)
from polypseg.serve.service import Service
from polypseg.serve.settings import Settings
from polypseg.serve.uploads import BodyBounds, MemorySink, Upload, read_files, too_large
from polypseg.serve.video_file import FileSink
from polypseg.serve.video_frames import read_numbers, write_frames

JSON, PNG = "application/json", "image/png"

T = TypeVar("T")
router = APIRouter()


def create_app(settings: Settings, predictor: Predictor | None = None) -> FastAPI:
    """The application around one model, its page included.

    Args:
        settings: The model and the bounds.
        predictor: Instead of the model that the settings name.

    Raises:
        ModelError: The model cannot be opened.
        ProjectError: The project cannot be opened.
        BusyError: Another process works in the project.
    """
    service = Service(settings, predictor)
    routers = [router]
    routers += [project_router] if settings.project is not None else []
    routers += [label_studio_router] if settings.label_studio is not None else []

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="polypseg",
        version=__version__,
        description=openapi.ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.service = service
    for one in routers:
        app.include_router(one)
    tell_problems(app, [route for one in routers for route in one.routes])
    app.add_middleware(Guard, settings=settings, metrics=service.metrics, state=service.drain)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Location", "Retry-After"],
        )
    openapi.install(app, settings)
    mount_page(app)
    return app


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


@router.post("/v1/segment", **openapi.route(Segmentation, file="image", png=True, missing="page"))
async def segment(request: Request, query: Annotated[SegmentQuery, Query()]) -> Response:
    """Segment one image."""
    if query.format is None and preferred(request.headers.get("accept", ""), (JSON, PNG)) == PNG:
        query = query.model_copy(update={"format": "png"})
    if query.format == "png" and (query.overlay or query.attention or query.probability or query.picture):
        words = "overlay, attention, probability and picture are parts of JSON; do not ask for a PNG"
        raise RequestError(422, "Parameters do not fit", words)
    service = _service(request)
    with Upload(service.budget) as upload:
        [image] = await _read_images(request, upload, "image", 1, service.settings.max_image_bytes)
        with service.segmenter.admit(1):
            answer = await _unless_left(request, service.segmenter.segment(image.content(), query))
    return Response(answer.content, media_type=answer.media_type, headers={"Vary": "Accept"})


@router.post("/v1/segment/batch", **openapi.route(SegmentationBatch, file="images", several=True))
async def segment_batch(request: Request, query: Annotated[BatchQuery, Query()]) -> Response:
    """Segment several images."""
    service, whole = _service(request), SegmentQuery(**query.model_dump())

    async def one(image: MemorySink) -> bytes:
        try:
            return (await service.segmenter.segment(image.content(), whole)).content
        except Exception as error:
            return problem_of(error).model_dump_json().encode()

    with Upload(service.budget) as upload:
        limits = service.settings.max_images, service.settings.max_batch_bytes
        images = await _read_images(request, upload, "images", *limits)
        with service.segmenter.admit(len(images)):
            answers = await _unless_left(request, _gather([one(image) for image in images]))
    return Response(b'{"results":[' + b",".join(answers) + b"]}", media_type="application/json")


@router.post("/v1/video", status_code=202, **openapi.route(JobCreated, file="video", status=202))
async def start_video(request: Request, query: Annotated[VideoQuery, Query()]) -> Response:
    """Start a job that predicts a video."""
    jobs = _service(request).jobs
    with jobs.receiving(query) as record:
        await _receive_video(request, record)
        jobs.start(record)
    created = JobCreated(id=record.id, state="queued")
    return Response(created.model_dump_json(), 202, {"Location": f"/v1/jobs/{record.id}"}, "application/json")


@router.post("/v1/video/frames", **openapi.route(None, file="video", missing="frame", media_type="application/zip"))
async def get_video_frames(request: Request, query: Annotated[VideoFramesQuery, Query()]) -> Response:
    """Single frames of a video, as PNG files in a ZIP file."""
    service, stopped = _service(request), Event()
    numbers, settings = read_numbers(query.numbers), service.settings
    with service.jobs.receiving(VideoQuery()) as record:
        await _receive_video(request, record)
        target = record.folder / "frames.zip"
        bounds = numbers, settings.max_image_pixels, stopped, settings.anonymise
        work = asyncio.to_thread(write_frames, record.source, target, *bounds)
        try:
            async with asyncio.timeout(service.settings.video_seconds):
                await _unless_left(request, work)
        except DataError as error:
            words = record.without_paths(str(error))
            raise RequestError(400, "Not a video that can be read", words) from error
        except TimeoutError as error:
            raise RequestError(504, "Out of time", "the frames took too long; ask for earlier ones") from error
        finally:
            stopped.set()
    rest = BackgroundTask(shutil.rmtree, record.folder, ignore_errors=True)
    return FileResponse(target, media_type="application/zip", background=rest)


@router.get("/v1/jobs/{job_id}", **openapi.route(Job, missing="job"))
async def get_job(request: Request, job_id: str) -> Job:
    """Tell how far a job is, and its result."""
    record = _service(request).jobs.find(job_id)
    record.is_fetched = record.is_fetched or record.ended is not None
    return record.describe()


@router.get("/v1/jobs/{job_id}/video", **openapi.route(None, missing="job", media_type="video/mp4"))
async def get_job_video(request: Request, job_id: str) -> Response:
    """The video with the mask drawn; byte ranges are answered."""
    record: JobRecord = _service(request).jobs.find(job_id)
    if record.state != "done" or not record.output.is_file():
        raise RequestError(404, "No video yet", f"the job is {record.state}; its video is there when it is done")
    return FileResponse(record.output, media_type="video/mp4", content_disposition_type="inline")


@router.delete("/v1/jobs/{job_id}", status_code=204, **openapi.route(None, missing="job", status=204))
async def delete_job(request: Request, job_id: str) -> Response:
    """Cancel a job and remove its files."""
    jobs = _service(request).jobs
    jobs.remove(jobs.find(job_id))
    return Response(status_code=204)


@router.get("/v1/models", **openapi.route(ServedModels))
async def models(request: Request) -> ServedModels:
    """Tell which model is served."""
    return ServedModels(models=[_service(request).describe_model()])


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", **openapi.route(Health))
async def healthz() -> Health:
    """Tell that the process answers."""
    return Health()


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", **openapi.route(Health))
async def readyz(request: Request) -> Health:
    """Tell whether work is taken."""
    if not _service(request).is_ready:
        raise RequestError(503, "Not ready", "the server is starting or shutting down", retry_seconds=1)
    return Health()


@router.get("/metrics", **openapi.route(None, media_type="text/plain"))
async def metrics(request: Request) -> Response:
    """What the server counts, in Prometheus' text format."""
    return PlainTextResponse(_service(request).metrics.text(), media_type="text/plain; version=0.0.4")


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """The OpenAPI document for a reader."""
    return HTMLResponse(openapi.page(request.app.openapi()), headers=HEADERS)


async def _read_images(
    request: Request, upload: Upload, field: str, max_images: int, max_bytes: int
) -> list[MemorySink]:
    """The images of a body; what is wrong with one of several is told when its content is asked for."""
    settings, images = _service(request).settings, list[MemorySink]()

    def open_sink() -> MemorySink:
        if len(images) == max_images == 1:
            raise RequestError(422, "Too many files", "expected one image; send several as a batch")
        if len(images) == max_images:
            raise RequestError(413, "Too many images", f"at most {max_images} in one request")
        images.append(MemorySink(settings.max_image_bytes, upload))
        return images[-1]

    bounds = BodyBounds(max_bytes, settings.upload_seconds, settings.idle_seconds)
    await read_files(request, field, "image", open_sink, bounds)
    if len(images) == 1 and images[0].is_too_large:
        raise too_large(settings.max_image_bytes)
    return images


async def _receive_video(request: Request, record: JobRecord) -> None:
    """Write the body's video where the record has its source."""
    service, sinks = _service(request), list[FileSink]()
    settings = service.settings
    bounds = BodyBounds(settings.max_video_bytes, settings.video_upload_seconds, settings.idle_seconds)

    def open_sink() -> FileSink:
        if sinks:
            raise RequestError(422, "Too many files", "expected one video")
        sinks.append(FileSink(record.source, bounds.max_bytes, service.jobs.check_room))
        return sinks[0]

    try:
        await read_files(request, "video", "video", open_sink, bounds)
    finally:
        for sink in sinks:
            sink.close()
    sinks[0].check()


async def _gather(work: list[Coroutine[Any, Any, bytes]]) -> list[bytes]:
    return await asyncio.gather(*work)


async def _unless_left(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The work's result; it is given up when the client leaves, and nothing of it waits for the engine any more then.

    Raises:
        ClientDisconnect: The client left.
    """

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(left())
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.wait((working, watching))
