"""Counts what the library takes out of dictionaries by a string: `record["name"]`, and lines with `dict[str, Any]`.

python scripts/count_dictionaries.py [src]

Dictionaries of other programs are counted apart: of ASGI and OpenAPI, errors of pydantic, settings of engines, formats
of annotations and of results that others defined.
"""

import ast
import sys
from collections import Counter
from pathlib import Path

OTHERS = (
    *(
        "serve/api",
        "serve/guard",
        "serve/label_studio",
        "serve/openapi",
        "serve/page",
        "serve/problems",
        "serve/uploads",
    ),
    *("config/loading", "records/model_facts", "records/reading"),
    *("predict/engines/litert_engine", "predict/engines/openvino", "formats/", "export/folding", "archive/ray_slots"),
    *("evaluate/procedures/coco_", "evaluate/procedures/findings", "procedures/true_colon", "cli/evaluate_videos"),
    *("train/losses", "data/augment"),
)
"""How the names of modules begin, or what is in them, that read dictionaries of others."""


def subscripts(text: str) -> int:
    """How many subscripts of a text of Python are a string, annotations left out."""
    tree = ast.parse(text)
    annotations = {
        id(part)
        for node in ast.walk(tree)
        for field in ("annotation", "returns")
        if isinstance(getattr(node, field, None), ast.AST)
        for part in ast.walk(getattr(node, field))
    }
    return sum(
        isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str)
        and id(node) not in annotations
        for node in ast.walk(tree)
    )


def main(folder: Path) -> None:
    own, others, untyped, lines = Counter[str](), 0, 0, 0
    for path in sorted(folder.rglob("*.py")):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(folder).as_posix()
        lines += text.count("\n")
        untyped += sum("dict[str, Any]" in line for line in text.splitlines())
        if any(part in name for part in OTHERS):
            others += subscripts(text)
        else:
            own[name] = subscripts(text)
    print(f"{lines:,} lines, {untyped} of them with dict[str, Any]")
    print(f"{own.total()} strings as subscripts, and {others} of dictionaries of others")
    for name, number in own.most_common(12):
        print(f"{number:4} {name}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "src"))
