"""Writes the pages that follow from the program: its commands, its settings and its REST API.

They go to docs/reference/generated/, which is not committed; the pages in docs/reference/ include them.
"""

import json
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

TARGET = Path(__file__).parent / "reference" / "generated"
BOLD = re.compile(r'(?:<span style="font-weight: bold">|\[bold\])(.*?)(?:</span>|\[/bold\])')


def everything() -> None:
    """Write all generated pages."""
    TARGET.mkdir(parents=True, exist_ok=True)
    (TARGET / "command-line.md").write_text(command_line(), encoding="utf-8")
    (TARGET / "settings.md").write_text(settings(), encoding="utf-8")
    (TARGET / "openapi.json").write_text(json.dumps(rest_api()), encoding="utf-8")


def command_line() -> str:
    """The help of every command as Markdown, by typer's own generator; example lines become code blocks."""
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    from polypseg.cli import app

    command = get_command(app)
    context = command.make_context("polypseg", [], resilient_parsing=True)
    text = BOLD.sub(r"**\1**", get_docs_for_click(obj=command, ctx=context, name="polypseg"))
    blocks = [_as_code(block) for block in text.replace("&#x27;", "'").split("\n\n")]
    return "\n\n".join(blocks[1:])  # the page has a title of its own


def _as_code(block: str) -> str:
    """A block of which every line is a command, as a code block; any other as it was."""
    lines = block.splitlines()
    if lines and all(line.startswith(("polypseg ", "cat ")) for line in lines):
        return "```console\n" + "\n".join(f"$ {line}" for line in lines) + "\n```"
    return block


def settings() -> str:
    """A table for each table of a config file: key, type, default, meaning."""
    from polypseg.config import Config

    parts = []
    for name, field in Config.model_fields.items():
        table = field.annotation
        if isinstance(table, type) and issubclass(table, BaseModel):
            rows = [_setting(key, inner) for key, inner in table.model_fields.items()]
            head = f"## `[{name}]`\n\n{table.__doc__}\n\n| key | value | default | meaning |\n|---|---|---|---|\n"
            parts.append(head + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _setting(key: str, field: FieldInfo) -> str:
    kind = str(field.annotation) if not isinstance(field.annotation, type) else field.annotation.__name__
    kind = re.sub(r"(typing\.)?Literal\[(.*?)\]", lambda found: found[2].replace("'", ""), kind)
    limits = [text for text in map(_limit, field.metadata) if text]
    kind = kind.replace(" | None", " or unset").replace("|", "or") + "".join(f", {text}" for text in limits)
    default = "unset" if field.default is None else json.dumps(field.default)
    return f"| `{key}` | {kind} | `{default}` | {field.description or ''} |"


def _limit(constraint: Any) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return next(
        (f"{sign} {getattr(constraint, name)}" for name, sign in signs.items() if hasattr(constraint, name)), ""
    )


def rest_api() -> dict[str, Any]:
    """The OpenAPI document of a server that serves the packaged model; no server is started."""
    from polypseg.serve.api import create_app
    from polypseg.serve.settings import Settings

    return create_app(Settings(model="polyp-lite")).openapi()
