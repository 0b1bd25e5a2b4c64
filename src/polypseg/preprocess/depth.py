"""How many bits a channel of an image file holds, where Pillow makes 8 of them without a word."""

import re

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

FEW = 8
"""A file of at most so many colours is one of labels: each counts."""


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


def loses_levels(content: bytes) -> bool:
    """Whether values of a deep file in colours, or with alpha, become equal when the upper 8 of its 16 bits are kept.

    True, too, where OpenCV cannot tell its 16 bits.
    """
    stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16:
        return True
    deep = np.unique(_packed(stored))
    return 0 < int(stored[..., :3].max()) < 256 or (
        len(deep) <= FEW and len(np.unique(_packed(stored >> 8))) < len(deep)
    )


def _packed(colours: NDArray[np.uint16]) -> NDArray[np.int64]:
    """The channels (H, W, C) of each pixel as one number."""
    wide = np.atleast_3d(colours).astype(np.int64)
    found = wide[..., 0]
    for channel in range(1, wide.shape[2]):
        found = found << 16 | wide[..., channel]
    return np.asarray(found)
