"""The documents: links lead somewhere, the README stays short, and the words are plain."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GENERATED = {"docs/reference/generated", "docs/_build"}
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    if not any(path.is_relative_to(ROOT / folder) for folder in GENERATED)
)
CALQUES = re.compile(r"\b(anew|beyond doubt|as it is told|gone on with)\b", re.IGNORECASE)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_to_one(page):
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    missing = [
        target for target in targets if target and "://" not in target and not ((ROOT / page).parent / target).exists()
    ]
    assert missing == []


def test_the_readme_fits_two_screens():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900


def test_no_page_or_module_uses_a_calque():
    sources = [path for kind in ("py", "js", "html") for path in ROOT.glob(f"src/**/*.{kind}")]
    texts = [*(ROOT / page for page in PAGES), *sources]
    found = [
        f"{path.relative_to(ROOT)}: {CALQUES.search(path.read_text())[0]}"
        for path in texts
        if CALQUES.search(path.read_text())
    ]
    assert found == []


def test_every_command_is_in_the_readme():
    from typer.main import get_command

    from polypseg.cli import app

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in get_command(app).commands if name not in readme] == []
