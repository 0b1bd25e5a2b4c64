"""How many bits a channel of an image file holds, where Pillow makes 8 of them without a word."""

import re

from PIL import Image as PillowImage


def is_deep(opened: PillowImage.Image, content: bytes) -> bool:
    """Whether the file holds more than 8 bits a channel, which Pillow's mode tells of grey alone."""
    if opened.format == "PNG":
        return content[24:25] == b"\x10"
    if opened.format == "JPEG2000":
        size = content.find(
            b"\xff\x51"
        )  # marker SIZ: 40 bytes on, the depth of the first channel less 1 (T.800, A.5.1)
        return opened.mode.startswith("I") or (content[size + 40] & 0x7F) + 1 > 8
    if opened.format == "PPM":  # the last of the header's numbers, behind comments, is the value of white
        header = re.sub(rb"#[^\n]*", b"", content[:1024]).split(maxsplit=4)
        return header[0] in (b"P2", b"P3", b"P5", b"P6") and int(header[3]) > 255
    bits = opened.tag_v2.get(258, (8,)) if opened.format == "TIFF" else (8,)  # type: ignore[attr-defined]
    return opened.mode.startswith("I") or max(bits if isinstance(bits, tuple) else (bits,)) > 8
