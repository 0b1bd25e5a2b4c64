"""Folders of images in chunks: which images are in which, what is predicted, what a change changes."""

import hashlib
import os
from collections import Counter

import numpy as np
import pytest
from PIL import Image as PillowImage

from archive.archive_making import make_videos, opened, run_here, tables
from polypseg.archive import images as image_chunks
from polypseg.archive.images import Chunk, chunks_of
from polypseg.archive.manifest import read_manifest
from polypseg.archive.options import ArchiveJob, ArchiveOptions
from polypseg.archive.plan import plan_archive
from polypseg.archive.verify import verify_archive
from polypseg.archive.worker import Came
from polypseg.errors import DataError
from predict.tiny_model import write_picture, write_tiny_model


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of about four images, as the digests of these names want it."""
    monkeypatch.setattr(image_chunks, "MEAN_IMAGES", 4)


def ends(name):
    """Whether a chunk ends at a name: SHA-256's first four bytes are a multiple of the mean."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 4 == 0


def make_images(folder, names):
    """Images whose left part is red where their number is odd."""
    for number, name in enumerate(names):
        write_picture(folder / name, 255 if number % 2 else 0, box=(4, 4, 14, 14))
        array = np.asarray(PillowImage.open(folder / name)).copy()
        array[..., 1], array[0, number] = 60, 200  # no two alike, none black
        array[0, number, 0] = 0
        PillowImage.fromarray(array).save(folder / name)


def planned(tmp_path, source="frames"):
    plan_archive(str(tmp_path / source), tmp_path / "archive", with_images=True)
    return list(read_manifest(tmp_path / "archive"))


def job_of(tmp_path, **options):
    model = tmp_path / "tiny.onnx"
    if not model.exists():
        write_tiny_model(model)
    return ArchiveJob(tmp_path / "archive", str(model), "onnxruntime", 1, ArchiveOptions(**options))


def test_a_chunk_ends_where_the_names_say():
    names = [f"{number:03d}.png" for number in range(40)]
    found = list(chunks_of("/f", reversed(names)))
    starts = [0, *[place + 1 for place, name in enumerate(names[:-1]) if ends(name)]]
    assert [chunk.first for chunk in found] == [names[start] for start in starts]
    assert max(names.index(chunk.last) - names.index(chunk.first) for chunk in found) < 16
    # a name in the middle changes one chunk, or cuts it in two
    more = {chunk.path for chunk in chunks_of("/f", [*names, "020x.png"])}
    assert len({chunk.path for chunk in found} - more) <= 1
    assert list(chunks_of("/f", [])) == []


def test_many_names_in_which_no_chunk_ends_are_cut(monkeypatch):
    monkeypatch.setattr(image_chunks, "MOST_IMAGES", 3)
    monkeypatch.setattr(image_chunks, "MEAN_IMAGES", 1 << 30)
    assert [chunk.path for chunk in chunks_of("/f", "abcdefg")] == ["/f//a//c", "/f//d//f", "/f//g//g"]


def test_images_and_videos_are_listed_in_the_order_of_their_paths(tmp_path):
    names = [f"{number:02d}.png" for number in range(10)]
    make_images(tmp_path / "frames", names)
    make_images(tmp_path / "frames/-early", ["a.jpg"])
    make_videos(tmp_path / "frames/later", 1)
    (tmp_path / "frames/notes.txt").write_text("no image")
    (tmp_path / "frames/.hidden.png").write_bytes(b"")
    entries = planned(tmp_path)
    paths = [entry.path for entry in entries]
    assert paths == sorted(paths)
    chunks = [Chunk.of(path) for path in paths if "//" in path]
    listed = [image.name for chunk in chunks if chunk.folder.name == "frames" for image in chunk.images()]
    assert listed == names
    assert sum(entry.num_frames for entry in entries if entry.codec == "images") == 11
    assert paths[-1].endswith("later/000.mp4")
    assert len(entries) == 1 + len(chunks)
    # without the option nothing but the video is seen
    plan_archive(str(tmp_path / "frames"), tmp_path / "videos-alone")
    assert [entry.path for entry in read_manifest(tmp_path / "videos-alone")] == [paths[-1]]


def test_an_image_gets_what_predict_says_of_it(tmp_path):
    names = [f"{number:02d}.png" for number in range(6)]
    make_images(tmp_path / "frames", names)
    planned(tmp_path)
    job = job_of(tmp_path, masks="png", write_video=True)
    summary = run_here(job)
    assert summary.num_frames == 6
    frames, detections, procedures, _ = tables(job)
    rows = {row["image"]: row for part in frames.values() for row in part}
    predictor = job.load()[0]
    for name in names:
        found = predictor.predict_file(tmp_path / "frames" / name)
        assert (rows[name]["area_px"], rows[name]["seconds"]) == (int(found.mask.sum()), None)
        assert rows[name]["max_probability"] == pytest.approx(float(found.probability.max()))
    assert sorted(name for name in names if rows[name]["area_px"]) == names[1::2]
    assert len(detections) == 3  # every second image, none joined to another
    assert all(row["num_frames"] == 1 and row["first_seconds"] is None for row in detections)
    assert sum(row["num_with_polyp"] for row in procedures) == 3
    assert len(list(job.archive.glob("results/*/*/*/masks/*.png"))) == 3
    assert verify_archive(job.archive, inputs=True).changed == []


def test_only_the_chunk_of_a_changed_image_is_done_again(tmp_path):
    names = [f"{number:03d}.png" for number in range(20)]
    make_images(tmp_path / "frames", names)
    before = planned(tmp_path)
    job = job_of(tmp_path)
    run_here(job)
    image = tmp_path / "frames/010.png"
    content = image.read_bytes()
    write_picture(image, 9)
    assert verify_archive(job.archive, inputs=True).changed[0].endswith("its bytes changed since it was planned "
        f"(SHA-256 {image_chunks.digest_of_images(_chunk_with(before, '010.png'))[:12]}…)")  # fmt: skip
    (tmp_path / "frames/019x.png").write_bytes(content)
    after = planned(tmp_path)
    changed = {entry.path for entry in after} - {
        entry.path for entry in after if entry.video in {each.video for each in before}
    }
    assert _chunk_with(after, "010.png") in changed
    assert len(changed) == 2  # that one, and the one with a further image
    assert run_here(job).came == Counter({Came.DONE: 2})
    assert sum(len(rows) for rows in tables(job)[0].values()) == 21


def _chunk_with(entries, name):
    return next(entry.path for entry in entries if name in {image.name for image in Chunk.of(entry.path).images()})


def test_a_change_after_the_plan_is_noticed(tmp_path):
    make_images(tmp_path / "frames", ["a.png"])
    planned(tmp_path)
    job = job_of(tmp_path)
    write_picture(tmp_path / "frames/a.png", 9)
    assert run_here(job).came == Counter({Came.CHANGED: 1})
    (tmp_path / "frames/a.png").unlink()
    assert run_here(job).came == Counter({Came.MISSING: 1})


def test_a_damaged_image_is_a_row_with_its_fault(tmp_path):
    make_images(tmp_path / "frames", ["a.png", "b.png"])
    (tmp_path / "frames/b.png").write_bytes(b"no picture")
    planned(tmp_path)
    job = job_of(tmp_path)
    run_here(job)
    frames, _, procedures, _ = tables(job)
    rows = {row["image"]: row for part in frames.values() for row in part}
    assert (rows["b.png"]["fault"], rows["b.png"]["area_px"]) == ("damaged", None)
    assert rows["b.png"]["note"]
    assert str(tmp_path) not in rows["b.png"]["note"]
    assert sum(row["num_damaged"] for row in procedures if row["num_damaged"]) == 1


def test_a_chunk_in_which_nothing_can_be_read_is_faulty(tmp_path):
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames/a.png").write_bytes(b"no picture")
    planned(tmp_path)
    job = job_of(tmp_path)
    summary = run_here(job)
    assert "none of its 1 images can be read" in summary.reasons[0]
    assert opened(job).state(next(read_manifest(job.archive)).video) == "faulty"


def test_a_list_may_name_folders(tmp_path):
    make_images(tmp_path / "one", ["a.png"])
    make_images(tmp_path / "two", ["b.png"])
    (tmp_path / "list.txt").write_text("two\none\n")
    assert [os.path.basename(entry.path) for entry in planned(tmp_path, "list.txt")] == ["a.png", "b.png"]  # noqa: PTH119
    with pytest.raises(DataError, match="images at an address are not predicted"):
        plan_archive("memory://frames/", tmp_path / "other", with_images=True)
    with pytest.raises(DataError, match="holds no videos; images count with --images"):
        plan_archive(str(tmp_path / "one"), tmp_path / "other")
