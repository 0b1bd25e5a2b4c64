"""The lit field of a video: found once and followed, so that the masks do not jump with it.

Decisions:
- The first field that is found is kept. Another one takes its place only after `NUM_AGREEING` frames in a row have
  shown that one: a dark frame, a light on the rim or an overlay for a moment changes nothing.
- Frames in which no picture is found are predicted in the field that is known; before there is one, whole.
- A change of the frame's size forgets the field.
"""

from polypseg.arrays import Image
from polypseg.preprocess import Field, FieldRule, field_of, whole_frame

NUM_AGREEING = 12
"""Half a second of 25 frames a second."""

NEAR = 0.98
"""Two fields are one where they overlap by so much (intersection over union)."""

NO_PICTURE = "no picture"
"""The note of a frame in which no lit field was found."""


class FieldFollower:
    """Takes the frames of a video one after another.

    Args:
        rule: `auto` to follow the lit field, `whole` for all of each frame.
    """

    def __init__(self, rule: FieldRule) -> None:
        self._rule = rule
        self._shape: tuple[int, ...] = ()
        self._kept: Field | None = None
        self._other: Field | None = None
        self._num_agreeing = 0

    def follow(self, image: Image) -> tuple[Field, bool]:
        """The field that this frame is predicted in, and whether a picture was found in this frame.

        Args:
            image: Shape (H, W, 3), uint8.
        """
        if image.shape != self._shape:
            self._shape, self._kept, self._other = image.shape, None, None
        found, is_found = field_of(image, self._rule)
        if is_found:
            self._take(found)
        return self._kept or whole_frame(image.shape), is_found

    def _take(self, found: Field) -> None:
        if self._kept is None or overlap(found, self._kept) >= NEAR:
            self._kept, self._other = self._kept or found, None
            return
        if self._other is None or overlap(found, self._other) < NEAR:
            self._other, self._num_agreeing = found, 0
        self._num_agreeing += 1
        if self._num_agreeing >= NUM_AGREEING:
            self._kept, self._other = self._other, None


def overlap(first: Field, second: Field) -> float:
    """Intersection over union of two fields.

    >>> overlap(Field(0, 0, 10, 10), Field(0, 5, 10, 10))
    0.3333333333333333
    """
    height = min(first.top + first.height, second.top + second.height) - max(first.top, second.top)
    width = min(first.left + first.width, second.left + second.width) - max(first.left, second.left)
    shared = max(0, height) * max(0, width)
    return shared / (first.height * first.width + second.height * second.width - shared)
