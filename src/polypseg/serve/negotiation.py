"""What a client would rather have, as its header `Accept` says (RFC 9110, 12.5.1)."""

from collections.abc import Sequence


def preferred(accept: str, offered: Sequence[str]) -> str:
    """The media type that fits the header best; the first of equals, and the first where none fits.

    >>> preferred("image/png", ["application/json", "image/png"])
    'image/png'
    >>> preferred("image/*;q=0.5, application/json", ["application/json", "image/png"])
    'application/json'
    >>> preferred("text/html", ["application/json", "image/png"])
    'application/json'
    """
    ranges = [_range(part) for part in accept.split(",")]
    qualities = [_quality(media_type, ranges) for media_type in offered]
    return offered[qualities.index(max(qualities))]


def _range(part: str) -> tuple[str, float]:
    """A media range of the header, and its quality; 0 where that is no number."""
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
    try:
        return name, min(1.0, max(0.0, float(quality)))
    except ValueError:
        return name, 0.0


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """That of the most specific range which the type fits."""
    kind = media_type.partition("/")[0]
    for name in (media_type, f"{kind}/*", "*/*"):
        found = [quality for given, quality in ranges if given == name]
        if found:
            return max(found)
    return 0.0
