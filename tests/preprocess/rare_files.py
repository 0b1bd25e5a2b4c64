"""Pictures as few programs write them: rare kinds of TIFF, PNG, JPEG, BMP, PPM and WebP, whole or wrong."""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image as PillowImage

from preprocess.odd_files import Rng, encoded, frame, scan_start


class Rare(NamedTuple):
    """A file.

    Attributes:
        kind: What is rare.
        ending: Of its name.
        content: Its bytes.
        truth: Its pixels, (H, W, 3) uint8; None where it must be refused.
    """

    kind: str
    ending: str
    content: bytes
    truth: np.ndarray | None


def packed(rows: np.ndarray, bits: int) -> bytes:
    """Rows (H, N) of numbers, each of so many bits, each row filled up to whole bytes."""
    found = []
    for row in rows:
        text = "".join(format(int(value), f"0{bits}b") for value in row)
        text += "0" * (-len(text) % 8)
        found.append(int(text, 2).to_bytes(len(text) // 8, "big"))
    return b"".join(found)


def tiff(
    pixels: bytes,
    size: tuple[int, int],
    bits: int,
    channels: int = 1,
    colours: int = 1,
    more: dict[int, int] | None = None,
) -> bytes:
    """A TIFF of one strip (a strip a channel where they lie one after another), low bytes first.

    Args:
        pixels: As they are stored.
        size: Height and width.
        bits: A channel.
        channels: A pixel.
        colours: 0 white is zero, 1 black is zero, 2 RGB, 8 CIELab.
        more: Further tags: 284 planes, 339 sign.
    """
    tags = {256: [size[1]], 257: [size[0]], 258: [bits] * channels, 259: [1], 262: [colours], 277: [channels]}
    tags |= {key: [value] * (channels if key == 339 else 1) for key, value in (more or {}).items()}
    strips = channels if (more or {}).get(284) == 2 else 1
    length = len(pixels) // strips
    tags |= {278: [size[0]], 279: [length] * strips, 273: [0] * strips}
    place = 8 + 2 + 12 * len(tags) + 4
    behind, entries = b"", b""
    pixels_at = place + sum(4 * len(values) for values in tags.values() if len(values) > 1)
    tags[273] = [pixels_at + number * length for number in range(strips)]
    for key, values in sorted(tags.items()):
        stored = struct.pack(f"<{len(values)}I", *values)
        inline = stored if len(values) == 1 else struct.pack("<I", place + len(behind))
        behind += stored if len(values) > 1 else b""
        entries += struct.pack("<HHI", key, 4, len(values)) + inline
    return b"II" + struct.pack("<HIH", 42, 8, len(tags)) + entries + bytes(4) + behind + pixels


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    rows: bytes, size: tuple[int, int], bits: int, colour: int, before: bytes = b"", passes: int = 0, kept: float = 1
) -> bytes:
    """A PNG whose check sums are right, whatever it holds.

    Args:
        rows: Each with the number of its filter.
        size: Height and width.
        bits: A channel.
        colour: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha.
        before: Chunks before the pixels.
        passes: 1 where it is interlaced.
        kept: Share of the packed pixels.
    """
    header = struct.pack(">IIBBBBB", size[1], size[0], bits, colour, 0, 0, passes)
    data = zlib.compress(rows)
    parts = chunk(b"IHDR", header), before, chunk(b"IDAT", data[: int(kept * len(data))]), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def unfiltered(pixels: np.ndarray) -> bytes:
    """The rows of a PNG, none of them filtered."""
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def palette(*colours: tuple[int, int, int]) -> bytes:
    return chunk(b"PLTE", bytes(value for colour in colours for value in colour))


def _adam7(pixels: np.ndarray) -> bytes:
    steps = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    return b"".join(unfiltered(np.ascontiguousarray(pixels[y::rows, x::columns])) for y, x, rows, columns in steps)


def _three(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, 2).astype(np.uint8)


def rare_tiffs(rng: Rng, height: int, width: int) -> Iterator[Rare]:
    """Depths, colours and planes."""
    seen = frame(rng, height, width)
    grey, size = seen[..., 1], (height, width)
    deep, deep_grey = seen.astype("<u2") * 257, grey.astype("<u2") * 257
    four = grey // 16
    planes, deep_planes = np.moveaxis(seen, 2, 0).tobytes(), np.moveaxis(deep, 2, 0).tobytes()
    yield Rare("channels one after another", "tif", tiff(planes, size, 8, 3, 2, {284: 2}), seen)
    yield Rare("16 bits side by side", "tif", tiff(deep.tobytes(), size, 16, 3, 2), seen)
    yield Rare("16 bits one after another", "tif", tiff(deep_planes, size, 16, 3, 2, {284: 2}), None)
    yield Rare("white is zero", "tif", tiff((255 - grey).tobytes(), size, 8, 1, 0), _three(grey))
    yield Rare("white is zero, 4 bits", "tif", tiff(packed(15 - four, 4), size, 4, 1, 0), _three(four * 17))
    yield Rare("white is zero, 16 bits", "tif", tiff((65535 - deep_grey).tobytes(), size, 16, 1, 0), None)
    signed = (grey.astype(np.int16) - 128).astype(np.int8)
    yield Rare("bytes with a sign", "tif", tiff(signed.tobytes(), size, 8, 1, 1, {339: 2}), None)
    half = grey.astype("<i2") * 128
    yield Rare("16 bits with a sign", "tif", tiff(half.tobytes(), size, 16, 1, 1, {339: 2}), None)
    yield Rare("CIELab", "tif", tiff(seen.tobytes(), size, 8, 3, 8), None)
    twelve = np.rint(grey * (4095 / 255)).astype(int)
    yield Rare("12 bits, packed", "tif", tiff(packed(twelve, 12), size, 12), None)
    spare = np.dstack([seen, grey * 0])
    yield Rare("a fourth channel that means nothing", "tif", tiff(spare.tobytes(), size, 8, 4, 2, {338: 0}), seen)


def rare_pngs(rng: Rng, height: int, width: int) -> Iterator[Rare]:
    """Depths, passes, and pixels that are missing though every check sum is right."""
    seen = frame(rng, height, width)
    grey, size, rows = seen[..., 1], (height, width), unfiltered(seen)
    four, black_below = grey // 16, seen.copy()
    black_below[-1] = 0
    packed_rows = b"".join(b"\0" + packed(four[number : number + 1], 4) for number in range(height))
    opaque = np.full(size, 65535, ">u2")
    yield Rare("4 bits", "png", png(packed_rows, size, 4, 0), _three(four * 17))
    with_alpha = np.dstack([grey.astype(">u2") * 257, opaque]).astype(">u2")
    yield Rare("16 bits and alpha", "png", png(unfiltered(with_alpha), size, 16, 4), _three(grey))
    dim = np.dstack([grey.astype(">u2") * 16, opaque]).astype(">u2")
    yield Rare("12 bits in 16, and alpha", "png", png(unfiltered(dim), size, 16, 4), None)
    yield Rare("interlaced", "png", png(_adam7(seen), size, 8, 2, passes=1), seen)
    yield Rare("interlaced, cut", "png", png(_adam7(seen), size, 8, 2, passes=1, kept=0.6), None)
    half = _adam7(seen)[: len(rows) // 2]
    yield Rare("interlaced, half of the passes", "png", png(half, size, 8, 2, passes=1), None)
    yield Rare("rows missing", "png", png(unfiltered(seen[: height * 2 // 3]), size, 8, 2), None)
    yield Rare("one row missing", "png", png(unfiltered(seen[:-1]), size, 8, 2), None)
    yield Rare("a black last row", "png", png(unfiltered(black_below), size, 8, 2), black_below)
    yield Rare("interlaced, a black last row", "png", png(_adam7(black_below), size, 8, 2, passes=1), black_below)
    greys = [(17 * level,) * 3 for level in range(16)]
    with_palette = unfiltered(four.astype(np.uint8))
    yield Rare("palette", "png", png(with_palette, size, 8, 3, palette(*greys)), _three(four * 17))
    yield Rare("numbers beyond the palette", "png", png(with_palette, size, 8, 3, palette(*greys[:8])), None)
    hidden = palette(*greys) + chunk(b"tRNS", bytes(16))
    yield Rare("a palette without an opaque colour", "png", png(with_palette, size, 8, 3, hidden), None)


def rare_jpegs(rng: Rng, height: int, width: int) -> Iterator[Rare]:
    """Scans, tables, restart markers, and what EXIF and XMP say."""
    seen = PillowImage.fromarray(frame(rng, height, width))
    usual = encoded(seen, "JPEG", quality=90)
    truth = np.asarray(PillowImage.open(io.BytesIO(usual)))
    stepwise = encoded(seen, "JPEG", quality=90, progressive=True)
    scans = [place for place in range(len(stepwise)) if stepwise[place : place + 2] == b"\xff\xda"]
    last = stepwise[: scans[-1]] + b"\xff\xd9"
    yield Rare("progressive, its last scan missing", "jpg", last, None)
    divided = encoded(seen, "JPEG", quality=90, restart_marker_rows=1)
    start = scan_start(divided)
    marks = [start + found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", divided[start:])]
    swapped = bytearray(divided)
    swapped[marks[1] + 1], swapped[marks[2] + 1] = swapped[marks[2] + 1], swapped[marks[1] + 1]
    yield Rare("restart markers swapped", "jpg", bytes(swapped), None)
    yield Rare("a part between restart markers missing", "jpg", divided[: marks[0]] + divided[marks[1] :], None)
    yield Rare("a part between restart markers twice", "jpg", divided[: marks[2]] + divided[marks[1] :], None)
    table = usual.find(b"\xff\xdb") + 5
    yield Rare("a table of zeros", "jpg", usual[:table] + bytes(64) + usual[table + 64 :], None)
    yield Rare("a zero in a table", "jpg", usual[: table + 9] + b"\0" + usual[table + 10 :], None)
    taller = bytearray(usual)
    place = usual.find(b"\xff\xc0") + 5
    taller[place : place + 2] = (height + 24).to_bytes(2)
    yield Rare("taller than its scan", "jpg", bytes(taller), None)
    yield Rare("an orientation as a long number", "jpg", with_exif(usual, 4, 6), np.rot90(truth, -1))
    yield Rare("an orientation that is none", "jpg", with_exif(usual, 3, 9), truth)
    yield Rare("EXIF that leads nowhere", "jpg", with_exif(usual, 3, 1, 0xFFFFFF), truth)
    for kind, ending, options in (("JPEG", "jpg", {"quality": 90}), ("PNG", "png", {}), ("WEBP", "webp", {})):
        yield Rare(f"a turn in XMP alone, {kind}", ending, with_xmp(seen, kind, 6, **options), None)
    upright = with_xmp(seen, "JPEG", 1, quality=90)
    yield Rare("XMP without a turn", "jpg", upright, truth)
    both = with_exif(with_xmp(seen, "JPEG", 6, quality=90), 3, 6)
    yield Rare("a turn in XMP and EXIF", "jpg", both, np.rot90(truth, -1))


def with_exif(jpeg: bytes, kind: int, orientation: int, next_at: int = 0) -> bytes:
    """A JPEG with a note of its orientation, stored as a number of a kind (3 short, 4 long)."""
    entry = struct.pack("<HHII", 0x0112, kind, 1, orientation)
    note = b"Exif\0\0II" + struct.pack("<HIH", 42, 8, 1) + entry + struct.pack("<I", next_at)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(note) + 2) + note + jpeg[2:]


def with_xmp(picture: PillowImage.Image, kind: str, orientation: int, **options: object) -> bytes:
    """A file whose XMP alone tells an orientation."""
    note = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        f'tiff:Orientation="{orientation}"/></rdf:RDF></x:xmpmeta>'
    )
    if kind != "PNG":
        return encoded(picture, kind, xmp=note.encode(), **options)
    whole = encoded(picture, "PNG", **options)
    return whole[:33] + chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + note.encode()) + whole[33:]


def rare_others(rng: Rng, height: int, width: int) -> Iterator[Rare]:
    """PPM, BMP, GIF."""
    seen = frame(rng, height, width)
    grey = seen[..., 1]
    head = b"%d %d\n" % (width, height)
    levels = grey.astype(int) * 100 // 255
    exact = np.rint(levels * 2.55)
    yield Rare("white is 100", "pgm", b"P5 " + head + b"100\n" + levels.astype(np.uint8).tobytes(), _three(exact))
    noted = b"P6\n# a note\n" + head + b"255\n" + seen.tobytes()
    yield Rare("a note in the header", "ppm", noted, seen)
    yield Rare("levels above white", "pgm", b"P5 " + head + b"100\n" + grey.tobytes(), None)
    yield Rare("numbers as text, cut", "ppm", b"P3 " + head + b"255\n" + b"9 200 30 " * (height * width // 2), None)
    blue_first = seen[..., ::-1]
    info = struct.pack("<IiiHHIIiiII", 40, width, -height, 1, 24, 0, 0, 0, 0, 0, 0)
    yield Rare(
        "the first row first", "bmp", b"BM" + struct.pack("<IHHI", 0, 0, 0, 54) + info + blue_first.tobytes(), seen
    )
    gif = encoded(PillowImage.fromarray(grey), "GIF")
    yield Rare("cut, with an end", "gif", gif[: len(gif) // 2] + b"\0;", None)


def rare_files(rng: Rng, height: int = 72, width: int = 104) -> Iterator[Rare]:
    """All of them, once."""
    for makes in (rare_tiffs, rare_pngs, rare_jpegs, rare_others):
        for made in makes(rng, height, width):
            yield made._replace(kind=f"{made.ending}: {made.kind}")
