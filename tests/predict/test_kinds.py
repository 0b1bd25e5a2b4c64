"""What a named path holds, by its first bytes: videos of every container, models of every tool, pictures."""

import pickle
import zipfile
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.predict.kinds import begins_like_a_video, is_run_folder, is_runnable, is_unusable_model, is_video
from predict.tiny_model import write_tiny_model
from predict.video_making import moving_scene, write_video

CONTAINERS = [
    *((suffix, "libx264") for suffix in ("mp4", "mov", "3gp", "mkv", "avi", "flv", "ts", "m2ts", "mxf", "nut", "264")),
    *((suffix, "mpeg2video") for suffix in ("mpg", "vob", "m2v", "mxf", "ts")),
    ("wmv", "wmv2"),
    ("asf", "wmv2"),
    ("m4v", "mpeg4"),
    ("webm", "libvpx-vp9"),
    ("ivf", "libvpx-vp9"),
    ("265", "libx265"),
    ("y4m", "rawvideo"),
    ("avi", "mjpeg"),
]


@pytest.mark.parametrize(("suffix", "codec"), CONTAINERS)
def test_a_video_is_one_under_any_name(tmp_path, suffix, codec):
    pytest.importorskip("av", reason='pip install "polypseg[video]"')
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = tmp_path / f"film.{suffix}"
    write_video(path, moving_scene(6), list(range(6)), codec, pixels, {}, tick=Fraction(1, 25))
    for name in ("film", "film.jpg", "film.h5"):
        path = path.rename(tmp_path / name)
        assert is_video(str(path))
        assert not is_unusable_model(str(path))


def test_a_transport_stream_that_begins_within_a_packet(tmp_path):
    pytest.importorskip("av", reason='pip install "polypseg[video]"')
    path = write_video(tmp_path / "film.ts", moving_scene(6), list(range(6)), tick=Fraction(1, 25))
    assert begins_like_a_video(path.read_bytes()[77:])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "ICO", "JPEG2000"])
def test_pictures_are_neither(tmp_path, kind):
    path = tmp_path / "image"
    PillowImage.fromarray(moving_scene(1, (32, 32))[0]).save(path, format=kind)
    assert not is_video(str(path))
    assert not is_unusable_model(str(path))
    assert not is_runnable(str(path))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"#EXTM3U\n#EXTINF:1\na.ts\n",
        b"GGGG" * 999,
        b"some text\n" * 99,
        b"\0\0\0\x20ftypheic",
        b"\0\0\0\x20ftypavif",
        bytes(range(256)) * 9,
    ],
)
def test_other_bytes_are_no_video(tmp_path, content):
    path = tmp_path / "thing"
    path.write_bytes(content)
    assert is_video(str(path)) == content.startswith(b"GGGG")  # 188 apart lie 'G's: only its name could tell
    assert is_video("missing.MPG")
    assert not is_video("missing.png")


def hdf5(path):
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))


def pytorch(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": 1}))


def keras(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")


def safetensors(path):
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))


MAKERS = {
    "hdf5": hdf5,
    "pytorch": pytorch,
    "keras": keras,
    "safetensors": safetensors,
    "tflite": lambda path: path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(99)),
    "pickle": lambda path: path.write_bytes(pickle.dumps({"weight": np.zeros(3)})),
    "onnx": write_tiny_model,
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_model_of_another_tool_is_one_without_its_ending(tmp_path, kind):
    MAKERS[kind](tmp_path / "mymodel")
    assert is_unusable_model(str(tmp_path / "mymodel"))
    assert not is_video(str(tmp_path / "mymodel"))


@pytest.mark.parametrize(
    "name",
    ["a.h5", "A.HDF5", "a.xml", "a.bin", "a.tflite", "a.pth", "a.pt", "a.pth.tar", "a.pb", "a.safetensors", "a.ckpt"],
)
def test_a_model_is_one_by_its_ending(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"whatever it holds")
    assert is_unusable_model(str(path))
    PillowImage.new("RGB", (8, 8)).save(path, format="PNG")
    assert not is_unusable_model(str(path))  # a picture, whatever its name
    path.unlink()
    assert not is_unusable_model(str(path))  # not there: that is told


def test_folders(tmp_path):
    for name, files in {
        "saved": ["saved_model.pb"],
        "openvino": ["model.xml", "model.bin"],
        "run": ["config.toml"],
        "group": ["members.json"],
        "images": ["a.png", "notes.xml"],
    }.items():
        for file in files:
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / file).write_bytes(b"")
    unusable = {
        name for name in ("saved", "openvino", "run", "group", "images") if is_unusable_model(str(tmp_path / name))
    }
    assert unusable == {"saved", "openvino"}
    runs = {name for name in ("saved", "openvino", "run", "group", "images") if is_run_folder(str(tmp_path / name))}
    assert runs == {"run", "group"}
    assert is_runnable(str(tmp_path / "run"))
    assert is_runnable("MODEL.ONNX")
    assert is_runnable("model.Keras")
    assert not is_runnable("model.h5")
