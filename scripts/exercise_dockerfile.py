"""Do what the Dockerfile says without a container engine, in a scratch folder, and use the server that comes of it.

    python scripts/exercise_dockerfile.py [--model model.onnx] [--python /usr/bin/python3]

COPY, RUN, ENV, USER, HEALTHCHECK and CMD are read from the Dockerfile and carried out in order; its absolute folders
(/app, /opt) lie in the scratch folder, which nobody may write to once the server starts, but for a folder of its own
as /tmp. As root the server runs as the Dockerfile's USER. Then: the health check passes, an image is answered, a wrong
token is refused, a video is predicted, SIGTERM ends it with 0, and nothing is left in /tmp. Needs the network for pip.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOKEN = "exercise"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's lines as (instruction, rest), continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line and not line.startswith("#")]


def moved(text: str, scratch: Path) -> str:
    """A line with the container's folders in the scratch folder."""
    for folder in ("/app", "/opt"):
        text = text.replace(folder, str(scratch) + folder)
    return text


def provide_python(scratch: Path, python: str) -> str:
    """A PATH on which `python` is this one, as in the image that the Dockerfile begins FROM."""
    command = scratch / "bin" / "python"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(python)} "$@"\n')
    command.chmod(0o755)
    return f"{command.parent}:{os.environ['PATH']}"


def build(scratch: Path, path: str) -> tuple[dict[str, str], str, str, int]:
    """Carry out the build; the environment, CMD, the health check and the user's number."""
    environment, command, check, user = {"PATH": path}, "", "", 0
    work = scratch
    for name, rest in instructions():
        if name == "WORKDIR":
            work = Path(moved(rest, scratch))
            work.mkdir(parents=True)
        elif name == "COPY":
            *sources, target = rest.split()
            for source in sources:
                copy(ROOT / source, work / target if target != "./" else work / source)
        elif name == "RUN":
            print(f"RUN {rest}", flush=True)
            subprocess.run(moved(rest, scratch), shell=True, check=True, cwd=work, env=os.environ | environment)
        elif name == "ENV":
            key, value = moved(rest, scratch).split("=", 1)
            environment[key] = value.replace("$PATH", environment["PATH"])
        elif name == "USER":
            user = int(rest.split(":")[0])
        elif name == "HEALTHCHECK":
            check = rest.split("CMD ", 1)[1]
        elif name == "CMD":
            command = shlex.join(json.loads(rest))
        elif name not in ("ARG", "FROM", "EXPOSE", "STOPSIGNAL"):
            raise SystemExit(f"Dockerfile: {name} is not known to this script; teach it")
    return environment, command, check, user


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def ask(port: int, path: str, body: bytes | None = None, kind: str = "", token: str = TOKEN) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {token}"} | ({"Content-Type": kind} if kind else {})
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def frame(scratch: Path) -> bytes:
    """A synthetic frame as PNG, drawn by the installed package."""
    code = (
        "import sys, numpy as np; from PIL import Image; from polypseg.data.synthetic import synthetic_image;"
        "Image.fromarray(synthetic_image(np.random.default_rng(0), (256, 320))[0]).save(sys.stdout.buffer, 'PNG')"
    )
    return subprocess.run([scratch / "opt/polypseg/bin/python", "-c", code], capture_output=True, check=True).stdout


def film(scratch: Path) -> bytes:
    """Five frames as mp4, by the installed package's PyAV."""
    code = (
        "import sys, io, av, numpy as np; from polypseg.data.synthetic import synthetic_image;"
        "image = synthetic_image(np.random.default_rng(0), (256, 320))[0]; file = io.BytesIO();"
        "container = av.open(file, 'w', format='mp4'); stream = container.add_stream('libx264', rate=10);"
        "stream.height, stream.width, stream.pix_fmt = 256, 320, 'yuv420p';"
        "[container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24'))) for _ in range(5)];"
        "container.mux(stream.encode(None)); container.close(); sys.stdout.buffer.write(file.getvalue())"
    )
    return subprocess.run([scratch / "opt/polypseg/bin/python", "-c", code], capture_output=True, check=True).stdout


def expect(what: str, found: object, expected: object) -> None:
    print(f"{what}: {found}", flush=True)
    if found != expected:
        raise SystemExit(f"{what}: expected {expected}, found {found}")


def exercise(port: int, check: str, environment: dict[str, str], image: bytes, video: bytes) -> None:
    """Use the server as its users do."""
    for _ in range(120):
        healthy = subprocess.run(check, shell=True, env=environment, capture_output=True).returncode
        if healthy == 0:
            break
        time.sleep(1)
    expect("health check", healthy, 0)
    status, answer = ask(port, "/v1/segment", image, "image/png")
    expect("an image", (status, json.loads(answer).get("image")), (200, {"height": 256, "width": 320}))
    expect("no token", ask(port, "/v1/segment", image, "image/png", token="wrong")[0], 401)
    expect("the page", ask(port, "/docs")[0], 200)
    status, answer = ask(port, "/v1/video", video, "video/mp4")
    job, state = json.loads(answer)["id"], "queued"
    while state in ("queued", "running"):
        time.sleep(0.5)
        state = json.loads(ask(port, f"/v1/jobs/{job}")[1])["state"]
    expect("a video", state, "done")
    expect("its result begins as mp4", ask(port, f"/v1/jobs/{job}/video")[1][4:8], b"ftyp")


def serve(scratch: Path, built: tuple[dict[str, str], str, str, int], model: str | None) -> None:
    environment, command, check, user = built
    image, video = frame(scratch), film(scratch)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    temporary = scratch / "tmp"
    temporary.mkdir()
    environment |= {"POLYPSEG_HOST": "127.0.0.1", "POLYPSEG_PORT": str(port), "POLYPSEG_TOKEN": TOKEN}
    environment |= {"TMPDIR": str(temporary)} | ({"POLYPSEG_MODEL": str(Path(model).resolve())} if model else {})
    as_user = {"user": user, "group": user, "extra_groups": []} if os.geteuid() == 0 else {}
    if as_user:
        os.chown(temporary, user, user)
    subprocess.run(["chmod", "-R", "a-w", scratch / "app", scratch / "opt"], check=True)
    print(f"CMD {command}, as {user if as_user else 'this user'}", flush=True)
    try:
        process = subprocess.Popen(shlex.split(command), env=environment, cwd=scratch / "app", **as_user)
    except PermissionError as error:
        raise SystemExit(
            "the Dockerfile's user may not run this Python; name another: --python /usr/bin/python3"
        ) from error
    try:
        exercise(port, check, environment, image, video)
        process.send_signal(signal.SIGTERM)
        expect("exit after SIGTERM", process.wait(60), 0)
        expect("left in /tmp", sorted(path.name for path in temporary.iterdir()), [])
    finally:
        process.kill()
        subprocess.run(["chmod", "-R", "u+w", scratch / "app", scratch / "opt"], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="instead of the packaged one")
    parser.add_argument("--python", default=sys.executable, help="that the Dockerfile's user may run too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dockerfile-") as folder:
        scratch = Path(folder)
        scratch.chmod(0o755)
        serve(scratch, build(scratch, provide_python(scratch, arguments.python)), arguments.model)
    print("the Dockerfile's commands work")


if __name__ == "__main__":
    sys.exit(main())
