"""A figure as SVG that stands inside a page: its text is text, its ids are its own, and its colours are the page's.

Decisions:
- Text stays text, so that it can be searched, read aloud and takes the page's font.
- The fixed inks of `canvas` become CSS variables; the page gives them a light and a dark value.
- Nothing points out of the page: no doctype, no metadata, no namespace.
- Equal figures give equal text, so that a page made twice is the same page.
"""

import io
import re
from html import escape

import matplotlib
from matplotlib.figure import Figure

from polypseg.report.canvas import BLUE, FAINT, GREEN, HAIRLINE, INK, ORANGE, PURPLE

VARIABLES = {
    INK: "--ink",
    FAINT: "--faint",
    HAIRLINE: "--line",
    BLUE: "--blue",
    ORANGE: "--orange",
    GREEN: "--green",
    PURPLE: "--purple",
    "#ffffff": "--paper",
}
"""The CSS variable in the place of each colour."""

_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_REFERENCE = re.compile(r'url\(#([^)]+)\)|href="#([^"]+)"')


def inline_svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as an `<svg>` element.

    Args:
        figure: Any figure.
        name: Begins its ids; unique in the page.
        alt: What the figure shows, for readers who do not see it.
    """
    content = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(content, format="svg", transparent=True, metadata=_NO_METADATA)
    text = content.getvalue()
    opening = re.search(r"<svg\b[^>]*>", text)
    view = re.search(r'viewBox="([^"]*)"', text)
    body = text[opening.end() if opening else 0 :]
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = _own_ids(body, name)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    body = re.sub(r"\s*\n\s*", " ", body)
    box = view.group(1) if view else "0 0 1 1"
    label = escape(alt)
    return f'<svg class="chart" role="img" viewBox="{box}" aria-label="{label}">{body.strip()}'


def _own_ids(body: str, name: str) -> str:
    """The body with the ids that something refers to under names of its own, and without the others."""
    used = dict.fromkeys(one or other for one, other in _REFERENCE.findall(body))
    renamed = {old: f"{name}-{number}" for number, old in enumerate(used)}

    def kept(match: re.Match[str]) -> str:
        return f' id="{renamed[match.group(1)]}"' if match.group(1) in renamed else ""

    body = re.sub(r' id="([^"]+)"', kept, body)
    body = re.sub(r"url\(#([^)]+)\)", lambda match: f"url(#{renamed[match.group(1)]})", body)
    return re.sub(r'(?:xlink:)?href="#([^"]+)"', lambda match: f'href="#{renamed[match.group(1)]}"', body)
