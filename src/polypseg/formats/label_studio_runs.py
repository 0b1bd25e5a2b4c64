"""Label Studio's run lengths of a brush: a stream of bits, as thi.ng's rle-pack writes it.

The stream: 32 bits with the number of values, 5 with the bits of a value less 1, four times 4 with the bits of a length
less 1; then runs. A run begins with 1 where one value is repeated, with 0 where values follow one by one; 2 bits choose
which of the four sizes its length less 1 has. The values are the bytes of an RGBA image, row by row.

Reference:
    https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Mask

LENGTH_BITS = (3, 4, 8, 16)
"""The sizes that Label Studio itself writes."""

VALUE_BITS = 8


def decode(stream: Sequence[int], num_pixels: int) -> NDArray[np.uint8]:
    """The alpha of each pixel.

    Args:
        stream: Bytes, 0 to 255.
        num_pixels: That the image has.

    Raises:
        ValueError: It is no such stream, or of another number of pixels.
    """
    if not all(0 <= value <= 255 for value in stream):
        raise ValueError("it holds numbers that are no bytes")
    bits = _Bits(bytes(stream))
    num_values = bits.read(32)
    if num_values != 4 * num_pixels:
        raise ValueError(f"it is of {num_values // 4:,} pixels, the image has {num_pixels:,}")
    if bits.read(5) + 1 != VALUE_BITS:
        raise ValueError("its values have not 8 bits")
    sizes = [bits.read(4) + 1 for _ in range(4)]
    values = np.empty(num_values, np.uint8)
    place = 0
    while place < num_values:
        is_repeated, size = divmod(bits.read(3), 4)
        end = place + 1 + bits.read(sizes[size])
        if end > num_values:
            raise ValueError("a run goes past its end")
        values[place:end] = bits.read(VALUE_BITS) if is_repeated else bits.read_bytes(end - place)
        place = end
    return values[3::4]


def encode(mask: Mask) -> list[int]:
    """The stream of a mask (H, W) bool: bytes, 0 to 255."""
    flat = mask.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = [0, *edges.tolist(), flat.size]
    parts = [f"{4 * flat.size:032b}{VALUE_BITS - 1:05b}", *(f"{size - 1:04b}" for size in LENGTH_BITS)]
    for start, end in pairwise(bounds):
        value = f"{255 * int(flat[start]):08b}"
        rest = 4 * (end - start)
        while rest:
            choice = next((c for c, size in enumerate(LENGTH_BITS) if rest <= 1 << size), len(LENGTH_BITS) - 1)
            length = min(rest, 1 << LENGTH_BITS[choice])
            parts.append(f"1{choice:02b}{length - 1:0{LENGTH_BITS[choice]}b}{value}")
            rest -= length
    text = "".join(parts)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


class _Bits:
    """Reads a stream of bits from the front."""

    def __init__(self, content: bytes) -> None:
        self._content, self._place = content, 0

    def read(self, num_bits: int) -> int:
        """The next bits as a number, the highest first."""
        first, last = self._place // 8, (self._place + num_bits + 7) // 8
        if last > len(self._content):
            raise ValueError("it ends too early")
        window = int.from_bytes(self._content[first:last], "big")
        self._place += num_bits
        return (window >> (8 * last - self._place)) & ((1 << num_bits) - 1)

    def read_bytes(self, count: int) -> NDArray[np.uint8]:
        """The next values of 8 bits."""
        return np.array([self.read(VALUE_BITS) for _ in range(count)], np.uint8)
