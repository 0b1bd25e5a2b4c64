"""The same archive on Ray: the tables are those of a run without it, whatever dies."""

import json
import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress

import pytest

from archive.archive_making import make_job, make_videos, opened, run_here, run_in, tables
from polypseg.archive.ray_slots import RaySlot, connect, room_for
from polypseg.archive.worker import Came
from polypseg.errors import ArchiveError, ModelError

ray = pytest.importorskip("ray", reason='pip install "polypseg[cluster]"')
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own, of every kind


@pytest.fixture
def alone():
    """A cluster of this machine."""
    connect("local")
    yield room_for(1, 0)
    ray.shutdown()


@pytest.fixture
def cluster():
    """A cluster on this machine whose head works at nothing."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield found
    ray.shutdown()
    found.shutdown()


def expected(tmp_path):
    job = make_job(tmp_path, archive="whole")
    run_here(job)
    return tables(job)


def held_by(store):
    """The processes that are at a video."""
    found = []
    for lock in store.folder.glob("??/.*.lock"):
        with suppress(OSError, ValueError, KeyError):
            found.append(json.loads(lock.read_text())["pid"])
    return found


def test_actors_do_the_same_though_some_are_killed(tmp_path, alone):
    assert alone >= 1
    make_videos(tmp_path / "videos", 8)
    job = make_job(tmp_path)
    store, killed, stopped = opened(job), [], threading.Event()

    def kill():
        while len(killed) < 3 and not stopped.wait(0.005):
            for pid in held_by(store)[:1]:
                if pid != os.getpid():
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)
                        stopped.wait(1)

    thread = threading.Thread(target=kill)
    thread.start()
    summary = run_in(RaySlot, job, tries=1000)
    stopped.set()
    thread.join()
    assert summary.num_deaths >= 1
    assert summary.came[Came.DONE] + summary.came[Came.BEFORE] == 8
    assert tables(job) == expected(tmp_path)
    assert run_in(RaySlot, job).num_before == 8
    model = job._replace(model=str(tmp_path / "gone.onnx"), archive=tmp_path / "other")
    with pytest.raises(ModelError, match="no such file"):
        RaySlot(model, store.run).do(None)


def test_a_node_that_goes_and_one_that_comes(tmp_path, cluster):
    make_videos(tmp_path / "videos", 8)
    job = make_job(tmp_path)
    connect(cluster.address)  # to the head, which stays
    node = cluster.add_node(num_cpus=1)
    store, summaries = opened(job), []
    run = threading.Thread(target=lambda: summaries.append(run_in(RaySlot, job, tries=100)))
    run.start()
    until = time.monotonic() + 150
    while len(store.states()) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    cluster.remove_node(node, allow_graceful=False)
    cluster.add_node(num_cpus=1)
    run.join(150)
    [summary] = summaries
    assert (summary.num_before, summary.reasons) == (0, [])
    assert summary.came[Came.DONE] + summary.came[Came.BEFORE] == 8
    assert tables(job) == expected(tmp_path)


def test_workers_without_room_hold_no_video_back(tmp_path, cluster):
    make_videos(tmp_path / "videos", 4)
    job = make_job(tmp_path)
    connect(cluster.address)
    cluster.add_node(num_cpus=1)
    assert (room_for(1, 0), room_for(2, 0), room_for(1, 1)) == (1, 0, 0)
    assert run_in(RaySlot, job, num_slots=3).came == Counter({Came.DONE: 4})  # two of three never begin
    assert tables(job) == expected(tmp_path)


def test_workers_get_the_gpus_that_they_ask_for(tmp_path, cluster):
    """Of GPUs that are there in name only: Ray places by the number that a machine states."""
    make_videos(tmp_path / "videos", 3, times=40)
    job = make_job(tmp_path)
    connect(cluster.address)
    cluster.add_node(num_cpus=4)
    cluster.add_node(num_cpus=4, num_gpus=1)
    assert (room_for(1, 0), room_for(1, 0.5), room_for(1, 1), room_for(1, 2)) == (8, 2, 1, 0)
    until = time.monotonic() + 60
    while ray.available_resources().get("GPU") != 1 and time.monotonic() < until:
        time.sleep(0.1)
    left, stopped = {ray.available_resources()["GPU"]}, threading.Event()

    def watch():
        while not stopped.wait(0.02):
            left.add(ray.available_resources().get("GPU", 0.0))

    thread = threading.Thread(target=watch)
    thread.start()
    slots = {"num_cpus": 1, "num_gpus": 0.5}
    assert run_in(RaySlot, job, num_slots=3, **slots).came == Counter({Came.DONE: 3})
    stopped.set()
    thread.join()
    assert {1.0, 0.0} <= left <= {0.0, 0.5, 1.0}  # 0: two workers hold half a GPU each


def test_no_cluster_is_told():
    with pytest.raises(ArchiveError, match="Ray at 'auto' cannot be reached"):
        connect("auto")
