"""`predict_videos`: one function for any engine."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from archive.archive_making import make_job, make_videos, run_here, tables
from polypseg.archive import rows as module
from polypseg.archive.options import ArchiveOptions
from polypseg.archive.rows import predict_videos
from polypseg.predict.video.options import VideoOptions


def test_the_rows_are_those_of_the_archive(tmp_path):
    job = make_job(tmp_path, 2, video=VideoOptions(withhold_frames=2))
    run_here(job)
    videos = sorted(map(str, (tmp_path / "videos").iterdir()))
    predicted = partial(predict_videos, model=job.model, options=job.options, engine="onnxruntime")
    rows = list(pickle.loads(pickle.dumps(predicted))(videos))  # noqa: S301  (what an engine does with it)
    frames, _, procedures, _ = tables(job)
    kept = [{"path": row["path"], **frame} for row in procedures for frame in frames[f"video={row['video']}"]]
    assert rows == kept
    assert [row["path"] for row in rows] == [path for path in videos for _ in range(6)]


def test_a_video_that_cannot_be_read_is_a_row_and_the_others_follow(tmp_path):
    job = make_job(tmp_path, 2)
    first, second = sorted((tmp_path / "videos").iterdir())
    first.write_bytes(first.read_bytes()[:300])
    gone = tmp_path / "gone.mp4"
    rows = list(predict_videos([first, gone, second], job.model, engine="onnxruntime"))
    assert [row["path"] for row in rows[:2]] == [str(first), str(gone)]
    assert "index of the video is missing" in rows[0]["fault"]
    assert "no such file" in rows[1]["fault"]
    assert rows[0]["frame"] is None
    assert rows[0].keys() == rows[2].keys()
    assert len(rows) == 2 + 6


def test_a_process_loads_the_model_once(tmp_path, monkeypatch):
    job, loads, load = make_job(tmp_path, 2), [], module.Job.load
    monkeypatch.setattr(module.Job, "load", lambda self: loads.append(1) or load(self))
    module._predictor.cache_clear()
    for path in sorted((tmp_path / "videos").iterdir()):
        list(predict_videos([path], job.model, engine="onnxruntime"))
    assert loads == [1]


def test_fewer_frames(tmp_path):
    job = make_job(tmp_path, 1)
    options = ArchiveOptions(seconds_apart=0.1)
    rows = list(predict_videos(sorted((tmp_path / "videos").iterdir()), job.model, options, "onnxruntime"))
    assert [row["frame"] for row in rows] == [0, 3, 5]


def test_ten_lines_of_a_map(tmp_path):
    job = make_job(tmp_path, 3)
    videos = make_videos(tmp_path / "videos", 3)
    predicted = partial(predict_videos, model=job.model, engine="onnxruntime")
    with ThreadPoolExecutor(2) as pool:  # as an engine maps partitions
        rows = [row for part in pool.map(lambda path: list(predicted([path])), videos) for row in part]
    assert len(rows) == 18


@pytest.mark.slow
def test_spark_maps_it(tmp_path):
    sql = pytest.importorskip("pyspark.sql", reason="pip install pyspark, and a Java runtime")
    job = make_job(tmp_path, 2)
    videos = sorted(map(str, (tmp_path / "videos").iterdir()))
    predicted = partial(predict_videos, model=job.model, engine="onnxruntime")
    spark = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        found = spark.sparkContext.parallelize(videos, 2).mapPartitions(predicted).collect()
    finally:
        spark.stop()
    assert found == list(predicted(videos))
