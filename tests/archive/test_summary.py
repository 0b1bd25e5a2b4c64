"""The summary's tables, read by others; what verify finds; what forget removes; what status counts."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pyarrow import dataset, parquet

from archive.archive_making import make_job, make_videos, opened, run_here, tables
from polypseg.archive.forget import forget_video
from polypseg.archive.manifest import MANIFEST_NAME, read_manifest
from polypseg.archive.options import ArchiveOptions
from polypseg.archive.plan import plan_archive
from polypseg.archive.run import ArchivePart
from polypseg.archive.status import archive_status
from polypseg.archive.store import State, the_run
from polypseg.archive.summary import summarise
from polypseg.archive.verify import verify_archive
from polypseg.errors import ArchiveError, BusyError, UsageError


@pytest.fixture
def job(tmp_path):
    job = make_job(tmp_path, 3)
    run_here(job)
    return job


def videos_of(job):
    return [entry.video for entry in read_manifest(job.archive)]


def texts_below(folder):
    """What all files of a folder hold, and their names."""
    names = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return "\n".join(names).encode() + b"".join(contents)


class TestSummary:
    def test_counts(self, job):
        summary = summarise(opened(job))
        assert (summary.num_procedures, summary.num_done, summary.num_frames, summary.num_detections) == (3, 3, 18, 3)
        assert summary.folder == job.archive / "summary" / opened(job).run

    def test_frames_are_a_partitioned_data_set(self, job):
        folder = summarise(opened(job)).folder
        found = dataset.dataset(folder / "frames", partitioning="hive").to_table()
        assert found.num_rows == 18
        assert set(found["video"].to_pylist()) == set(videos_of(job))

    def test_duckdb_reads_it_without_us(self, job):
        duckdb = pytest.importorskip("duckdb")
        folder = summarise(opened(job)).folder
        query = f"""
            select p.video, count(*), sum(f.num_components) from '{folder}/procedures.parquet' p
            join read_parquet('{folder}/frames/*/*.parquet', hive_partitioning = true) f using (video)
            group by p.video order by p.video"""
        # six frames a video, one component in three of them
        assert duckdb.sql(query).fetchall() == [(video, 6, 3) for video in sorted(videos_of(job))]

    def test_polars_reads_it_without_us(self, job):
        polars = pytest.importorskip("polars")
        folder = summarise(opened(job)).folder
        frames = polars.scan_parquet(f"{folder}/frames/**/*.parquet", hive_partitioning=True)
        counted = frames.group_by("video").agg(polars.len(), polars.col("num_components").sum()).sort("video")
        assert counted.collect().rows() == [(video, 6, 3) for video in sorted(videos_of(job))]
        assert polars.read_parquet(f"{folder}/detections.parquet")["num_frames"].to_list() == [3, 3, 3]
        assert polars.read_parquet(f"{folder}/procedures.parquet")["state"].to_list() == ["done"] * 3

    def test_procedures_are_a_csv_too(self, job):
        folder = summarise(opened(job)).folder
        lines = (folder / "procedures.csv").read_text().splitlines()
        assert lines[0].startswith("video,path,state,reason,video_seconds,num_read")
        assert lines[1].startswith(f"{videos_of(job)[0]},{job.archive.parent / 'videos/000.mp4'},done,,0.24,6,6,3,1,0")

    def test_open_and_missing_videos_have_rows(self, job, tmp_path):
        make_videos(tmp_path / "videos", 4)
        (tmp_path / "list.txt").write_text("videos/000.mp4\nvideos/003.mp4\nvideos/gone.mp4\n")
        plan_archive(str(tmp_path / "list.txt"), job.archive)
        rows = tables(job)[2]
        assert [row["state"] for row in rows] == ["done", "open", "missing"]
        assert rows[2]["reason"] == "No such file or directory"

    def test_it_is_replaced_only_where_asked_and_where_it_is_ours(self, job, tmp_path):
        first = tables(job)
        with pytest.raises(UsageError, match="exists; replace it with --overwrite"):
            summarise(opened(job))
        assert tables(job) == first
        with pytest.raises(UsageError, match="is no summary, and is not overwritten"):
            summarise(opened(job), tmp_path / "videos", overwrite=True)

    def test_a_damaged_result_is_told_and_leaves_the_old_tables(self, job):
        first = tables(job)
        path = opened(job).place(videos_of(job)[1]) / "detections.parquet"
        path.write_bytes(path.read_bytes()[:50])
        with pytest.raises(ArchiveError, match=r"detections.parquet: cannot be read .*verify"):
            summarise(opened(job), overwrite=True)
        assert (job.archive / "summary" / opened(job).run / "procedures.csv").read_text() == first[3]


class TestVerify:
    def test_what_is_whole(self, job):
        found = verify_archive(job.archive, inputs=True)
        assert (found.num_results, found.num_inputs, found.damaged, found.changed) == (3, 3, [], [])

    def test_damage_is_found_and_made_again(self, job):
        before = tables(job)
        store, (first, second, third) = opened(job), videos_of(job)
        frames = store.place(first) / "frames.parquet"
        content = bytearray(frames.read_bytes())
        content[20] ^= 1
        frames.write_bytes(content)
        (store.place(second) / "detections.parquet").unlink()
        (store.place(second) / "more.txt").write_text("added")
        (store.place(third) / "record.json").write_text("{")
        found = verify_archive(job.archive)
        said = {line.rpartition("/")[2].partition(": ")[0]: line.partition(": ")[2] for line in found.damaged}
        assert said[first] == "frames.parquet was changed or damaged"
        assert said[second] == "detections.parquet is missing; more.txt was added"
        assert said[third].startswith("not a record of a result, or a damaged one")
        assert verify_archive(job.archive, remove=True).num_removed == 3
        assert verify_archive(job.archive).num_results == 0
        run_here(job)
        assert tables(job) == before

    def test_the_result_of_another_video_is_found(self, job):
        store, (first, second, _) = opened(job), videos_of(job)
        shutil.rmtree(store.place(first))
        shutil.copytree(store.place(second), store.place(first))
        assert verify_archive(job.archive).damaged == [f"{store.place(first)}: is the result of another video"]

    def test_changed_and_missing_videos_are_found(self, job, tmp_path):
        (tmp_path / "videos/000.mp4").write_bytes(b"other")
        (tmp_path / "videos/001.mp4").unlink()
        changed = verify_archive(job.archive, inputs=True).changed
        assert "its bytes changed since it was planned" in changed[0]
        assert "No such file" in changed[1]
        assert len(changed) == 2

    def test_work_that_is_going_on_is_left_alone(self, job):
        store, video = opened(job), videos_of(job)[0]
        left = store.place(video).with_name(f".{video}.1.part")
        left.mkdir()
        with store.alone(video):
            assert verify_archive(job.archive, remove=True).num_removed == 0
        assert verify_archive(job.archive, remove=True).num_removed == 1
        assert not left.exists()


class TestForget:
    def test_nothing_of_the_video_is_left_but_its_digest(self, job, tmp_path):
        second = job._replace(options=ArchiveOptions(masks="png", write_video=True))
        run_here(second)
        before = tables(job)
        tables(second)
        video = videos_of(job)[1]
        shutil.copytree(job.archive / "summary" / opened(job).run, job.archive / "summary/.killed.1.part")
        shutil.copytree(opened(job).place(video), opened(job).place(video).with_name(f".{video}.1.part"))
        done = forget_video(job.archive, video[:8])
        assert (done.video, len(done.runs)) == (video, 2)
        assert done.paths == [str(tmp_path / "videos/001.mp4")]
        # in each of two summaries: six frames, a detection, a procedure
        assert done.num_rows == 2 * (6 + 1 + 1)
        (job.archive / "forgotten.txt").rename(tmp_path / "forgotten.txt")
        left = texts_below(job.archive)
        assert video.encode() not in left
        assert b"001.mp4" not in left
        (tmp_path / "forgotten.txt").rename(job.archive / "forgotten.txt")
        frames, detections, procedures, text = tables(job)
        assert frames == {name: rows for name, rows in before[0].items() if video not in name}
        assert detections == [row for row in before[1] if row["video"] != video]
        assert procedures == [row for row in before[2] if row["video"] != video]
        assert text == "".join(line for line in before[3].splitlines(keepends=True) if video not in line)

    def test_the_tables_without_it_are_those_of_a_new_summary(self, job):
        tables(job)
        folder = job.archive / "summary" / opened(job).run
        forget_video(job.archive, videos_of(job)[0])
        cut = [parquet.read_table(folder / f"{name}.parquet").to_pylist() for name in ("detections", "procedures")]
        assert cut == list(tables(job)[1:3])

    def test_again_removes_what_came_back(self, job, tmp_path):
        video = videos_of(job)[0]
        forget_video(job.archive, video)
        opened(job).place(video).mkdir(parents=True, exist_ok=True)  # as restored from a backup
        assert forget_video(job.archive, video).runs == [opened(job).run]

    def test_a_digest_must_be_clear(self, job):
        with pytest.raises(UsageError, match="expected at least 8 of its 64 digits"):
            forget_video(job.archive, videos_of(job)[0][:7])
        with pytest.raises(UsageError, match="holds no such video"):
            forget_video(job.archive, "0" * 64)

    def test_a_video_at_work_is_not_forgotten_half(self, job):
        store, video = opened(job), videos_of(job)[0]
        with store.alone(video), pytest.raises(BusyError):
            forget_video(job.archive, video)
        assert store.state(video) is State.DONE


class TestStatus:
    def test_counts_of_manifest_and_runs(self, job, tmp_path):
        videos = make_videos(tmp_path / "videos", 5)
        videos[3].write_bytes(b"\0\0\0\x18ftypmp42" + bytes(500))
        (tmp_path / "videos/copy.mp4").write_bytes(videos[0].read_bytes())
        videos[2].unlink()
        plan_archive(str(tmp_path / "videos"), job.archive)
        run_here(job, part=ArchivePart(1, 1 << 32))  # no video falls into it
        faulty = next(entry.video for entry in read_manifest(job.archive) if entry.fault)
        with opened(job).alone(faulty):
            opened(job).mark_faulty(faulty, "why")
        found = archive_status(job.archive)
        # 0 (and its copy), 1, 3 (cannot be opened), 4; frames of 0, 1 and 4
        assert (found.num_videos, found.num_rows, found.num_missing, found.num_frames) == (4, 5, 0, 18)
        assert found.video_seconds == pytest.approx(3 * 0.24)
        [run] = found.runs
        assert run.states == {State.DONE: 2, State.FAULTY: 1, State.OPEN: 1}
        assert run.seconds_done == pytest.approx(2 * 0.24)
        assert run.num_stray == 1  # 2 is gone

    def test_one_run_of_several(self, job):
        other = opened(job._replace(options=ArchiveOptions(masks="rle")))
        assert len(archive_status(job.archive).runs) == 2
        [run] = archive_status(job.archive, other.run[:6]).runs
        assert (run.run, run.states) == (other.run, {State.OPEN: 3})

    def test_an_archive_without_a_run(self, tmp_path):
        job = make_job(tmp_path, 1)
        assert archive_status(job.archive).runs == []
        with pytest.raises(ArchiveError, match="holds no run yet"):
            the_run(job.archive)


@pytest.mark.slow
def test_importing_the_room_loads_nothing_heavy():
    modules = sorted(path.stem for path in Path(sys.modules[summarise.__module__].__file__).parent.glob("*.py"))
    code = "\n".join(f"import polypseg.archive.{name}" for name in modules if name != "__init__")
    code += "\nimport sys; print(*sys.modules)"
    held = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert held & {"keras", "tensorflow", "jax", "torch", "ray", "pyarrow", "fsspec", "av"} == set()


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("cut")], ids=["gone", "damaged"])
def test_an_archive_whose_manifest_is_lost_does_not_pass_as_whole(job, damage):
    damage(job.archive / MANIFEST_NAME)
    with pytest.raises(ArchiveError, match=MANIFEST_NAME):
        verify_archive(job.archive)
