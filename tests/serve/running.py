"""A real server in a thread, and the images that are sent to it."""

import asyncio
import io
import threading
from contextlib import contextmanager
from time import monotonic, sleep

import httpx
import numpy as np
from PIL import Image

from polypseg.predict.predictor import Predictor
from polypseg.serve.api import create_app
from polypseg.serve.server import make_server, open_socket
from polypseg.serve.settings import Settings


@contextmanager
def serving(model=None, engine=None, extend=lambda app: None, **settings):
    """A client of a server that is up, and the service behind it; around a file, or an engine of the test's own.

    `extend` gets the application before it starts.
    """
    predictor = Predictor(engine) if engine else None
    app = create_app(Settings(model=model, engine="onnxruntime", **settings), predictor)
    extend(app)
    listening = open_socket("127.0.0.1", 0)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    server = make_server(app, "127.0.0.1", 0)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            sleep(0.01)
        with httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
            client.service, client.server, client.thread = app.state.service, server, thread
            yield client
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
        assert not thread.is_alive()


def wait_until(condition, seconds=10.0):
    """Whether the condition came true in time."""
    until = monotonic() + seconds
    while monotonic() < until:
        if condition():
            return True
        sleep(0.01)
    return False


def picture(height=40, width=60, box=(20, 10, 20, 20), colour=(255, 128, 64)):
    """Black, with a rectangle (x, y, width, height) of a colour."""
    image = np.zeros((height, width, 3), np.uint8)
    x, y, w, h = box
    image[y : y + h, x : x + w] = colour
    return image


def png(image, name="PNG"):
    """The bytes of an image file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, name)
    return buffer.getvalue()


def png_header(height, width):
    """A PNG file that says it has so many pixels, and holds none."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
