"""`predict_videos`: one function for any engine."""

import os
import pickle
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

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
    job, loads, load = make_job(tmp_path, 2), [], module.ArchiveJob.load
    monkeypatch.setattr(module.ArchiveJob, "load", lambda self: loads.append(1) or load(self))
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


PAGE = Path(__file__).parents[2] / "docs/how-to/archive.md"


def run_snippet(engine, folder):
    """Run the snippet of an engine as the page has it, in a folder with `videos.parquet`; the paths in there."""
    job = make_job(folder, 2)
    videos = sorted(map(str, (job.archive.parent / "videos").iterdir()))
    parquet.write_table(pyarrow.table({"path": videos}), folder / "videos.parquet")
    [snippet] = [block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if engine in block]
    (folder / "snippet.py").write_text(snippet)
    source = [str(Path(__file__).parents[2] / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(source), "PYSPARK_PYTHON": sys.executable}
    words = [sys.executable, "snippet.py"]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return videos


@pytest.mark.slow
def test_the_lines_for_spark_run_as_written(tmp_path):
    pytest.importorskip("pyspark", reason="pip install pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark needs a Java runtime: apt install default-jre-headless")
    videos = run_snippet("pyspark", tmp_path)
    found = parquet.read_table(tmp_path / "frames").to_pylist()
    assert sorted(found, key=lambda row: (row["path"], row["frame"])) == list(predict_videos(videos, "polyp-lite"))


@pytest.mark.slow
def test_the_lines_for_dask_run_as_written(tmp_path):
    pytest.importorskip("dask.bag", reason="pip install dask")
    videos = run_snippet("dask.bag", tmp_path)
    assert parquet.read_table(tmp_path / "frames-dask.parquet").to_pylist() == list(
        predict_videos(videos, "polyp-lite")
    )
