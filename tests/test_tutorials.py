"""The tutorial of corrections, as a reader follows it: its commands are taken from the page and run, in its order.

What differs: the port, and the training, which shows a few images instead of 1,300.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from time import sleep
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

PAGE = Path(__file__).parents[1] / "docs" / "tutorials" / "correct-and-retrain.md"
ADDRESS = "http://127.0.0.1:8000"
USES = ("new", "previous")
RETRAIN = f"curl -s -X POST {ADDRESS}/project/retrain"
SHORT = textwrap.dedent(
    """
    from polypseg.annotate.training import Recipe, Training
    from polypseg.cli import app

    Training.__init__.__defaults__ = (Recipe(num_shown=40),)
    app()
    """
)


def blocks():
    """The kind and the lines of each block of the page."""
    return re.findall(r"^```(console|python)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def steps():
    """What the page says to do: (kind, text), a command of the console each."""
    for kind, text in blocks():
        if kind == "python":
            yield kind, text
            continue
        for line in re.findall(r"^\$ (.*(?:\\\n.*)*)", text, re.MULTILINE):
            yield ("server" if line.startswith("polypseg annotate") else kind), line


def status(address):
    with urlopen(f"{address}/project/retrain") as answer:
        return json.load(answer)


def trained(address):
    """What the server tells once a training has ended."""
    while (told := status(address))["status"] in ("training", "comparing"):
        sleep(0.5)
    return told


class Reader:
    """Someone who follows the page in a folder; the server runs until the end."""

    def __init__(self, folder):
        self.folder, self.address, self.server, self.said = folder, ADDRESS, None, {}
        self.environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def do(self, kind, text):
        written, text = text, text.replace(ADDRESS, self.address)
        if kind == "server":
            self._serve(text.split()[1:])
        elif kind == "python":
            subprocess.run([sys.executable, "-c", text], cwd=self.folder, check=True)
        elif not text.startswith("pip install"):
            words = re.sub(r"^polypseg", f"{sys.executable} -m polypseg", text)
            done = subprocess.run(
                words, shell=True, cwd=self.folder, env=self.environment, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{text}: {done.stderr}"
            self.said[written] = done.stdout
            if written == RETRAIN:
                assert trained(self.address)["status"] in ("done", "waiting"), status(self.address)

    def _serve(self, words):
        with (self.folder / "server.log").open("w") as log:
            self.server = subprocess.Popen(
                [sys.executable, "-c", SHORT, *words, "--port", "0"],
                cwd=self.folder, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1,
            )  # fmt: skip
        for line in self.server.stdout:
            if found := re.search(r"polypseg serves (\S+)", line):
                self.address = found[1]
                return
        raise AssertionError((self.folder / "server.log").read_text())

    def close(self):
        if self.server is not None:
            self.server.terminate()
            self.server.wait(60)
            self.server.stdout.close()


def pixels(path):
    with Image.open(path) as opened:
        return np.asarray(opened)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(shutil.which("curl") is None, reason="the page's commands need curl")
def test_tutorial_of_corrections_runs_as_it_is_written(tmp_path):
    reader = Reader(tmp_path)
    try:
        for kind, text in steps():
            reader.do(kind, text)
    finally:
        reader.close()
    told = json.loads(reader.said[f"curl -s {ADDRESS}/project/retrain"])
    # Of twelve frames without groups the second and one of the sixth to tenth are held out, perhaps one of the rest.
    assert told["comparison"]["project"]["frames"] in (2, 3)
    assert told["comparison"]["reference"]["frames"] == 24  # half of the 48, which are in sequences of 4
    served = {
        use: json.loads(reader.said[f"curl -s -X POST '{ADDRESS}/project/model?use={use}'"])["model"] for use in USES
    }
    assert served["new"].startswith("polyp-lite 3.0+")
    assert served["previous"] == "polyp-lite 3.0"
    masks = sorted((tmp_path / "demo/new/images/project/masks").iterdir())
    assert len(masks) == 12
    for path in masks:
        assert np.array_equal(pixels(path), pixels(tmp_path / "demo/new/masks" / path.name))
    assert (tmp_path / "runs/mine/config.toml").is_file()
