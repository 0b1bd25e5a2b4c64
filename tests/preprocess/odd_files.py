"""Frames, masks and their damage, drawn by a seed: what tests of reading are fed with."""

import io
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from PIL import Image as PillowImage

Rng = np.random.Generator


def frame(rng: Rng, height: int = 120, width: int = 160) -> np.ndarray:
    """A smooth picture in colours with a little noise, as a camera gives."""
    coarse = rng.uniform(20, 250, (7, 9, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


def polyp(rng: Rng, height: int = 120, width: int = 160) -> np.ndarray:
    """A mask of one ellipse well inside, bool."""
    centre = int(rng.uniform(0.35, 0.65) * width), int(rng.uniform(0.35, 0.65) * height)
    axes = int(rng.uniform(0.1, 0.25) * width), int(rng.uniform(0.1, 0.25) * height)
    drawn = cv2.ellipse(np.zeros((height, width), np.uint8), centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    return drawn.astype(bool)


def encoded(picture: np.ndarray | PillowImage.Image, kind: str, **options: object) -> bytes:
    stored = io.BytesIO()
    (PillowImage.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(stored, kind, **options)
    return stored.getvalue()


def scan_start(jpeg: bytes) -> int:
    """Where the coded pixels of a JPEG begin."""
    place = jpeg.find(b"\xff\xda")
    return place + 2 + int.from_bytes(jpeg[place + 2 : place + 4])


def cut_with_end_mark(jpeg: bytes, rng: Rng) -> bytes:
    first = scan_start(jpeg)
    return jpeg[: int(rng.integers(first, first + (len(jpeg) - first) * 9 // 10))] + b"\xff\xd9"


def without_end(content: bytes, rng: Rng) -> bytes:
    return content[: int(rng.uniform(0.2, 0.95) * len(content))]


def zeroed(jpeg: bytes, rng: Rng) -> bytes:
    first = scan_start(jpeg)
    place = int(rng.integers(first, max(first + 1, len(jpeg) - 402)))
    return jpeg[:place] + bytes(400) + jpeg[place + 400 :]


def piece_missing(jpeg: bytes, rng: Rng) -> bytes:
    first = scan_start(jpeg)
    place = int(rng.integers(first, len(jpeg) - 302))
    return jpeg[:place] + jpeg[place + 300 :]


def wrong_huffman_table(jpeg: bytes, rng: Rng) -> bytes:
    """One of the counts of the first table changed."""
    place = jpeg.find(b"\xff\xc4") + 5 + int(rng.integers(16))
    changed = bytearray(jpeg)
    changed[place] = (changed[place] + int(rng.integers(1, 200))) % 256
    return bytes(changed)


def flipped_bits(content: bytes, rng: Rng, count: int = 3) -> bytes:
    changed = bytearray(content)
    for place in rng.integers(0, len(content), count):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def overwritten(content: bytes, rng: Rng) -> bytes:
    changed = bytearray(content)
    place = int(rng.integers(len(content)))
    junk = rng.integers(0, 256, 60).astype(np.uint8).tobytes()
    changed[place : place + 60] = junk[: len(content) - place]
    return bytes(changed)


JPEG_DAMAGE: tuple[Callable[[bytes, Rng], bytes], ...] = (
    cut_with_end_mark,
    without_end,
    zeroed,
    piece_missing,
    wrong_huffman_table,
)
"""What a decoder notices, and only fills up or guesses: it must never be read as if it were whole."""


def odd_contents(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Names and contents of damaged and odd image files of every kind."""
    rng = np.random.default_rng(seed)
    kinds = ["JPEG", "PNG", "TIFF", "BMP", "WEBP", "JPEG2000", "GIF", "AVIF", "PPM"]
    modes = ["RGB", "L", "RGBA", "P", "CMYK", "1", "I;16", "LA"]
    allowed = {"JPEG": {"RGB", "L", "CMYK"}, "BMP": {"RGB", "L", "P", "1"}, "WEBP": {"RGB", "RGBA"},
               "JPEG2000": {"RGB", "L", "RGBA"}, "GIF": {"L", "P", "1"}, "AVIF": {"RGB", "RGBA"}, "PPM": {"RGB", "L"},
               "PNG": set(modes) - {"CMYK"}, "TIFF": set(modes)}  # fmt: skip
    for number in range(count):
        kind = kinds[number % len(kinds)]
        mode = str(rng.choice(sorted(allowed[kind])))
        picture = PillowImage.fromarray(frame(rng, 40, 56))
        if mode == "I;16":
            picture = PillowImage.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * int(rng.integers(258)))
        else:
            picture = picture.convert(mode)
        content = encoded(picture, kind)
        harm = [without_end, flipped_bits, overwritten, lambda given, _: given]
        ending = {"JPEG": "jpg", "JPEG2000": "jp2", "TIFF": "tif"}.get(kind, kind.lower())
        yield f"{number:04d}.{ending}", harm[int(rng.integers(len(harm)))](content, rng)
