"""From templates to text, and from text to files that a person may go on writing in.

Decisions:
- HTML escapes every value. Markdown escapes what would break a table or become HTML.
- A model card and a checklist are drafts: people fill them in. A draft ends with a digest of itself; one that no
  longer fits its digest has been edited and is left alone unless the caller says otherwise.
"""

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from polypseg import __version__
from polypseg.records.atomic import write_text

UNKNOWN = "unknown"
"""What stands where the record does not tell; pages and drafts mark it."""

_MARK = re.compile(r"<!-- draft of polypseg [^,>]*, sha256 ([0-9a-f]{64}) -->\n\Z")


def render_html(template: str, **values: Any) -> str:
    """The text of an HTML template; values are escaped, unless they are `Markup`."""
    return _environment(True).get_template(template).render(values)


def render_markdown(template: str, **values: Any) -> str:
    """The text of a Markdown template; a value stays in its line and its cell."""
    text = _environment(False).get_template(template).render(values)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def escape_markdown(value: Any) -> str:
    r"""The value on one line, without a meaning for a table or for HTML.

    >>> escape_markdown("a | b\n<c>")
    'a \\| b &lt;c&gt;'
    """
    if isinstance(value, Markup):
        return value
    text = " ".join(str(value).split())
    return text.replace("|", r"\|").replace("<", "&lt;").replace(">", "&gt;")


def trusted(markup: str) -> Markup:
    """Text that is HTML already: a chart, a style sheet."""
    return Markup(markup)


def write_draft(path: Path, text: str, overwrite: bool = False) -> bool:
    """Whether the draft was written: not where a person has edited the one that is there.

    Args:
        path: A Markdown file.
        text: The draft.
        overwrite: Replace an edited one too.
    """
    if path.is_file() and not overwrite and _is_edited(path):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, f"{text}\n<!-- draft of polypseg {__version__}, sha256 {_digest(text)} -->\n")
    return True


def _is_edited(path: Path) -> bool:
    content = path.read_text(encoding="utf-8", errors="replace")
    mark = _MARK.search(content)
    return mark is None or _digest(content[: mark.start() - 1]) != mark.group(1)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _environment(is_html: bool) -> Environment:
    return Environment(
        loader=PackageLoader("polypseg.report"),
        autoescape=is_html,
        finalize=None if is_html else escape_markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
