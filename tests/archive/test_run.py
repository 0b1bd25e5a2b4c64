"""What a run leaves: numbers by hand, once each, under names that follow from what they were made of."""

import os
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from archive.archive_making import HereSlot, frames_of, make_job, make_videos, opened, run_here, run_in, tables
from polypseg.archive.manifest import read_manifest
from polypseg.archive.options import ArchiveOptions
from polypseg.archive.plan import plan_archive
from polypseg.archive.run import ArchivePart, run_archive
from polypseg.archive.slots import WorkerDiedError
from polypseg.archive.store import State, find_runs, the_run
from polypseg.archive.worker import Came
from polypseg.errors import ArchiveError, ModelError, UsageError
from polypseg.predict.video.options import VideoOptions
from predict.tiny_model import write_tiny_model
from predict.video_making import read_video, spots, with_zeros, write_video


def replan(tmp_path):
    plan_archive(str(tmp_path / "videos"), tmp_path / "archive")


def videos_of(job):
    return [entry.video for entry in read_manifest(job.archive)]


def test_each_video_has_its_tables(tmp_path):
    job = make_job(tmp_path, 2)
    summary = run_here(job)
    assert (summary.came, summary.num_frames, summary.reasons) == (Counter({Came.DONE: 2}), 12, [])
    frames, detections, procedures, _ = tables(job)
    assert len(frames) == 2
    rows = frames[f"video={videos_of(job)[0]}"]
    assert [row["frame"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert [row["seconds"] for row in rows] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16, 0.2])
    assert [row["num_components"] for row in rows] == [0, 1, 1, 1, 0, 0]
    assert [row["box_x"] is None for row in rows] == [True, False, False, False, True, True]
    # the square, 16x16 at row 8, column 16, as the model of 16x16 px sees 64x96: at rows 2-5 and columns 2.67-5.33
    assert rows[1]["area_px"] == pytest.approx(256, rel=0.2)
    assert (rows[1]["box_x"], rows[1]["box_y"]) == (pytest.approx(16, abs=2), pytest.approx(8, abs=2))
    # one detection a video: frames 1 to 3, at 25 frames a second
    assert [row["video"] for row in detections] == videos_of(job)
    assert [(row["detection"], row["first_frame"], row["last_frame"], row["num_frames"]) for row in detections] == [
        (1, 1, 3, 3),
        (1, 1, 3, 3),
    ]
    assert detections[0]["last_seconds"] == pytest.approx(0.12)
    assert (detections[0]["max_area_px"], detections[0]["max_area_frame"]) == (rows[1]["area_px"], 1)
    named = ("state", "num_read", "num_frames", "num_with_polyp", "num_detections", "num_dropped", "reason")
    assert [[row[name] for name in named] for row in procedures] == [["done", 6, 6, 3, 1, 0, ""]] * 2
    assert procedures[0]["video_seconds"] == pytest.approx(0.24)


def test_a_second_run_does_nothing_and_a_new_video_alone(tmp_path):
    job = make_job(tmp_path, 2)
    run_here(job)
    before = {path: path.stat().st_mtime_ns for path in job.archive.rglob("*.parquet")}
    again = run_here(job)
    assert (again.num_before, again.came) == (2, Counter())
    make_videos(tmp_path / "videos", 3)
    replan(tmp_path)
    assert run_here(job).came == Counter({Came.DONE: 1})
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_name_follows_from_what_has_an_effect(tmp_path):
    model = tmp_path / "other.onnx"
    job = make_job(tmp_path, 1)
    names = [opened(job).run]
    for changes in (
        {"seconds_apart": 0.2},
        {"masks": "rle"},
        {"write_video": True},
        {"video": VideoOptions(withhold_frames=2)},
        {"video": VideoOptions(smoothing="window")},
        {"video": VideoOptions(smoothing="window", smoothing_frames=7)},
    ):
        names.append(opened(job._replace(options=ArchiveOptions(**changes))).run)
    write_tiny_model(model, threshold=0.25)
    names.append(opened(job._replace(model=str(model))).run)
    assert len(set(names)) == len(names)
    same = [{"video": VideoOptions(view="contour")}, {"video": VideoOptions(smoothing_frames=7)}]
    assert {opened(job._replace(options=ArchiveOptions(**changes))).run for changes in same} == {names[0]}
    assert {store.run for store, _ in find_runs(job.archive)} == set(names)
    assert the_run(job.archive, names[0]).run == names[0]
    with pytest.raises(ArchiveError, match="holds 8 runs; name one"):
        the_run(job.archive)
    with pytest.raises(ArchiveError, match="holds no run 'x'"):
        the_run(job.archive, "x")


def test_options_out_of_range_are_refused():
    with pytest.raises(UsageError, match="unknown form of masks 'jpg'"):
        ArchiveOptions(masks="jpg")
    with pytest.raises(UsageError, match="seconds_apart -1: expected 0 or more"):
        ArchiveOptions(seconds_apart=-1)


def test_a_changed_video_is_noticed_and_never_takes_the_name(tmp_path):
    job = make_job(tmp_path, 2)
    video = tmp_path / "videos/000.mp4"
    write_video(video, spots([(20, 20)] * 4))
    summary = run_here(job)
    assert summary.came == Counter({Came.DONE: 1, Came.CHANGED: 1})
    assert "its bytes changed since it was planned" in summary.reasons[0]
    assert opened(job).state(videos_of(job)[0]) is State.OPEN
    replan(tmp_path)
    assert run_here(job).came == Counter({Came.DONE: 1})
    assert [row["num_components"] for row in frames_of(job, videos_of(job)[0])] == [1] * 4


@pytest.mark.slow
def test_a_video_that_is_changed_at_work_is_noticed(tmp_path, monkeypatch):
    from polypseg.archive import worker

    job, write = make_job(tmp_path, 1), worker.write_result

    def writing(file, *rest):
        record = write(file, *rest)
        file.write_bytes(file.read_bytes() + b"more")
        return record

    monkeypatch.setattr(worker, "write_result", writing)
    assert run_here(job).came == Counter({Came.CHANGED: 1})
    assert not list(job.archive.rglob("frames.parquet"))


def test_a_touch_is_no_change_by_content_and_one_by_stamp(tmp_path):
    job = make_job(tmp_path, 1)
    plan_archive(str(tmp_path / "videos"), tmp_path / "stamps", "stamp")
    os.utime(tmp_path / "videos/000.mp4", (1, 1))
    assert run_here(job).came == Counter({Came.DONE: 1})
    summary = run_here(job._replace(archive=tmp_path / "stamps"))
    assert summary.came == Counter({Came.CHANGED: 1})
    assert "size or time changed" in summary.reasons[0]


def test_damaged_videos_become_rows_and_stop_nothing(tmp_path):
    videos = make_videos(tmp_path / "videos", 4)
    videos[0].write_bytes(videos[0].read_bytes()[:300])
    with_zeros(videos[1], 0.0, 1.0)
    write_video(videos[2], spots([(8, 16)] * 30))
    with_zeros(videos[2], 0.4, 0.5)
    job = make_job(tmp_path)
    summary = run_here(job)
    assert summary.came == Counter({Came.FAULTY: 2, Came.DONE: 2})
    procedures = tables(job)[2]
    assert [row["state"] for row in procedures] == ["faulty", "faulty", "done", "done"]
    assert "index of the video is missing" in procedures[0]["reason"]
    assert "not one of its 6 frames can be decoded" in procedures[1]["reason"]
    assert procedures[2]["num_damaged"] + procedures[2]["num_dropped"] > 0
    assert run_here(job).num_before == 4  # damage is final


def test_a_missing_video_is_done_once_it_is_there(tmp_path):
    job = make_job(tmp_path, 2)
    gone = tmp_path / "videos/001.mp4"
    gone.rename(tmp_path / "away.mp4")
    assert run_here(job).came == Counter({Came.DONE: 1, Came.MISSING: 1})
    (tmp_path / "away.mp4").rename(gone)
    assert run_here(job).came == Counter({Came.DONE: 1})


def test_two_copies_of_a_video_are_done_once(tmp_path):
    videos = make_videos(tmp_path / "videos", 1)
    (tmp_path / "videos/copy.mp4").write_bytes(videos[0].read_bytes())
    job = make_job(tmp_path)
    assert run_here(job, num_slots=2).came == Counter({Came.DONE: 1, Came.BEFORE: 1})
    frames, _, procedures, _ = tables(job)
    assert (len(frames), len(procedures)) == (1, 2)


def test_parts_share_out_every_video_once(tmp_path):
    job = make_job(tmp_path, 5)
    done = [run_here(job, part=ArchivePart.of(f"{index}/3")).came[Came.DONE] for index in (1, 2, 3)]
    assert sum(done) == 5
    assert done == [sum(int(video[:8], 16) % 3 == index for video in videos_of(job)) for index in range(3)]
    for text in ("0/3", "4/3", "1", "a/b", "-1/3"):
        with pytest.raises(UsageError, match="expected I/N"):
            ArchivePart.of(text)


class Poisoned(HereSlot):
    """Dies at one video, as a process would."""

    poison = ""

    def do(self, entry):
        if entry.video == self.poison:
            raise WorkerDiedError("its worker died of signal 9")
        return super().do(entry)


class Unplaced:
    """A slot for whose worker a cluster has no room, ever."""

    def __init__(self):
        self._closed = threading.Event()

    def begin(self):
        self._closed.wait()
        raise WorkerDiedError("the run was ended")

    def do(self, entry):
        raise AssertionError("a video was given to a slot without a worker")

    def close(self):
        self._closed.set()


@pytest.mark.timeout(60)
def test_a_slot_without_a_worker_holds_no_video_back(tmp_path):
    job = make_job(tmp_path, 3)
    store = opened(job)
    slots = [Unplaced(), HereSlot(job, store.run), Unplaced()]
    assert run_archive(store, slots).came == Counter({Came.DONE: 3})


def test_no_more_workers_begin_than_there_are_videos(tmp_path):
    job, begun = make_job(tmp_path, 2), []

    class Counted(HereSlot):
        def begin(self):
            begun.append(1)
            super().begin()

        def do(self, entry):
            return self._worker.do(entry)

    run_in(Counted, job, num_slots=5)
    assert len(begun) <= 2
    (tmp_path / "videos/000.mp4").unlink()
    replan(tmp_path)
    run_in(Counted, job._replace(archive=tmp_path / "archive"), num_slots=5)
    assert len(begun) <= 2  # what is done or missing needs none


def test_a_poison_video_is_tried_so_often_and_set_aside(tmp_path, monkeypatch):
    job = make_job(tmp_path, 3)
    poison = videos_of(job)[1]
    monkeypatch.setattr(Poisoned, "poison", poison)
    summary = run_in(Poisoned, job, tries=3)
    assert (summary.came[Came.DONE], summary.num_aside, summary.num_deaths) == (2, 1, 3)
    assert summary.reasons == [
        f"{tmp_path / 'videos/001.mp4'}: set aside after 3 tries: its worker died of signal 9",
    ]
    store = opened(job)
    assert (store.state(poison), len(store.reasons(poison))) == (State.ASIDE, 3)
    assert run_here(job).num_before == 3  # set aside stays so
    assert [row["reason"] for row in tables(job)[2]] == ["", "its worker died of signal 9", ""]
    assert store.allow_again() == 1
    assert run_here(job).came == Counter({Came.DONE: 1})
    assert [row["state"] for row in tables(job)[2]] == ["done"] * 3
    with pytest.raises(UsageError, match="tries 0"):
        run_archive(store, [HereSlot(job, store.run)], tries=0)


def test_what_raises_in_a_worker_is_tried_again_with_its_reason(tmp_path, monkeypatch):
    from polypseg.archive import worker

    job, write, failures = make_job(tmp_path, 2), worker.write_result, iter(["first", "second"])

    def sometimes(*arguments):
        for failure in failures:
            raise MemoryError(failure)
        return write(*arguments)

    monkeypatch.setattr(worker, "write_result", sometimes)
    summary = run_here(job, tries=3)
    assert (summary.came, summary.reasons) == (Counter({Came.DONE: 2}), [])
    assert not list(job.archive.rglob("*.failed"))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
def test_masks_as_run_lengths_and_as_pictures_are_the_same(tmp_path):
    job = make_job(tmp_path, 1, masks="rle")
    pictures = job._replace(options=ArchiveOptions(masks="png"))
    run_here(job), run_here(pictures)
    video = videos_of(job)[0]
    rows = parquet.read_table(opened(job).place(video) / "masks.parquet").to_pylist()
    folder = opened(pictures).place(video) / "masks"
    assert [row["frame"] for row in rows] == [1, 2, 3]
    assert sorted(path.name for path in folder.iterdir()) == ["00000001.png", "00000002.png", "00000003.png"]
    areas = [row["area_px"] for row in frames_of(job, video)]
    decode = pytest.importorskip("pycocotools.mask").decode
    for row in rows:
        with Image.open(folder / f"{row['frame']:08d}.png") as opened_picture:
            picture = np.asarray(opened_picture)
        mask = decode({"size": [row["height"], row["width"]], "counts": row["counts"]})
        assert np.array_equal(picture, mask * 255)
        assert mask.sum() == areas[row["frame"]]


def test_a_frame_an_interval_is_what_the_whole_says_of_it(tmp_path):
    job = make_job(tmp_path, 1)
    fewer = job._replace(options=ArchiveOptions(seconds_apart=0.1))
    run_here(job), run_here(fewer)
    video = videos_of(job)[0]
    # frames at 0, 0.04, …, 0.2; the first at or after 0, 0.1 and 0.2 are 0, 3 (0.12) and 5 (0.2)
    assert frames_of(fewer, video) == [frames_of(job, video)[number] for number in (0, 3, 5)]
    assert [(row["num_read"], row["num_frames"]) for row in tables(fewer)[2]] == [(6, 3)]


def test_withholding_and_smoothing_reach_the_tables(tmp_path):
    job = make_job(tmp_path, 1, video=VideoOptions(withhold_frames=3))
    run_here(job)
    frames, detections, procedures, _ = tables(job)
    assert [row["num_withheld"] for row in next(iter(frames.values()))] == [0, 1, 1, 1, 0, 0]
    assert detections == []
    assert (procedures[0]["num_withheld"], procedures[0]["num_with_polyp"]) == (1, 0)
    smooth = job._replace(options=ArchiveOptions(video=VideoOptions(smoothing="window", smoothing_frames=2)))
    run_here(smooth)
    probabilities = [row["max_probability"] for row in frames_of(smooth, videos_of(job)[0])]
    # the mean of two frames: half in the first frame of the square, half in the one after it
    assert probabilities[1] == pytest.approx(probabilities[2] / 2, abs=0.01)
    assert probabilities[4] == pytest.approx(probabilities[2] / 2, abs=0.01)


def test_a_video_with_its_masks_is_part_of_the_result(tmp_path):
    job = make_job(tmp_path, 1, write_video=True)
    run_here(job)
    images, seconds = read_video(opened(job).place(videos_of(job)[0]) / "overlay.mp4")
    assert seconds == pytest.approx([0, 0.04, 0.08, 0.12, 0.16, 0.2])
    green = [int(image[..., 1].max()) for image in images]
    assert min(green[1:4]) > max(green[0], green[4])  # the mask is outlined in green


def test_a_worker_that_would_give_other_results_is_refused(tmp_path):
    job = make_job(tmp_path, 1)
    store = opened(job)
    write_tiny_model(tmp_path / "tiny.onnx", threshold=0.25)
    with pytest.raises(ArchiveError, match="a worker would give other results"):
        run_archive(store, [HereSlot(job, store.run)])
    with pytest.raises(ModelError, match="no such file"):
        run_archive(store, [HereSlot(job._replace(model=str(tmp_path / "gone.onnx")), store.run)])


def test_a_forgotten_video_is_not_predicted_by_a_run_that_began_before(tmp_path):
    from polypseg.archive.store import add_forgotten

    job = make_job(tmp_path, 2)
    add_forgotten(job.archive, videos_of(job)[0])
    assert run_here(job).came == Counter({Came.DONE: 1, Came.FORGOTTEN: 1})


def test_nothing_hidden_is_left(tmp_path):
    job = make_job(tmp_path, 2)
    run_here(job)
    assert [path for path in job.archive.rglob(".*") if path.name != Path()] == []
