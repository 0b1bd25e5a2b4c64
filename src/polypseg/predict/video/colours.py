"""From a decoded frame to 8-bit RGB.

Decisions:
- The matrix is the one that the source names; where it names none, ITU-R BT.709 from 720 lines on and BT.601 below, as
  players do. More than 8 bits are rounded to 8.
- HDR (the transfer functions PQ and HLG) is brought to what a screen without HDR shows: light in cd/m², 203 of which
  are white (ITU-R BT.2408); colours from BT.2020 to BT.709; light above 0.3 of white bent by FFmpeg's curve `mobius`,
  so that 1,000 cd/m² are the brightest; then the BT.709 curve. A model that saw no HDR sees usual pictures.
"""

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Image

BT709, BT601 = 1, 5
MATRICES = {1: BT709, 4: 4, 5: BT601, 6: BT601, 7: 7, 9: 9, 10: 9}
"""The numbers of colour matrices that are known, by those of ISO/IEC 23091-2; 2 is unspecified, 0 RGB."""

PQ, HLG = 16, 18
"""Transfer functions of HDR, by ISO/IEC 23091-2."""

WHITE, PEAK, KNEE = 203.0, 1000.0, 0.3

_FROM_2020 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)
"""Linear BT.2020 to BT.709, ITU-R BT.2087."""


def matrix_of(decoded: Any) -> int:
    """The matrix of a frame's colours."""
    return MATRICES.get(int(decoded.colorspace), BT709 if decoded.height >= 720 else BT601)


def is_hdr(decoded: Any) -> bool:
    """Whether a frame's colours are HDR."""
    return int(decoded.color_trc) in (PQ, HLG)


def to_rgb(decoded: Any, matrix: int) -> Image:
    """The frame as (H, W, 3) uint8."""
    if is_hdr(decoded):
        deep = decoded.reformat(format="rgb48le", src_colorspace=matrix).to_ndarray()
        return tone_mapped(np.asarray(deep, np.uint16), int(decoded.color_trc))
    return np.asarray(decoded.reformat(format="rgb24", src_colorspace=matrix).to_ndarray(), np.uint8)


def tone_mapped(levels: NDArray[np.uint16], transfer: int) -> Image:
    """HDR levels (H, W, 3), 65535 being 1, as 8-bit RGB."""
    light = cv2.transform(_light(transfer)[levels], _FROM_2020)
    places = np.clip(light, 0, PEAK / WHITE) * np.float32((_CURVE_LENGTH - 1) * WHITE / PEAK)
    return np.asarray(_curve()[np.rint(places).astype(np.uint16)], np.uint8)


_CURVE_LENGTH = 1 << 16


@cache
def _light(transfer: int) -> NDArray[np.float32]:
    """The light of every level, white being 1: ITU-R BT.2100, table 4 (PQ) and 5 (HLG, on a screen of 1,000 cd/m²)."""
    level = np.arange(1 << 16) / 65535
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = level ** (1 / m2)
        return np.asarray(10_000 / WHITE * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1), np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(level <= 0.5, level**2 / 3, (np.exp((level - c) / a) + b) / 12)
    return np.asarray(PEAK / WHITE * scene**1.2, np.float32)


@cache
def _curve() -> NDArray[np.uint8]:
    """The 8-bit level of light from 0 to `PEAK`, in equal steps."""
    light, peak = np.linspace(0, PEAK / WHITE, _CURVE_LENGTH), PEAK / WHITE
    a = -(KNEE**2) * (peak - 1) / (KNEE**2 - 2 * KNEE + peak)
    b = (KNEE**2 - 2 * KNEE * peak + peak) / (peak - 1)
    bent = (b**2 + 2 * b * KNEE + KNEE**2) / (b - a) * (light + a) / (light + b)
    shown = np.where(light <= KNEE, light, bent)
    curve = np.where(shown < 0.018, 4.5 * shown, 1.099 * shown**0.45 - 0.099)
    return np.asarray(np.rint(255 * np.clip(curve, 0, 1)), np.uint8)
