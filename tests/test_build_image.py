"""The container's base image is pinned at the first build, and stays until it is renewed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "build_image.py"
TAG = "python:3.12-slim-bookworm"
FIRST, SECOND = (f"sha256:{letter * 64}" for letter in "ab")

DOCKER = """#!/bin/sh
echo "$@" >> "$TOLD"
[ "$1" = buildx ] && cat "$ANSWER"
exit 0
"""
"""A docker that writes down what it is told, and answers with a digest."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for docker")


@pytest.fixture
def build(tmp_path):
    """Calls the script in a folder with a Dockerfile; gives its result and what docker was told."""
    (tmp_path / "bin").mkdir()
    docker, told, answer = tmp_path / "bin" / "docker", tmp_path / "told", tmp_path / "answer"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    (tmp_path / "Dockerfile").write_text(f"ARG BASE={TAG}\nFROM ${{BASE}}\n")

    def call(digest, *words):
        answer.write_text(digest + "\n")
        told.write_text("")
        environment = {"PATH": f"{docker.parent}{os.pathsep}{os.environ['PATH']}", "TOLD": told, "ANSWER": answer}
        command = [sys.executable, SCRIPT, "--root", tmp_path, *words]
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
        return done, told.read_text().splitlines()

    return call


def test_the_digest_is_pinned_at_the_first_build_and_kept(build, tmp_path):
    done, told = build(FIRST)
    assert done.returncode == 0
    assert told[1] == f"build --build-arg BASE={TAG}@{FIRST} -t polypseg ."
    assert (tmp_path / ".base-digest").read_text() == f"{TAG}@{FIRST}\n"
    _, told = build(SECOND)  # the tag has moved on
    assert told == [f"build --build-arg BASE={TAG}@{FIRST} -t polypseg ."]
    _, told = build(SECOND, "--renew", "-t", "mine", "--", "--no-cache")
    assert told[1] == f"build --build-arg BASE={TAG}@{SECOND} -t mine --no-cache ."


def test_another_tag_is_pinned_again_and_what_is_no_digest_is_refused(build, tmp_path):
    (tmp_path / ".base-digest").write_text(f"python:3.11@{FIRST}\n")
    _, told = build(SECOND)
    assert told[1].startswith(f"build --build-arg BASE={TAG}@{SECOND}")
    (tmp_path / ".base-digest").write_text(f"{TAG}@sha256:12\n")
    done, told = build(SECOND)
    assert (done.returncode, told) == (1, [])
    assert "expected python:3.12-slim-bookworm@sha256:…" in done.stderr
    (tmp_path / ".base-digest").unlink()
    done, told = build("not found")
    assert (done.returncode, len(told)) == (1, 1)  # asked, and nothing was built
    assert "the registry told no digest of python:3.12-slim-bookworm: not found" in done.stderr


def test_the_dockerfile_of_the_project_names_a_tag():
    text = (SCRIPT.parents[1] / "Dockerfile").read_text(encoding="utf-8")
    assert f"ARG BASE={TAG}\nFROM ${{BASE}}\n" in text
