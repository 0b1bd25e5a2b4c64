import importlib.util
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polypseg.overlay import HEAT_COLOURS, TRUE_POSITIVE
from polypseg.serve.page import CONTENT_SECURITY_POLICY, page_files

SCRIPT = Path(__file__).parents[2] / "scripts" / "draw_page_examples.py"


def test_page_is_served_with_a_strict_policy(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy == CONTENT_SECURITY_POLICY
    assert "default-src 'none'" in policy
    assert not re.search(r"unsafe|https?:|\*|data:", policy)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("page.css", "text/css; charset=utf-8"),
        ("page.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
        ("examples/red.jpg", "image/jpeg"),
    ],
)
def test_files_have_their_type(client, name, media_type):
    answer = client.get(f"/page/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == media_type
    assert answer.content == page_files()[name].content


def test_a_browser_asks_whether_a_file_is_still_the_same(client):
    first = client.get("/page/page.css")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/page/page.css", headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/page/page.css", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    "name", ["../page.py", "%2e%2e/page.py", "..%2fpage.py", "examples", "", "nothing.js", "/etc/passwd"]
)
def test_nothing_else_is_served(client, name):
    answer = client.get(f"/page/{name}")
    assert answer.status_code == 404
    assert b"import" not in answer.content
    assert answer.headers["content-type"] == "application/problem+json"


def test_page_is_not_in_the_api_document(client):
    assert not [path for path in client.get("/openapi.json").json()["paths"] if path == "/" or path.startswith("/page")]


class References(HTMLParser):
    """Collects what a page refers to, and what it holds inline."""

    def __init__(self):
        super().__init__()
        self.paths, self.inline = [], []

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("src", "href"):
                self.paths.append(value)
            if name == "style" or name.startswith("on"):
                self.inline.append((tag, name))
        if tag == "style" or (tag == "script" and not dict(attributes).get("src")):
            self.inline.append((tag, ""))


def test_page_needs_nothing_from_elsewhere_and_nothing_inline(client):
    parser = References()
    parser.feed(client.get("/").text)
    assert parser.inline == []
    assert len(parser.paths) >= 7
    for path in parser.paths:
        assert path.startswith(("/", "#"))
        assert not path.startswith("//")
        assert path.startswith("#") or client.get(path).status_code == 200


def test_scripts_and_styles_refer_to_own_files_only():
    files = page_files()
    texts = {name: file.content.decode() for name, file in files.items() if name.endswith((".js", ".css"))}
    for name, text in texts.items():
        assert not re.search(r"https?://|@import|url\(", text), name
        for imported in re.findall(r'from "\./([^"]+)"', text):
            assert imported in files
    assert sum(text.count('from "./') for text in texts.values()) > 8


def test_the_notice_stands_in_the_header_that_stays_in_sight():
    page, style = page_files()["index.html"].content.decode(), page_files()["page.css"].content.decode()
    header = page[page.index("<header") : page.index("</header>")]
    assert "Not a medical device." in header
    assert re.search(r"\.top \{[^}]*position: sticky; top: 0", style)


def test_colours_are_those_of_the_overlays():
    heat = "".join(re.findall(r'"([0-9a-f]+)"', page_files()["heat.js"].content.decode()))
    assert bytes.fromhex(heat) == HEAT_COLOURS.tobytes()
    assert f"FOUND = {json.dumps(TRUE_POSITIVE)}" in page_files()["paint.js"].content.decode()


def test_examples_are_drawn_by_the_synthetic_generator():
    specification = importlib.util.spec_from_file_location("draw_page_examples", SCRIPT)
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    shipped = {Path(name).stem for name in page_files() if name.startswith("examples/")}
    assert shipped == set(script.EXAMPLES)
    assert script.FOLDER.is_dir()
    assert [name for name, (_, with_polyp) in script.EXAMPLES.items() if not with_polyp] == ["none"]
    for name in script.EXAMPLES:
        found = np.asarray(Image.open(io.BytesIO(page_files()[f"examples/{name}.jpg"].content)), np.int16)
        drawn = script.draw(name).astype(np.int16)
        assert np.abs(found - drawn).mean() < 4  # what JPEG loses; another seed differs by more than 20


def test_the_page_is_small():
    # Everything together, editor included, is less than one photograph: under 400 kB, a phone loads it at once.
    assert sum(len(file.content) for file in page_files().values()) < 400_000
