"""The OpenAPI document: what FastAPI cannot see by itself (bodies that are read by hand, problems), and its page."""

from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from jinja2 import Environment, select_autoescape
from pydantic import BaseModel

from polypseg.serve.problems import MEDIA_TYPE
from polypseg.serve.schemas import Problem
from polypseg.serve.settings import Settings

ABOUT = (
    "Finds the pixels of polyps in colonoscopy images and videos. "
    "Not a medical device: for research and education; no output of it may guide the care of a patient."
)

PROBLEMS = {
    400: "Not an image or video that can be read, or a damaged form",
    401: "A token is needed",
    403: "A page of another site sent it",
    404: "No such job, or no more; no such page of a TIFF; no such frame of a video, or frame or mask of a project",
    409: "Somebody else saved the frame meanwhile; or a training runs already, or none",
    408: "The body came too slowly",
    413: "Too many bytes, pixels or images",
    415: "The body or a field is of another type",
    421: "Another host's name",
    422: "A parameter is out of range, unknown or given several times",
    429: "Busy; Retry-After says when to come again",
    503: "Starting or shutting down",
    504: "Out of time",
    507: "The server cannot store the video; the project cannot be read or written",
}
JOB_OPERATIONS, JOB_ID = ("get_job", "get_job_video", "delete_job"), {"job_id": "$response.body#/id"}
"""What can be done with a job that was started, and where its name stands in the answer."""

ALWAYS, WITH_BODY = (401, 421, 422, 503), (400, 403, 408, 413, 415, 429, 504)


def route(
    answer: type[BaseModel] | None,
    file: str = "",
    several: bool = False,
    png: bool = False,
    missing: str = "",
    media_type: str = "application/json",
    status: int = 200,
    changes: str = "",
) -> dict[str, Any]:
    """What a route's decorator needs for its part of the document.

    Args:
        answer: Schema of the JSON answer; None where it is no JSON.
        file: Name of the form's file field, where there is a body.
        several: Whether the field may come several times.
        png: Whether the answer may be a PNG instead.
        missing: What may be missing (404).
        media_type: Of an answer that is no JSON.
        status: Of the answer.
        changes: What of a project it changes without a body: training or model.
    """
    statuses = (
        ALWAYS
        + (WITH_BODY if file else ())
        + ((404,) if missing else ())
        + ((507,) if file in ("video", "mask") else ())
    )
    statuses += (403,) if status == 204 else ()
    statuses += (409,) if file == "mask" else ()
    statuses += (403, 409, 507) if changes else ()
    problem = {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}
    responses: dict[int | str, Any] = {
        code: {"description": PROBLEMS[code], "content": {MEDIA_TYPE: problem}} for code in sorted(statuses)
    }
    good: dict[str, object] = {"description": "Done" if status != 202 else "Accepted"}
    if answer is not None:
        good["model"] = answer
    elif status != 204:
        good["content"] = {media_type: {"schema": {"type": "string"}}}
    if status == 202 and not changes:
        good["links"] = {name: {"operationId": name, "parameters": JOB_ID} for name in JOB_OPERATIONS}
    if png:
        good["content"] = {"image/png": {"schema": {"type": "string", "format": "binary"}}}
    arguments: dict[str, Any] = {"responses": responses | {status: good}}
    if answer is None:
        arguments["response_model"] = None
    if file == "mask":
        binary = {"schema": {"type": "string", "format": "binary"}}
        arguments["openapi_extra"] = {"requestBody": {"content": {"image/png": binary}}}
    elif file:
        arguments["openapi_extra"] = {"requestBody": _body(file, several)}
    return arguments


def _body(file: str, several: bool) -> dict[str, object]:
    binary: dict[str, object] = {"type": "string", "format": "binary"}
    field: dict[str, object] = {"type": "array", "items": binary, "minItems": 1} if several else binary
    form = {"type": "object", "properties": {file: field}, "required": [file], "additionalProperties": False}
    kind = "video" if file == "video" else "image"
    content: dict[str, object] = {
        "multipart/form-data": {"schema": form, "encoding": {file: {"contentType": f"{kind}/*"}}}
    }
    if not several:
        content |= {f"{kind}/*": {"schema": binary}, "application/octet-stream": {"schema": binary}}
    return {"required": True, "content": content}


def install(app: FastAPI, settings: Settings) -> None:
    """Let the application give the document with its last touches: the problem's schema, the token, and a bound."""
    plain = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = plain()
            components = found.setdefault("components", {})
            components.setdefault("schemas", {})[Problem.__name__] = Problem.model_json_schema()
            bodies = found["paths"]["/v1/segment/batch"]["post"]["requestBody"]["content"]
            bodies["multipart/form-data"]["schema"]["properties"]["images"]["maxItems"] = settings.max_images
            if settings.token is not None:
                components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
                found["security"] = [{"token": []}]
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def page(document: dict[str, Any]) -> str:
    """The document as one HTML page that fetches nothing."""
    template = files("polypseg.serve").joinpath("openapi.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=select_autoescape(default=True, default_for_string=True))
    return environment.from_string(template).render(document=document, schemas=document["components"]["schemas"])
