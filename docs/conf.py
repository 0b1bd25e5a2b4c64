"""How Sphinx builds the site (`make docs`). What the program itself can say is generated: docs/generate.py."""

import re
import sys
from pathlib import Path
from typing import Any

from sphinxcontrib.httpdomain import HTTP_STATUS_CODES

import polypseg

sys.path.insert(0, str(Path(__file__).parent))
import generate

project = "polypseg"
author = "polypseg developers"
version = release = polypseg.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.openapi",
]
exclude_patterns = ["_build", "reference/generated"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
napoleon_use_ivar = True
default_role = "code"  # docstrings write names between single backticks
suppress_warnings = ["ref.python"]  # two classes may have a field of one name

html_theme = "pydata_sphinx_theme"
html_title = "polypseg"
html_theme_options = {"navigation_with_keys": False, "show_toc_level": 2}
html_show_sourcelink = False
html_copy_source = False

HTTP_STATUS_CODES.setdefault(421, "Misdirected Request")
generate.everything()

LIST_ITEM = re.compile(r"( *)- ")


def to_restructured_text(app: Any, kind: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Change a docstring in place: a blank line around each list, and no bar that could open a substitution."""
    changed: list[str] = []
    for line in lines:
        item, before = LIST_ITEM.match(line), changed[-1] if changed else ""
        if item and before.strip() and not before.startswith(item[1] + "  ") and not LIST_ITEM.match(before):
            changed.append("")
        line = line.replace("xample:", "xample::") if line.strip() in ("Example:", "For example:") else line
        if before.strip() in ("Example::", "For example::") and line.strip():
            changed.append("")
        changed.append(line if line.lstrip().startswith(">>>") else line.replace("|", "\\|"))
    lines[:] = changed


def setup(app: Any) -> None:
    """Change docstrings before napoleon reads them."""
    app.connect("autodoc-process-docstring", to_restructured_text, priority=400)
