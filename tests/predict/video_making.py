"""Videos for the tests: made on the spot, whole or damaged on purpose."""

from fractions import Fraction

import numpy as np

from polypseg.data.synthetic import synthetic_image
from polypseg.predict.predictor import Predictor
from polypseg.records.model_facts import ModelFacts

TICK = Fraction(1, 12_800)
FRAME = 512
"""Ticks of a frame at 25 frames a second."""


class Redness:
    """An engine whose probability is the image's own red."""

    name, size, threshold = "redness", 32, 0.5
    facts = ModelFacts(size=32)

    def run(self, batch):
        return np.ascontiguousarray(batch[..., :1])

    def run_with_attention(self, batch):
        raise AssertionError("a video asks for no attention")


def red_predictor(**options):
    return Predictor(Redness()).with_options(**options)


def spots(places, size=(64, 96), side=16):
    """A black image a place, with a red square whose corner (row, column) lies there; None leaves it black."""
    images = []
    for place in places:
        image = np.zeros((*size, 3), np.uint8)
        if place is not None:
            image[place[0] : place[0] + side, place[1] : place[1] + side, 0] = 250
        images.append(image)
    return images


def moving_scene(num_frames, size=(96, 128), seed=0):
    """A camera that moves and zooms over one synthetic frame."""
    import cv2

    whole, _ = synthetic_image(np.random.default_rng(seed), (2 * size[0], 2 * size[1]))
    images = []
    for index in range(num_frames):
        share = 0.6 + 0.3 * np.sin(index / 15)
        height, width = (round(share * side) for side in whole.shape[:2])
        place = 0.5 + 0.4 * np.cos(index / 11)
        top, left = int(place * (whole.shape[0] - height)), int(place * (whole.shape[1] - width))
        cut = whole[top : top + height, left : left + width]
        images.append(cv2.resize(cut, size[::-1], interpolation=cv2.INTER_AREA))
    return images


def write_video(
    path, images, pts=None, codec="libx264", pixels="yuv420p", options=None, muxer=None, rotation=0, tick=TICK
):
    """A video of these images; key frames every 10, no B-frames unless `options` say otherwise."""
    import av

    options = {"g": "10", "bf": "0", "crf": "8"} if options is None else options
    pts = [index * FRAME for index in range(len(images))] if pts is None else pts
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        context = stream.codec_context
        context.height, context.width, context.pix_fmt = *images[0].shape[:2], pixels
        context.time_base = stream.time_base = tick
        if rotation:
            stream.set_display_rotation(rotation)
        for image, at in zip(images, pts, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = at, tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read_video(path):
    """Images and seconds of a video's frames."""
    import av

    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [frame.to_ndarray(format="rgb24") for frame in frames], [float(frame.time) for frame in frames]


def with_zeros(path, begins, ends):
    """The file, its media data zeroed between two shares of its length."""
    content = bytearray(path.read_bytes())
    first = content.find(b"mdat") + 4
    length = int.from_bytes(content[first - 8 : first - 4], "big") - 8
    low, high = first + int(begins * length), first + int(ends * length)
    content[low:high] = bytes(high - low)
    path.write_bytes(content)
    return path
