"""Build the container's image from a base image that stays the same: its digest is pinned at the first build.

    python scripts/build_image.py [--renew] [-t polypseg] [-- OPTIONS OF docker build]

The first call asks the registry for the digest of the tag that the Dockerfile names, and keeps it in `.base-digest`
beside the Dockerfile; later calls build from that digest. `--renew` asks again: a base image that is never renewed
keeps old vulnerabilities.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def tag_of(dockerfile: Path) -> str:
    """The base image that a Dockerfile names by a tag."""
    found = re.search(r"^ARG BASE=(\S+)$", dockerfile.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        sys.exit(f"{dockerfile}: has no line ARG BASE=name:tag")
    return found[1]


def pinned(tag: str, kept: Path, renew: bool) -> str:
    """The tag with its digest, from the file where it is kept, or from the registry."""
    if kept.is_file() and not renew:
        base = kept.read_text(encoding="utf-8").strip()
        name, _, digest = base.partition("@")
        if name == tag and DIGEST.fullmatch(digest):
            return base
        if name == tag:
            sys.exit(f"{kept}: holds {base!r}; expected {tag}@sha256:…: remove the file, or call this with --renew")
    command = ["docker", "buildx", "imagetools", "inspect", tag, "--format", "{{.Manifest.Digest}}"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    digest = asked.stdout.strip()
    if asked.returncode != 0 or not DIGEST.fullmatch(digest):
        sys.exit(f"the registry told no digest of {tag}: {asked.stderr.strip() or digest or 'no answer'}")
    kept.write_text(f"{tag}@{digest}\n", encoding="utf-8")
    print(f"pinned {tag} to {digest} in {kept.name}")
    return f"{tag}@{digest}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renew", action="store_true", help="ask the registry for the newest digest")
    parser.add_argument("-t", "--tag", default="polypseg", help="the name of the image")
    parser.add_argument("--root", type=Path, default=ROOT, help="where the Dockerfile is")
    parser.add_argument("options", nargs="*", help="of docker build")
    arguments = parser.parse_args()
    base = pinned(tag_of(arguments.root / "Dockerfile"), arguments.root / ".base-digest", arguments.renew)
    command = ["docker", "build", "--build-arg", f"BASE={base}", "-t", arguments.tag, *arguments.options, "."]
    sys.exit(subprocess.run(command, cwd=arguments.root, check=False).returncode)


if __name__ == "__main__":
    main()
