"""From the bytes of an image to an answer: what runs in threads before and after the engine.

The steps are the predictor's own (`prepare`, `run`, `finish`), so that an answer is what `Predictor.predict` gives.
"""

import base64
import io
from collections.abc import Sequence
from time import perf_counter
from typing import Any, NamedTuple, TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from polypseg.annotate.blanking import blank_frame
from polypseg.arrays import Image, Mask
from polypseg.errors import DataError, RequestError
from polypseg.formats.outlines import compress_run_lengths, run_lengths
from polypseg.predict.engines.engine import Engine
from polypseg.predict.predictor import Prediction, Predictor, Prepared
from polypseg.predict.regions import Region, find_regions
from polypseg.preprocess import decode_noted, num_pages, open_pages, read_page
from polypseg.serve.schemas import BatchQuery

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")
"""What is opened at all: Pillow knows others, some of which start programs or unpack without bounds."""

NAME = "image"
"""What an image is called, whose own name is never known here."""

MASK_PNG = (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
"""How a mask is packed: half the bytes of OpenCV's own way, in less time."""


class Decoded(NamedTuple):
    """An image, and what the model sees of it.

    Attributes:
        image: Shape (H, W, 3), uint8.
        seen: What the model sees of it.
        seconds: That decoding and squeezing took.
        num_pages: That the file holds.
    """

    image: Image
    seen: Prepared
    seconds: float
    num_pages: int = 1


def prepare(
    content: bytes, predictor: Predictor, max_pixels: int, page: int | None = None, anonymise: bool = False
) -> Decoded:
    """The image of a file's bytes, and what the model sees of it.

    Args:
        content: Of the file.
        predictor: Whose model sees it.
        max_pixels: Of the image.
        page: Of a TIFF of several pages, counted from 1; None where it holds one.
        anonymise: Whether all but the picture is blanked first, and text in it.

    Raises:
        RequestError: 400 not an image; 404 no such page; 413 too many pixels, found before they are decoded; 422 to be
            anonymised, and it shows no picture.
    """
    began, note, num_pages = perf_counter(), "", 1
    kind = check_header(content, max_pixels)
    try:
        if kind == "TIFF":
            image, num_pages = _tiff_page(content, max_pixels, page)
        else:
            _check_page(page, 1)
            image, note = decode_noted(content, NAME, max_pixels)
    except DataError as error:
        raise _no_image(str(error).removeprefix(f"{NAME}: ")) from error
    if anonymise:
        image, blanked = _anonymised(image)
        note = "; ".join(text for text in (note, blanked) if text)
    seen = predictor.prepare(image)
    if note:
        seen = seen._replace(note="; ".join(text for text in (note.removeprefix(f"{NAME}: "), seen.note) if text))
    return Decoded(image, seen, perf_counter() - began, num_pages)


def _anonymised(image: Image) -> tuple[Image, str]:
    try:
        found = blank_frame(image, blank_text=True)
    except DataError as error:
        raise RequestError(422, "Nothing to show", str(error)) from error
    share = 100 * float(1 - found.kept.mean())
    return found.image, f"anonymised: {share:.1f} % of the frame blanked, {found.text_blanked} lines of text found"


def _tiff_page(content: bytes, max_pixels: int, page: int | None) -> tuple[Image, int]:
    with open_pages(io.BytesIO(content), NAME) as opened:
        number = num_pages(opened, NAME)
        if number > 1 and page is None:
            raise _no_image(f"it holds {number:,} pages; ask for one at a time: page=1 to page={number}")
        _check_page(page, number)
        if number > 1:
            return read_page(opened, (page or 1) - 1, NAME, max_pixels), number
    return decode_noted(content, NAME, max_pixels)[0], 1


def _check_page(page: int | None, number: int) -> None:
    if page is not None and page > number:
        raise RequestError(404, "No such page", f"page {page:,}: the file holds {number:,}")


def check_header(content: bytes, max_pixels: int) -> str:
    """The name of the format, if the header is that of an image within bounds.

    Raises:
        RequestError: 400 or 413.
    """
    try:
        with PillowImage.open(io.BytesIO(content), formats=FORMATS) as opened:
            (width, height), kind = opened.size, str(opened.format)
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
    return kind


def _no_image(detail: str) -> RequestError:
    return RequestError(400, "Not an image that can be read", detail)


def _too_large(found: str, max_pixels: int) -> RequestError:
    return RequestError(413, "Too many pixels", f"{found} pixels; at most {max_pixels:,} are taken: make it smaller")


class RunLengths(TypedDict):
    """A mask in COCO's compressed run lengths."""

    size: list[int]
    counts: str


class ServedBy(TypedDict):
    """The model that answers, and what runs it."""

    name: str
    version: str
    size: int
    engine: str


def mask_png(prediction: Prediction) -> bytes:
    """The mask as a grey PNG, 0 and 255."""
    return _png(prediction.mask.view(np.uint8) * np.uint8(255), MASK_PNG)


def describe(prediction: Prediction, query: BatchQuery, predictor: Predictor) -> dict[str, object]:
    """The answer but for `seconds`, as `schemas.Segmentation` has it."""
    height, width = prediction.mask.shape
    regions = find_regions(prediction.mask, prediction.probability)
    area = sum(region.area_px for region in regions)
    weighted = sum(region.area_px * region.mean_probability for region in regions)
    answer: dict[str, object] = {
        "model": served_by(predictor.engine),
        "image": {"height": height, "width": width},
        "threshold": predictor.threshold,
        "peak_threshold": predictor.peak_threshold,
        "field": dict(zip(("top", "left", "height", "width"), prediction.field, strict=True)),
        "note": prediction.note,
        "area_px": area,
        "area_percent": _percent(area, height * width),
        "num_components": len(regions),
        "max_probability": _rounded(float(prediction.probability.max())),
        "mean_probability": _rounded(weighted / area) if area else None,
        "mark_doubt": prediction.doubt.mark,
        "outline_doubt": prediction.doubt.outline,
        "polyps": [_polyp(region, height * width) for region in regions],
        "mask": _run_lengths(prediction.mask),
    }
    return answer | _nested(prediction, predictor) | _pictures(prediction, query)


def _nested(prediction: Prediction, predictor: Predictor) -> dict[str, object]:
    """Outer and inner mask and what is promised of them; nothing without a calibration."""
    calibration, nested = predictor.options.calibration, {"outer": prediction.outer, "inner": prediction.inner}
    if calibration is None:
        return {}
    found: dict[str, object] = {"promise": calibration.promise}
    for name, mask in nested.items():
        if mask is not None:
            found |= {name: _run_lengths(mask), f"{name}_area_px": int(np.count_nonzero(mask))}
    return found


def _run_lengths(mask: Mask) -> RunLengths:
    return {"size": list(mask.shape), "counts": compress_run_lengths(run_lengths(mask))}


def _polyp(region: Region, num_pixels: int) -> dict[str, object]:
    return {
        "area_px": region.area_px,
        "area_percent": _percent(region.area_px, num_pixels),
        "box": region.box,
        "mean_probability": _rounded(region.mean_probability),
        "max_probability": _rounded(region.max_probability),
        "polygon": region.polygon,
    }


def served_by(engine: Engine) -> ServedBy:
    """The model that answers."""
    facts = engine.facts
    return {"name": facts.name or "unnamed", "version": facts.version, "size": engine.size, "engine": engine.name}


def _pictures(prediction: Prediction, query: BatchQuery) -> dict[str, object]:
    pictures: dict[str, object] = {}
    if query.probability:
        pictures["probability"] = _picture(_grey(prediction.probability))
    if query.overlay:
        pictures["overlay"] = _picture(cv2.cvtColor(prediction.overlay(), cv2.COLOR_RGB2BGR))
    if query.picture:
        pictures["picture"] = _picture(cv2.cvtColor(prediction.image, cv2.COLOR_RGB2BGR))
    if query.attention:
        maps = prediction.attention()
        pictures["attention"] = [{"level": level, **_picture(_grey(coefficients))} for level, coefficients in maps]
        pictures["attention_level"] = prediction.level_to_show()
    return pictures


def _grey(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(values * np.float32(255)), np.uint8)


def _picture(pixels: NDArray[Any]) -> dict[str, str]:
    return {"png": base64.b64encode(_png(pixels)).decode("ascii")}


def _png(pixels: NDArray[Any], how: Sequence[int] = ()) -> bytes:
    return cv2.imencode(".png", pixels, how)[1].tobytes()


def _percent(area_px: int, pixels: int) -> float:
    return round(100 * area_px / pixels, 4)


def _rounded(probability: float) -> float:
    return round(probability, 6)
