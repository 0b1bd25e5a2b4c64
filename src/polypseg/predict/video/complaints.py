"""What a decoder says of a packet while it decodes it, and a container while it is read: FFmpeg hands out many damaged
pictures with no more than a line in its log.

Decisions:
- A line of at least the level `error` from the decoder means a damaged picture. A few such lines are no damage: they
  tell of references that an intact file lacks too, as after a cut (`HARMLESS`).
- The lines of other threads count where they bear the decoder's name: slices are decoded side by side.
- What no line tells of (a codec without checks, as VP9 or uncompressed video) is not found.
"""

import logging
from types import TracebackType
from typing import Any, Self

from polypseg.predict.video.source import import_av

HARMLESS = ("mmco:", "co located pocs", "unable to decode app fields", "number of reference frames", "ref mismatch")


class Complaints:
    """Gathers a decoder's lines: `with complaints: packet.decode()`, then `complaints.heard`.

    Args:
        codec: The decoder's or the container's name.
    """

    def __init__(self, codec: str) -> None:
        self._logging = import_av().logging
        if self._logging.get_level() is None:  # PyAV's default: nothing is heard
            self._logging.set_level(self._logging.ERROR)
            logging.getLogger("libav").addHandler(logging.NullHandler())  # what nobody listens to is not printed
        self._codec = codec
        self._captures: list[Any] = []
        self._heard: list[list[tuple[int, str, str]]] = []

    def __enter__(self) -> Self:
        """Listen; earlier lines are forgotten."""
        self._captures = [self._logging.Capture(local=True), self._logging.Capture(local=False)]
        self._heard = [capture.__enter__() for capture in self._captures]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop listening."""
        for capture in self._captures:
            capture.__exit__(kind, error, at)

    @property
    def heard(self) -> bool:
        """Whether the decoder complained of damage."""
        lines = [line for lines in self._heard for line in lines]
        return any(
            level <= self._logging.ERROR and name == self._codec and not message.strip().lower().startswith(HARMLESS)
            for level, name, message in lines
        )
