"""Errors as a client sees them: problem documents (RFC 9457), without a path or a stack.

Decisions:
- What polypseg raises on purpose is told in its own words; whatever else happens is a 500 that says nothing of it, and
  the log gets the name of the exception's class.
- An image's name is never known here, so that no message can hold one.
"""

import logging
from collections.abc import Sequence
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

from polypseg.errors import (
    ConflictError,
    CorrectionError,
    DataError,
    ModelRunError,
    PolypsegError,
    ProjectError,
    RequestError,
)
from polypseg.serve.schemas import Problem

MEDIA_TYPE = "application/problem+json"
CLIENT_GONE = 499
"""Recorded where a client left before its answer; nobody receives it."""

logger = logging.getLogger("polypseg.serve")


def problem_of(error: Exception) -> Problem:
    """The document that tells of an error."""
    if isinstance(error, RequestError):
        return Problem(title=error.title, status=error.status, detail=str(error))
    if isinstance(error, RequestValidationError):
        return Problem(title="A parameter does not fit", status=422, detail=_validation_detail(error))
    if isinstance(error, ConflictError):
        return Problem(title="Somebody else saved", status=409, detail=str(error))
    if isinstance(error, CorrectionError):
        return Problem(title="The mask does not fit", status=422, detail=str(error))
    if isinstance(error, ProjectError):
        if isinstance(error.__cause__, OSError):
            return Problem(title="The project cannot be read or written", status=507, detail=str(error))
        return Problem(title="The project does not allow it", status=409, detail=str(error))
    if isinstance(error, DataError):
        return Problem(title="Not an image that can be read", status=400, detail=str(error))
    if isinstance(error, PolypsegError) and not isinstance(error, ModelRunError):
        return Problem(title="The request does not fit", status=422, detail=str(error))
    if isinstance(error, HTTPException):
        phrase = HTTPStatus(error.status_code).phrase
        return Problem(title=phrase, status=error.status_code, detail=str(error.detail))
    logger.error("internal error: %s", type(error.__cause__ or error).__name__)
    return Problem(title="Internal error", status=500, detail="the server failed; this is a fault of its own")


def problem_response(error: Exception) -> Response:
    """The answer that tells of an error."""
    problem = problem_of(error)
    headers = dict(getattr(error, "headers", None) or {})
    if isinstance(error, RequestError) and error.retry_seconds is not None:
        headers["Retry-After"] = str(error.retry_seconds)
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(problem.model_dump_json(), problem.status, headers, MEDIA_TYPE)


def tell_problems(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Let the application answer every error with a problem document.

    Args:
        app: The application.
        routes: Its routes; they say which methods a path has.
    """

    async def told(request: Request, error: Exception) -> Response:
        response = problem_response(error)
        if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (allowed := _methods(request, routes)):
            response.headers["Allow"] = ", ".join(allowed)  # Starlette names those of the first route that fits
        return response

    async def left(request: Request, error: Exception) -> Response:
        return Response(status_code=CLIENT_GONE)

    for kind in (PolypsegError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, told)
    app.add_exception_handler(ClientDisconnect, left)


def _methods(request: Request, routes: Sequence[BaseRoute]) -> list[str]:
    """The methods of a request's path."""
    fitting = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in fitting for method in getattr(route, "methods", None) or ()})


def _validation_detail(error: RequestValidationError) -> str:
    faults = [f"{'.'.join(str(part) for part in fault['loc'][1:])}: {fault['msg']}" for fault in error.errors()]
    return "; ".join(faults)[:1000]
