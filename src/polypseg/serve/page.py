"""The web page: a handful of files without a build step, served from memory.

Decisions:
- Written by hand, not with Gradio: docs/how-to/page.md says what was tried and measured.
- The files are read once, when the page is mounted, and asked for by exact name: no path of a request reaches the disk.
- The content security policy allows nothing from elsewhere and nothing inline; pictures and videos may be `blob:`, for
  those that the page itself makes.
- A browser keeps the files but asks each time whether they are still the same (`no-cache` with an entity tag), so that
  a new version of the package shows at once.
"""

import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from polypseg.errors import missing_extra

if TYPE_CHECKING:
    from fastapi import FastAPI

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
"""The only kinds of files that are served, by their ending."""

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
"""What guard.py adds to every answer is not repeated here."""


class PageFile(NamedTuple):
    """One file of the page.

    Attributes:
        content: Its bytes.
        media_type: As `Content-Type` says it.
        tag: Entity tag, quoted: the beginning of the content's SHA-256.
    """

    content: bytes
    media_type: str
    tag: str


def page_files() -> dict[str, PageFile]:
    """The files of the page by their path under `/page/`: `page.css`, `examples/flat.jpg`."""
    folder = files("polypseg") / "web"
    found = {}
    for prefix, place in (("", folder), ("examples/", folder / "examples")):
        for entry in place.iterdir():
            ending = entry.name[entry.name.rfind(".") :] if "." in entry.name else ""
            if entry.is_file() and ending in TYPES:
                content = entry.read_bytes()
                tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
                found[prefix + entry.name] = PageFile(content, TYPES[ending], tag)
    return found


def mount_page(app: "FastAPI") -> None:
    """Adds the page to an application: `GET /` and `GET /page/NAME`, neither in the OpenAPI document.

    Raises:
        MissingExtraError: FastAPI is not installed.
    """
    try:
        from fastapi import HTTPException, Request, Response
    except ModuleNotFoundError as error:
        raise missing_extra("fastapi", "serve") from error
    known = page_files()

    def answer(name: str, request: Request) -> Response:
        file = known.get(name)
        if file is None:
            raise HTTPException(404, "The page has no such file.")
        headers = HEADERS | {"ETag": file.tag}
        asked = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
        if file.tag in asked:
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers, media_type=file.media_type)

    async def index(request: Request) -> Response:
        return answer("index.html", request)

    async def static(request: Request) -> Response:
        return answer(request.path_params["name"], request)

    app.add_route("/", index, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_route("/page/{name:path}", static, methods=["GET", "HEAD"], include_in_schema=False)
