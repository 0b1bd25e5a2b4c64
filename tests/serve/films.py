"""Videos that are sent to a server, and the jobs that come of them."""

import io
import time

import numpy as np

from polypseg.serve.schemas import Job

RED = np.array([235, 20, 20], np.uint8)


def video(num_frames=10, shows=range(3, 7), size=(64, 96), rate=10):
    """The bytes of an mp4; the frames in `shows` hold a red square."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.options = {"crf": "1"}  # nothing is left of a square in the frame after it
        for number in range(num_frames):
            image = np.full((*size, 3), 20, np.uint8)
            if number in shows:
                image[16:48, 24:72] = RED
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def finished(client, job):
    """The job, once it has ended."""
    until = time.monotonic() + 60
    while (told := client.get(f"/v1/jobs/{job}").json())["state"] in ("queued", "running"):
        assert time.monotonic() < until
        time.sleep(0.05)
    Job.model_validate(told)
    return told


def start(client, content=None, **query):
    answer = client.post("/v1/video", files={"video": content or video()}, params=query)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    assert answer.json()["state"] == "queued"
    return answer.json()["id"]
