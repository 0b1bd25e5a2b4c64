"""Anonymising as a whole: names, metadata, masks, groups, the report and the key."""

import csv
import stat
import struct

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo
from typer.testing import CliRunner

from polypseg.annotate.anonymise import anonymise
from polypseg.annotate.metadata import metadata_kinds
from polypseg.annotate.records import key_path
from polypseg.cli import app
from polypseg.data.catalogue import find_samples
from polypseg.data.samples import load_sample
from polypseg.errors import DataError

from .frames import octagon, picture, write

SECRET = b"DoeJane1970"


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def chunks(path):
    content, place, names = path.read_bytes(), 8, []
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        names.append(content[place + 4 : place + 8].decode())
        place += 12 + length
    return names


@pytest.fixture
def folder(tmp_path):
    """Two frames of one patient and one of another, with masks, names, EXIF, XMP, comments and texts."""
    data = tmp_path / "DoeJane1970"
    for name in ("images", "masks"):
        (data / name).mkdir(parents=True)
    exif = PillowImage.Exif()
    exif[0x010E], exif[0x8825] = SECRET.decode(), {1: "N", 2: (1.0, 2.0, 3.0)}
    for seed, name in enumerate(("DoeJane1970-1", "DoeJane1970-2", "RoeRichard-1")):
        frame, polyp = picture(seed)
        frame = write(frame, "DOE JANE 1970", (14, 24), 0.5)
        if seed == 0:
            texts = PngInfo()
            texts.add_text("Title", SECRET.decode())
            PillowImage.fromarray(frame).save(data / "images" / f"{name}.png", pnginfo=texts)
        else:
            PillowImage.fromarray(frame).save(
                data / "images" / f"{name}.jpg", quality=95, exif=exif, comment=SECRET, xmp=b"<x>" + SECRET + b"</x>"
            )
        PillowImage.fromarray(polyp).save(data / "masks" / f"{name}.png")
    (data / "groups.csv").write_text(
        "frame,group\nDoeJane1970-1,DoeJane1970\nDoeJane1970-2,DoeJane1970\nRoeRichard-1,Roe\n"
    )
    return data


def test_nothing_of_the_patient_remains_in_any_byte(tmp_path, folder):
    done = anonymise(folder, tmp_path / "shared", seed=0)
    files = [path for path in (tmp_path / "shared").rglob("*") if path.is_file()]
    assert sorted(path.relative_to(tmp_path / "shared").as_posix() for path in files) == sorted(
        [f"{kind}/00000{n}.png" for kind in ("images", "masks") for n in (1, 2, 3)] + ["groups.csv", "report.csv"]
    )
    for path in files:
        assert SECRET not in path.read_bytes()
        if path.suffix == ".png":
            assert set(chunks(path)) <= {"IHDR", "IDAT", "IEND"}
    assert done.faults == []


def test_masks_and_groups_stay_with_their_frames(tmp_path, folder):
    done = anonymise(folder, tmp_path / "shared", seed=0)
    samples, faults = find_samples(tmp_path / "shared")
    assert faults == []
    originals = {sample.name: sample for sample in find_samples(folder)[0]}
    keys = {row["name"]: row for row in rows_of(done.key)}
    groups = {}
    for sample in samples:
        key = keys[sample.name]
        original = originals[key["file"].rpartition("/")[2].partition(".")[0]]
        image, mask = load_sample(sample)
        before, before_mask = load_sample(original)
        inside = cv2.erode(octagon().view(np.uint8), np.ones((9, 9))).astype(bool)
        np.testing.assert_array_equal(image[inside], before[inside])
        np.testing.assert_array_equal(mask, before_mask)
        assert sample.group == key["new_group"] != key["group"]
        groups.setdefault(key["group"], set()).add(sample.group)
    assert sorted(groups) == ["DoeJane1970", "Roe"]
    assert len(set.union(*groups.values())) == 2


def test_the_key_is_apart_and_only_its_owners(tmp_path, folder):
    done = anonymise(folder, tmp_path / "shared")
    assert done.key == tmp_path / "shared.key.csv" == key_path(tmp_path / "shared")
    assert stat.S_IMODE(done.key.stat().st_mode) == 0o600
    assert {len(row["sha256"]) for row in rows_of(done.key)} == {64}


def test_the_report_says_what_was_removed_from_each_file(tmp_path, folder):
    anonymise(folder, tmp_path / "shared")
    rows = rows_of(tmp_path / "shared" / "report.csv")
    assert sorted(row["removed"] for row in rows) == [
        "EXIF; GPS; XMP; comment",
        "EXIF; GPS; XMP; comment",
        "text 'Title'",
    ]
    assert {(row["kind"], row["text_blanked"], row["text_left"], row["polyp_blanked_px"]) for row in rows} == {
        ("image", "1", "0", "0")
    }
    lost = 100 * (1 - octagon().mean())
    assert all(abs(float(row["blanked_percent"]) - lost) < 1 for row in rows)  # but for the margin of 2 pixels


def test_names_are_in_a_random_order(tmp_path, folder):
    orders = set()
    for seed in range(4):
        keys = rows_of(anonymise(folder, tmp_path / f"shared{seed}", seed=seed).key)
        orders.add(tuple(row["file"] for row in sorted(keys, key=lambda row: row["name"])))
    assert len(orders) > 1


def test_a_key_that_is_there_is_never_overwritten(tmp_path, folder):
    (tmp_path / "shared.key.csv").write_text("precious")
    with pytest.raises(DataError, match="a key is there already"):
        anonymise(folder, tmp_path / "shared")
    assert (tmp_path / "shared.key.csv").read_text() == "precious"


def test_a_page_of_text_stops_or_is_left_out_on_request(tmp_path):
    (tmp_path / "in" / "day 1").mkdir(parents=True)
    page = write(np.zeros((200, 300, 3), np.uint8), "DOE JANE", (20, 80), 1.0)
    PillowImage.fromarray(page).save(tmp_path / "in" / "page.png")
    PillowImage.fromarray(picture()[0]).save(tmp_path / "in" / "day 1" / "frame.png")
    with pytest.raises(DataError, match=r"page\.png: no picture was found"):
        anonymise(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not key_path(tmp_path / "out").exists()
    with pytest.warns(UserWarning, match="left out 1 file"):
        done = anonymise(tmp_path / "in", tmp_path / "out", skip_bad=True)
    assert [row.kind for row in done.rows] == ["image"]


def test_what_is_neither_image_nor_video_is_told(tmp_path):
    (tmp_path / "in").mkdir()
    PillowImage.fromarray(picture()[0]).save(tmp_path / "in" / "frame.png")
    (tmp_path / "in" / "report.docy").write_bytes(SECRET)
    with pytest.raises(DataError, match=r"report\.docy: neither an image, a video nor DICOM"):
        anonymise(tmp_path / "in", tmp_path / "out")


def test_a_polyp_that_is_blanked_is_told(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / "in" / name).mkdir(parents=True)
    PillowImage.fromarray(picture()[0]).save(tmp_path / "in" / "images" / "a.png")
    mask = np.zeros((480, 640), bool)
    mask[200:220, 100:150] = True  # the picture begins at column 130; a margin is kept
    PillowImage.fromarray(mask).save(tmp_path / "in" / "masks" / "a.png")
    (row,) = anonymise(tmp_path / "in", tmp_path / "out").rows
    assert 20 * 26 <= row.polyp_blanked_px <= 20 * 30


def test_kinds_of_a_tiff_and_of_no_image(tmp_path):
    PillowImage.new("RGB", (9, 9)).save(tmp_path / "a.tif", tiffinfo={270: "x", 315: "y"})
    assert metadata_kinds(tmp_path / "a.tif") == ("artist", "description")
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n")
    assert metadata_kinds(tmp_path / "b.png") == ()


@pytest.mark.slow
def test_a_video_loses_sound_tags_surround_and_its_title_page(tmp_path):
    av = pytest.importorskip("av")
    frames = [write(picture(seed)[0], "DOE JANE 1970", (14, 24), 0.5) for seed in range(10)]
    frames[0] = write(np.zeros_like(frames[0]), "DOE JANE", (200, 240), 1.0)  # a title page
    source = tmp_path / "Doe.mp4"
    with av.open(str(source), "w") as container:
        container.metadata.update({"title": SECRET.decode(), "comment": "ward 3"})
        stream = container.add_stream("libx264", rate=10, options={"crf": "8"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        sound = container.add_stream("aac", rate=44100)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        tone.sample_rate = 44100
        container.mux(sound.encode(tone))
        container.mux([*stream.encode(None), *sound.encode(None)])
    done = anonymise(source, tmp_path / "out")
    assert SECRET not in (tmp_path / "out" / "videos" / "000001.mp4").read_bytes()
    (row,) = done.rows
    assert (row.kind, row.text_left) == ("video", 0)
    assert {"audio", "tag title", "tag comment"} <= set(row.removed)
    with av.open(str(tmp_path / "out" / "videos" / "000001.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        assert container.metadata.keys() & {"title", "comment"} == set()
        back = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(back) == 10
    assert back[0].max() < 20  # the title page is black
    outside = ~cv2.dilate(octagon().view(np.uint8), np.ones((25, 25))).astype(bool)
    assert max(image[outside].max() for image in back) < 20  # but for the ripple of the codec
    assert all(np.abs(image[200:300, 250:350].astype(int) - frame[200:300, 250:350]).mean() < 6
               for image, frame in zip(back[1:], frames[1:], strict=True))  # fmt: skip


def test_the_command_tells_what_was_removed_and_what_is_left(tmp_path, folder):
    frame = write(picture(7)[0], "PATIENT 4711", (250, 240))
    PillowImage.fromarray(frame).save(folder / "images" / "more.png")
    PillowImage.fromarray(np.zeros(frame.shape[:2], bool)).save(folder / "masks" / "more.png")
    (folder / "groups.csv").unlink()
    words = ["data", "anonymise", str(folder), str(tmp_path / "out")]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "wrote 4 files" in result.stdout
    assert "metadata removed: EXIF (2)" in result.stdout
    assert "lines of text blanked in 3 files" in result.stdout
    assert "1 file: text is left inside the picture or over its edge" in result.stdout
    assert f"the key: {tmp_path / 'out.key.csv'}" in result.stdout
