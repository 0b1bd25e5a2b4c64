"""Damaged and odd image files of every kind, drawn by a seed, each with what must become of it."""

import io
from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps

from preprocess.odd_files import JPEG_DAMAGE, Rng, encoded, flipped_bits, frame, overwritten, without_end
from preprocess.rare_files import rare_files
from serve.running import png_header

HEIGHT, WIDTH = 72, 104


class Must(Enum):
    """What must become of a file."""

    BE_REFUSED = "refused"
    BE_TRUE = "true pixels, or refused"
    BE_READ = "true pixels"
    NOT_FAIL = "any answer"
    """Damage that no decoder can know (no check sum holds the changed bytes): only no traceback, no hang."""


class Odd(NamedTuple):
    """A file.

    Attributes:
        kind: Its format and what was done to it.
        name: With its ending.
        content: Its bytes.
        must: What must become of it.
        truth: The pixels of the intact file, (H, W, 3) uint8; None where there are none.
    """

    kind: str
    name: str
    content: bytes
    must: Must
    truth: np.ndarray | None = None


def _restart(picture: PillowImage.Image) -> bytes:
    return encoded(picture, "JPEG", restart_marker_rows=1)


FORMATS: dict[str, tuple[str, str, Callable[[PillowImage.Image], bytes]]] = {
    "jpeg": ("jpg", "RGB", lambda picture: encoded(picture, "JPEG", quality=85)),
    "jpeg progressive": ("jpeg", "RGB", lambda picture: encoded(picture, "JPEG", progressive=True)),
    "jpeg 4:4:4": ("JPG", "RGB", lambda picture: encoded(picture, "JPEG", quality=95, subsampling=0)),
    "jpeg optimised": ("jpe", "RGB", lambda picture: encoded(picture, "JPEG", optimize=True)),
    "jpeg grey": ("jfif", "L", lambda picture: encoded(picture, "JPEG")),
    "jpeg CMYK": ("jpg", "CMYK", lambda picture: encoded(picture, "JPEG")),
    "jpeg with restarts": ("jpg", "RGB", _restart),
    "png": ("png", "RGB", lambda picture: encoded(picture, "PNG")),
    "png palette": ("png", "P", lambda picture: encoded(picture, "PNG")),
    "png alpha": ("png", "RGBA", lambda picture: encoded(picture, "PNG")),
    "png 16 bit": ("png", "I;16", lambda picture: encoded(picture, "PNG")),
    "tiff": ("tif", "RGB", lambda picture: encoded(picture, "TIFF")),
    "tiff lzw": ("tiff", "RGB", lambda picture: encoded(picture, "TIFF", compression="tiff_lzw")),
    "tiff deflate": ("tif", "RGB", lambda picture: encoded(picture, "TIFF", compression="tiff_adobe_deflate")),
    "tiff jpeg": ("tif", "RGB", lambda picture: encoded(picture, "TIFF", compression="jpeg")),
    "bmp": ("bmp", "RGB", lambda picture: encoded(picture, "BMP")),
    "webp": ("webp", "RGB", lambda picture: encoded(picture, "WEBP", quality=80)),
    "webp lossless": ("webp", "RGB", lambda picture: encoded(picture, "WEBP", lossless=True)),
    "jp2": ("jp2", "RGB", lambda picture: encoded(picture, "JPEG2000")),
    "avif": ("avif", "RGB", lambda picture: encoded(picture, "AVIF")),
    "gif": ("gif", "P", lambda picture: encoded(picture, "GIF")),
    "ppm": ("ppm", "RGB", lambda picture: encoded(picture, "PPM")),
}
"""Ending, mode and encoder."""

CHECK_SUMS = ("png", "png palette", "png alpha", "png 16 bit")
RAW = ("tiff", "bmp", "ppm")
"""Whose zeros are black pixels."""

TOLERANT = (*RAW, "webp", "webp lossless", "avif")
"""Whose decoders take a piece that is there twice."""


def _in_mode(pixels: np.ndarray, mode: str) -> PillowImage.Image:
    if mode == "I;16":
        return PillowImage.fromarray(pixels[..., 1].astype(np.uint16) * 257)
    picture = PillowImage.fromarray(pixels)
    if mode == "RGBA":
        picture.putalpha(PillowImage.fromarray(np.full(pixels.shape[:2], 255, np.uint8)))
    return picture.convert(mode)


def true_pixels(content: bytes) -> np.ndarray:
    """What a viewer shows of an intact file, by Pillow alone."""
    with PillowImage.open(io.BytesIO(content)) as opened:
        upright = ImageOps.exif_transpose(opened)
        if upright.mode.startswith("I"):
            grey = np.rint(np.asarray(upright).astype(np.int64) / 257).astype(np.uint8)
            return np.repeat(grey[..., None], 3, 2)
        if upright.mode == "RGBA":
            upright = PillowImage.alpha_composite(PillowImage.new("RGBA", upright.size, (0, 0, 0, 255)), upright)
        return np.asarray(upright.convert("RGB"))


def damaged(rng: Rng) -> Iterator[Odd]:
    """Each format with each kind of damage, once."""
    for kind, (ending, mode, encode) in FORMATS.items():
        whole = encode(_in_mode(frame(rng, HEIGHT, WIDTH), mode))
        truth = true_pixels(whole)
        is_jpeg = kind.startswith("jpeg")
        for harm in JPEG_DAMAGE if is_jpeg else (without_end,):
            yield Odd(f"{kind}, {harm.__name__}", ending, harm(whole, rng), Must.BE_TRUE, truth)
        for more in (flipped_bits, overwritten, _zero_tail, _piece_twice):
            is_known = kind in CHECK_SUMS or kind not in {_zero_tail: RAW, _piece_twice: TOLERANT}.get(more, FORMATS)
            must = Must.BE_TRUE if is_known else Must.NOT_FAIL
            yield Odd(f"{kind}, {more.__name__.strip('_')}", ending, more(whole, rng), must, truth)
        yield Odd(f"{kind}, whole", ending, whole, Must.BE_READ, truth)
        yield Odd(f"{kind}, more behind", ending, whole + b"\0" * 64, Must.BE_TRUE, truth)


def _zero_tail(content: bytes, rng: Rng) -> bytes:
    """As a file that was made at its full length and half copied."""
    kept = int(rng.uniform(0.3, 0.9) * len(content))
    return content[:kept] + bytes(len(content) - kept)


def _piece_twice(content: bytes, rng: Rng) -> bytes:
    place = int(rng.uniform(0.2, 0.8) * len(content))
    return content[:place] + content[place - 40 : place] + content[place:]


def turned(rng: Rng) -> Iterator[Odd]:
    """The eight orientations of EXIF in every format that carries it."""
    for kind, ending in (("JPEG", "jpg"), ("PNG", "png"), ("TIFF", "tif"), ("WEBP", "webp"), ("AVIF", "avif")):
        exif, orientation = PillowImage.Exif(), int(rng.integers(1, 9))
        exif[0x0112] = orientation
        options = {"lossless": True} if kind == "WEBP" else {}
        content = encoded(PillowImage.fromarray(frame(rng, HEIGHT, WIDTH)), kind, exif=exif, **options)
        yield Odd(f"{kind}, orientation {orientation}", ending, content, Must.BE_READ, true_pixels(content))


def empty_ones(rng: Rng) -> Iterator[Odd]:
    """Pictures that show nothing."""
    seen = frame(rng, HEIGHT, WIDTH)
    rgba = np.dstack([seen, np.zeros(seen.shape[:2], np.uint8)])
    flat = np.full_like(seen, rng.integers(0, 255, 3).astype(np.uint8))
    dark = (seen // 32).astype(np.uint8)
    bits = int(rng.integers(10, 15))
    deep = (seen[..., 1].astype(np.uint16) << (bits - 8)).astype(np.uint16)
    pictures = {
        "alpha 0": (PillowImage.fromarray(rgba), "PNG"),
        "one colour": (PillowImage.fromarray(flat), "PNG"),
        "one colour in JPEG": (PillowImage.fromarray(flat), "JPEG"),
        "nearly black": (PillowImage.fromarray(dark), "BMP"),
        f"{min(bits, 13)} bits in 16": (PillowImage.fromarray(deep >> max(0, bits - 13)), "TIFF"),
        "12 bits in 16": (PillowImage.fromarray(seen[..., 1].astype(np.uint16) << 4), "PNG"),
    }
    for kind, (picture, form) in pictures.items():
        ending = {"JPEG": "jpg", "TIFF": "tif"}.get(form, form.lower())
        yield Odd(f"shows nothing: {kind}", ending, encoded(picture, form), Must.BE_REFUSED)
    import cv2

    rgb16 = np.repeat((seen[..., 1].astype(np.uint16) << 2)[..., None], 3, 2)
    yield Odd("shows nothing: 10 bits in RGB of 16", "png", bytes(cv2.imencode(".png", rgb16)[1]), Must.BE_REFUSED)


def no_images(rng: Rng) -> Iterator[Odd]:
    """What is no image that is read, under an image's ending."""
    noise = rng.integers(0, 256, 3000).astype(np.uint8).tobytes()
    contents = {
        "empty": b"",
        "noise": noise,
        "text": b"a table, not an image\n" * 9,
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + noise,
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "PDF": b"%PDF-1.7\n" + noise,
        "SVG": b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
        "DICOM": bytes(128) + b"DICM" + noise,
        "video": b"\0\0\0\x20ftypisom\0\0\2\0" + noise,
        "JPEG's first bytes": b"\xff\xd8\xff\xe0",
        "PNG's first bytes": b"\x89PNG\r\n\x1a\n",
        "TIFF's first bytes": b"II*\0\xff\xff\xff\xff",
        "bomb": png_header(200_000, 200_000),
        "wide": png_header(1, 2**31 - 1),
        "zeros": bytes(4096),
        "web page": b"<!DOCTYPE html><html><title>404</title></html>",
        "LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
    }
    for kind, content in contents.items():
        ending = str(rng.choice(["jpg", "png", "tif", "bmp", "webp", "jp2", "gif", "avif"]))
        yield Odd(f"no image: {kind}", ending, content, Must.BE_REFUSED)


def several(rng: Rng) -> Iterator[Odd]:
    """Files of several pictures."""
    first = PillowImage.fromarray(frame(rng, HEIGHT, WIDTH))
    second = PillowImage.fromarray(frame(rng, HEIGHT // 2, WIDTH // 2))
    phone = encoded(first, "MPO", save_all=True, append_images=[second])
    yield Odd("several: photo of a phone", "JPG", phone, Must.BE_READ, true_pixels(phone))
    half = encoded(first, "MPO", save_all=True, append_images=[second])[: len(phone) // 3]
    yield Odd("several: photo of a phone, cut", "jpg", half, Must.BE_REFUSED)
    same = PillowImage.fromarray(frame(rng, HEIGHT, WIDTH))
    for form, ending in (("GIF", "gif"), ("PNG", "png"), ("WEBP", "webp")):
        moving = encoded(first, form, save_all=True, append_images=[same])
        yield Odd(f"several: moving {form}", ending, moving, Must.BE_REFUSED)


def rare(rng: Rng) -> Iterator[Odd]:
    """What few programs write."""
    for made in rare_files(rng, HEIGHT, WIDTH):
        must = Must.BE_REFUSED if made.truth is None else Must.BE_READ
        yield Odd(f"rare: {made.kind}", made.ending, made.content, must, made.truth)


def odd_images(count: int, seed: int) -> list[Odd]:
    """At least so many files, all kinds in turn, with names that number them."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        for makes in (damaged, turned, empty_ones, no_images, several, rare):
            found += makes(rng)
    return [odd._replace(name=f"{number:05d}.{odd.name}") for number, odd in enumerate(found)]
