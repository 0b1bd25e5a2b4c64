"""A machine learning backend of Label Studio: its server asks, the model's masks are the answer, as brushes.

Decisions:
- A task whose image cannot be had or read gets an empty result, and the log tells of it; the others are answered.

Reference:
    https://labelstud.io/guide/ml_create
"""

import asyncio
import logging
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from polypseg.annotate.blanking import blank_frame
from polypseg.arrays import Image
from polypseg.errors import DataError, RequestError
from polypseg.formats.label_studio_predictions import Brush, BrushRegion, brush_of, brush_regions
from polypseg.preprocess import decode_image
from polypseg.serve import openapi
from polypseg.serve.label_studio_images import SECONDS
from polypseg.serve.pipeline import check_header
from polypseg.serve.service import Service

PREFIX = "/label-studio"
MOST_TASKS = 500

logger = logging.getLogger("polypseg.serve")
router = APIRouter(prefix=PREFIX)


class Loose(BaseModel):
    """A part of a request; what Label Studio sends besides is passed over."""

    model_config = ConfigDict(extra="ignore")


class Setup(Loose):
    """What Label Studio says of a project when it is connected."""

    label_config: str = Field("", alias="schema")
    access_token: str | None = None


class Task(Loose):
    """A task to predict."""

    id: int | str | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class Predict(Loose):
    """Tasks to predict."""

    tasks: list[Task] = Field(max_length=MOST_TASKS)
    label_config: str = ""


class Result(BaseModel):
    """What is predicted of a task."""

    model_version: str
    score: float = Field(description="1 less the doubt: the least sure come first where Label Studio sorts by it")
    result: list[BrushRegion]


class Results(BaseModel):
    """What is predicted, a result a task."""

    results: list[Result]
    model_version: str


class ModelVersion(BaseModel):
    """The served model."""

    model_version: str


class BackendHealth(BaseModel):
    """The backend is up."""

    status: str = "UP"
    model_class: str = "polypseg"


class Versions(BaseModel):
    """The versions that can be asked for."""

    versions: list[str]
    message: str = "the served model"


@router.get("/health", **openapi.route(BackendHealth))
async def label_studio_health() -> BackendHealth:
    """Tell Label Studio that the backend is up."""
    return BackendHealth()


@router.post("/setup", **openapi.route(ModelVersion))
async def label_studio_setup(request: Request, setup: Setup) -> ModelVersion:
    """Check the labelling interface of a project."""
    service = _service(request)
    if setup.label_config:
        _brush(setup.label_config)
    if setup.access_token and service.label_studio is not None:
        service.label_studio.given_key = setup.access_token
    return ModelVersion(model_version=_version(service))


@router.get("/versions", **openapi.route(Versions))
async def label_studio_versions(request: Request) -> Versions:
    """Tell Label Studio the served model."""
    return Versions(versions=[_version(_service(request))])


@router.post("/predict", **openapi.route(Results))
async def label_studio_predict(request: Request, asked: Predict) -> Results:
    """Predict the images of tasks, as brushes."""
    service = _service(request)
    brush, version = _brush(asked.label_config), _version(service)
    results = [await _result(service, task, brush, version) for task in asked.tasks]
    return Results(results=results, model_version=version)


async def _result(service: Service, task: Task, brush: Brush, version: str) -> Result:
    source, settings = service.label_studio, service.settings

    def read() -> Image:
        place = task.data.get(brush.key)
        if not isinstance(place, str) or source is None:
            raise DataError(f"the task's data have no address of an image under {brush.key!r}")
        content = source.fetch(place)
        check_header(content, settings.max_image_pixels)
        image = decode_image(content, "image", settings.max_image_pixels)
        return blank_frame(image, blank_text=True).image if settings.anonymise else image

    try:
        prediction = await asyncio.wait_for(service.segmenter.predict(read), SECONDS + settings.request_seconds)
    except (DataError, RequestError, TimeoutError) as error:
        logger.warning("task %s of Label Studio was not predicted: %s", task.id, error)
        return Result(model_version=version, score=0.0, result=[])
    regions = await asyncio.to_thread(brush_regions, prediction.mask, brush)
    return Result(model_version=version, score=round(1 - max(prediction.doubt), 6), result=regions)


def _brush(interface: str) -> Brush:
    try:
        return brush_of(interface)
    except DataError as error:
        raise RequestError(422, "The labelling interface does not fit", str(error)) from error


def _version(service: Service) -> str:
    facts = service.predictor.engine.facts
    return f"{facts.name or 'unnamed'} {facts.version}".strip()


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service
