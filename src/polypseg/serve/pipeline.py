"""From the bytes of an image to an answer: three steps, pure functions, each run in a thread.

`prepare` (decode and squeeze), the engine's run (batching.py), `finish` (restore, measure, encode). What comes out is
what `Predictor.predict` gives for the same image; they share preprocess.py, overlay.py and regions.py.
"""

import base64
import io
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from polypseg.arrays import Image, Mask, Probability
from polypseg.errors import DataError, RequestError
from polypseg.overlay import contour, line_width_px, overlay
from polypseg.predict.engines import Engine, Outputs
from polypseg.predict.predictor import without_small
from polypseg.predict.regions import compress_run_lengths, find_regions, run_lengths
from polypseg.preprocess import decode_image, normalise, resize_image, restore
from polypseg.serve.schemas import BatchQuery

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")
"""What is opened at all: Pillow knows others, some of which start programs or unpack without bounds."""

OVERLAY_OPACITY = 0.4
"""As `Prediction.overlay`."""


@dataclass(frozen=True)
class Prepared:
    """An image as the model sees it.

    Attributes:
        shape: Height and width of the image itself.
        batch: Shape (1, size, size, 3), float32 in [0, 1].
        image: The image itself, where an overlay is wanted.
        seconds: That decoding and squeezing took.
    """

    shape: tuple[int, int]
    batch: NDArray[np.float32]
    image: Image | None
    seconds: float


def prepare(content: bytes, size: int, max_pixels: int, keep_image: bool) -> Prepared:
    """The image as the model sees it.

    Raises:
        RequestError: 400 not an image; 413 too many pixels, found before they are decoded.
    """
    began = perf_counter()
    check_header(content, max_pixels)
    try:
        image = decode_image(content, "image", max_pixels)
    except DataError as error:
        raise RequestError(400, "Not an image that can be read", str(error).removeprefix("image: ")) from error
    batch = normalise(resize_image(image, (size, size)))[np.newaxis]
    height, width = image.shape[:2]
    return Prepared((height, width), batch, image if keep_image else None, perf_counter() - began)


def check_header(content: bytes, max_pixels: int) -> None:
    """Nothing, if the header is that of an image within bounds.

    Raises:
        RequestError: 400 or 413.
    """
    try:
        with PillowImage.open(io.BytesIO(content), formats=FORMATS) as opened:
            width, height = opened.size
    except (PillowImage.DecompressionBombError, PillowImage.DecompressionBombWarning) as error:
        raise _too_large(f"more than {PillowImage.MAX_IMAGE_PIXELS:,}", max_pixels) from error
    except UnidentifiedImageError as error:
        raise _no_image("expected JPEG, PNG, TIFF, BMP or WebP; the bytes are none of them, or damaged") from error
    except Exception as error:  # Pillow's readers raise many kinds on damaged headers
        raise _no_image("the header is damaged") from error
    if width * height > max_pixels:
        raise _too_large(f"{height}x{width}", max_pixels)
    if not width * height:
        raise _no_image("it has no pixels")


def _no_image(detail: str) -> RequestError:
    return RequestError(400, "Not an image that can be read", detail)


def _too_large(found: str, max_pixels: int) -> RequestError:
    return RequestError(413, "Too many pixels", f"{found} pixels; at most {max_pixels:,} are taken: make it smaller")


@dataclass(frozen=True)
class Found:
    """What the model says of one image, at the image's own size.

    Attributes:
        probability: Shape (H, W), float32 in [0, 1].
        mask: Shape (H, W), bool.
        attention: By level, shape (h, w), as the gates gave them.
    """

    probability: Probability
    mask: Mask
    attention: dict[int, NDArray[np.float32]]


def find(prepared: Prepared, outputs: Outputs, threshold: float, min_area: int) -> Found:
    """Probability and mask at the image's own size, from the model's answer to a batch of this one image."""
    probability = restore(outputs.probabilities[0, ..., 0], prepared.shape)
    mask = without_small(probability >= threshold, min_area)
    return Found(probability, mask, {level: values[0] for level, values in outputs.attention.items()})


def mask_png(found: Found) -> bytes:
    """The mask as a grey PNG, 0 and 255."""
    return _png(found.mask.astype(np.uint8) * np.uint8(255))


def describe(prepared: Prepared, found: Found, query: BatchQuery, engine: Engine, threshold: float) -> dict[str, Any]:
    """The answer but for `seconds`, as `schemas.Segmentation` has it."""
    height, width = prepared.shape
    regions = find_regions(found.mask, found.probability)
    area = sum(region.area_px for region in regions)
    weighted = sum(region.area_px * region.mean_probability for region in regions)
    pixels = height * width
    answer: dict[str, Any] = {
        "model": served_by(engine),
        "image": {"height": height, "width": width},
        "threshold": threshold,
        "area_px": area,
        "area_percent": _percent(area, pixels),
        "num_components": len(regions),
        "max_probability": _rounded(float(found.probability.max())),
        "mean_probability": _rounded(weighted / area) if area else None,
        "polyps": [
            {
                "area_px": region.area_px,
                "area_percent": _percent(region.area_px, pixels),
                "box": region.box,
                "mean_probability": _rounded(region.mean_probability),
                "max_probability": _rounded(region.max_probability),
                "polygon": region.polygon,
            }
            for region in regions
        ],
        "mask": {"size": [height, width], "counts": compress_run_lengths(run_lengths(found.mask))},
    }
    return answer | _pictures(prepared, found, query)


def served_by(engine: Engine) -> dict[str, Any]:
    """The model that answers."""
    facts = engine.facts
    return {"name": facts.name or "unnamed", "version": facts.version, "size": engine.size, "engine": engine.name}


def _pictures(prepared: Prepared, found: Found, query: BatchQuery) -> dict[str, Any]:
    pictures: dict[str, Any] = {}
    if query.probability:
        pictures["probability"] = _picture(_grey(found.probability))
    if query.overlay and prepared.image is not None:
        tinted = overlay(prepared.image, found.mask, opacity=OVERLAY_OPACITY)
        drawn = contour(tinted, found.mask, width_px=line_width_px(prepared.shape))
        pictures["overlay"] = _picture(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
    if query.attention:
        maps = sorted(found.attention.items())
        pictures["attention"] = [
            {"level": level} | _picture(_grey(restore(values, prepared.shape))) for level, values in maps
        ]
    return pictures


def _grey(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(values * np.float32(255)), np.uint8)


def _picture(pixels: NDArray[Any]) -> dict[str, str]:
    return {"png": base64.b64encode(_png(pixels)).decode("ascii")}


def _png(pixels: NDArray[Any]) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def _percent(area_px: int, pixels: int) -> float:
    return round(100 * area_px / pixels, 4)


def _rounded(probability: float) -> float:
    return round(probability, 6)
