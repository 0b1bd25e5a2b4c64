"""The body of a save: a PNG, or nothing."""

import asyncio

from starlette.requests import Request

from polypseg.errors import RequestError
from polypseg.serve.settings import Settings
from polypseg.serve.uploads import ANY_TYPE, Body, MemorySink, Upload, too_slow

PNG = "image/png"


async def read_mask_body(request: Request, upload: Upload, settings: Settings) -> bytes:
    """The bytes of a mask; none where the body is empty.

    Args:
        request: Not read yet.
        upload: Counts the bytes while they are needed.
        settings: The bounds of an image.

    Raises:
        RequestError: 408; 413; 415 it is no PNG.
        ClientDisconnect: The client left.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (*ANY_TYPE, PNG):
        raise RequestError(415, "Unsupported type", f"expected {PNG}, or no body")
    sink = MemorySink(settings.max_image_bytes, upload)
    try:
        async with asyncio.timeout(settings.upload_seconds):
            async for chunk in Body(request.receive, settings.idle_seconds).chunks(settings.max_image_bytes):
                sink.write(chunk)
    except TimeoutError as error:
        raise too_slow(f"the body did not come within {settings.upload_seconds:g} seconds") from error
    return sink.content()
