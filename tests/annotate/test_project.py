"""A project on disk: what is saved, what a kill leaves, what is refused."""

import csv
import errno
import os
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from polypseg.annotate.beginning import begin_project, project_for
from polypseg.annotate.project import Project, opened_project
from polypseg.data.catalogue import find_samples
from polypseg.data.checks import inspect
from polypseg.errors import BusyError, ConflictError, CorrectionError, PairingError, ProjectError
from polypseg.preprocess import read_mask
from polypseg.records import trail
from polypseg.records.project import mask_path, revision_path

SIZE = (20, 30)


def write_frames(folder, *names):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = np.random.default_rng(number).integers(60, 200, (*SIZE, 3), np.uint8)
        cv2.imwrite(str(path), image)


@pytest.fixture
def folder(tmp_path):
    write_frames(tmp_path / "frames", "a.png", "b.png", "c.png")
    begin_project(tmp_path / "frames", tmp_path / "frames" / "project", "try")
    return tmp_path / "frames" / "project"


def frame_named(project, name):
    return next(frame for frame in project.frames.values() if frame.name == name)


def square(top=3, left=4, side=5):
    mask = np.zeros(SIZE, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def save(project, name, state="corrected", mask=None, labeller="Ann", revision=0):
    mask = square() if mask is None and state in ("corrected", "accepted") else mask
    return project.save(frame_named(project, name), state, mask, labeller, revision, "polyp-lite 2.0 sha256:ab")


def test_what_a_person_drew_is_not_doubted_and_what_was_changed_since_is(folder):
    """A polyp before the lens covers more than half of the border; a thin ring is an outline elsewhere."""
    close, ring = np.ones(SIZE, bool), np.zeros(SIZE, bool)
    cv2.circle(ring.view(np.uint8), (15, 10), 8, 1)
    with opened_project(folder) as project:
        save(project, "a", mask=close)
        save(project, "b", mask=ring)
    assert [one.fault for one in inspect([folder]).samples] == [None, None]
    path = mask_path(folder, "a")
    cv2.imwrite(str(path), cv2.imread(str(path), 0) // 255)  # 1 instead of 255, by another program
    cv2.imwrite(str(mask_path(folder, "b")), np.where(ring, 200, 0).astype(np.uint8))
    reasons = [one.fault for one in inspect([folder]).samples]
    assert "holds only the value 1" in reasons[0]
    assert "an outline without its filling" in reasons[1]


def test_saved_frames_are_a_data_set(folder):
    with opened_project(folder) as project:
        save(project, "a")
        save(project, "b", "no-polyp", np.zeros(SIZE, bool))
        save(project, "c", "rejected")
        assert project.counts() == {"corrected": 1, "no-polyp": 1, "rejected": 1}
    samples, faults = find_samples(folder)
    assert [sample.name for sample in samples] == ["a", "b"]
    assert not faults
    assert np.array_equal(read_mask(samples[0].mask_path), square())
    assert not read_mask(samples[1].mask_path).any()
    assert find_samples(folder.parent) == (samples, [])  # the folder of images has no masks of its own
    findings = inspect([folder])
    assert [one.fault for one in findings.samples] == [None, None]


def test_images_stay_as_they_are(folder):
    before = {path.name: path.read_bytes() for path in folder.parent.glob("*.png")}
    with opened_project(folder) as project:
        save(project, "a")
    assert {path.name: path.read_bytes() for path in folder.parent.glob("*.png")} == before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["a.png", "b.png", "c.png", "project"]


def test_table_is_read_without_us(folder):
    with opened_project(folder) as project:
        save(project, "b", labeller="Bo")
    with (folder / "frames.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    assert [row["state"] for row in rows] == ["new", "corrected", "new"]
    assert rows[1]["mask"] == "masks/b.png"
    assert rows[1]["labeller"] == "Bo"
    assert rows[1]["revision"] == "1"
    assert cv2.imread(str(folder / "masks" / "b.png"), 0).sum() == 25 * 255  # a square of side 5


def test_rejecting_takes_the_mask_away_and_history_keeps_it(folder):
    with opened_project(folder) as project:
        save(project, "a")
        save(project, "a", "rejected", revision=1)
        assert not mask_path(folder, "a").exists()
        frame = frame_named(project, "a")
        assert project.mask_content(frame) is None
        assert project.mask_content(frame, 1) == revision_path(folder, "a", 1).read_bytes()
        assert [line.state for line in project.history(frame)] == ["corrected", "rejected"]


def test_second_person_is_told_of_the_first(folder):
    with opened_project(folder) as project:
        save(project, "a", labeller="Ann")
        with pytest.raises(ConflictError, match="Ann saved revision 1 of this frame; you saw 0"):
            save(project, "a", labeller="Bo")
        assert project.labellers() == ["Ann"]


@pytest.mark.parametrize(
    ("state", "mask", "message"),
    [
        ("corrected", np.zeros((20, 31), bool), "the mask is 20x31 pixels .* its frame 20x30"),
        ("no-polyp", square(), "expected an empty one"),
        ("rejected", square(), "expected no mask"),
        ("accepted", np.zeros((30, 20), bool), "its frame 20x30"),
    ],
)
def test_masks_that_do_not_fit(folder, state, mask, message):
    with opened_project(folder) as project:
        with pytest.raises(CorrectionError, match=message):
            project.save(frame_named(project, "a"), state, mask, "", 0, "")
        assert not project.history(frame_named(project, "a"))


def test_two_servers_on_one_project(folder):
    with opened_project(folder), pytest.raises(BusyError, match=f"process {os.getpid()}"), opened_project(folder):
        pass


SAVES = """
import sys, numpy as np
from pathlib import Path
from polypseg.annotate.project import opened_project
with opened_project(Path(sys.argv[1])) as project:
    frame = next(iter(project.frames.values()))
    for revision in range(1000):
        mask = np.zeros(frame.size, bool)
        mask.flat[: revision + 1] = True
        project.save(frame, "corrected", mask, "Ann", revision, "")
        print(revision + 1, flush=True)
"""


def test_kill_loses_nothing_that_was_told_as_saved(folder):
    process = subprocess.Popen([sys.executable, "-c", SAVES, str(folder)], stdout=subprocess.PIPE, text=True)
    told = [int(process.stdout.readline()) for _ in range(5)]
    process.send_signal(signal.SIGKILL)
    told += [int(line) for line in process.stdout.read().split()]
    process.wait()
    process.stdout.close()
    with opened_project(folder) as project:
        frame = frame_named(project, "a")
        revision = project.last(frame).revision
        assert revision in (told[-1], told[-1] + 1)
        assert np.count_nonzero(read_mask(mask_path(folder, "a"))) == revision  # as many pixels as the revision


def test_damaged_end_of_the_trail_is_told_and_kept(folder):
    with opened_project(folder) as project:
        save(project, "a")
        save(project, "b")
    path = folder / "trail.jsonl"
    content = path.read_bytes()
    path.write_bytes(content[:-20])  # the last line was not written whole
    with opened_project(folder) as project:
        assert "its last line was not written whole" in project.notes[0]
        assert project.state(frame_named(project, "a")) == "corrected"
        assert project.state(frame_named(project, "b")) == "new"
        save(project, "b")
    first, second = content.splitlines(keepends=True)
    assert (folder / "trail.jsonl.damaged-1").read_bytes() == second[:-20]
    assert path.read_bytes().startswith(first)


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [lines[1]],  # the first line is gone
        lambda lines: [lines[0].replace(b"Ann", b"Bob"), lines[1]],
        lambda lines: [lines[0], lines[1].replace(b'"corrected"', b'"rejected"')],
        lambda lines: [b"\0" * len(lines[0]) + b"\n", lines[1]],
    ],
)
def test_changed_trail_is_refused(folder, change):
    with opened_project(folder) as project:
        save(project, "a")
        save(project, "b")
    path = folder / "trail.jsonl"
    changed = b"".join(change(path.read_bytes().splitlines(keepends=True)))
    path.write_bytes(changed)
    with pytest.raises(ProjectError, match=r"line \d is damaged, or was changed, added or removed by hand"):
        Project(folder)
    with pytest.raises(ProjectError, match="line"):
        find_samples(folder)
    assert path.read_bytes() == changed


def test_full_disk_while_saving_keeps_the_trail(folder, monkeypatch):
    with opened_project(folder) as project:
        save(project, "a")
        content = (folder / "trail.jsonl").read_bytes()
        write = os.write

        def short(descriptor, data):
            return write(descriptor, data[:10])

        monkeypatch.setattr(trail.os, "write", short)
        with pytest.raises(ProjectError, match=r"the disk is full.*nothing of this was saved"):
            save(project, "b")
        monkeypatch.undo()
        assert (folder / "trail.jsonl").read_bytes() == content
        assert project.state(frame_named(project, "b")) == "new"
        save(project, "b")
    assert len(find_samples(folder)[0]) == 2


def test_half_finished_save_is_finished(folder):
    with opened_project(folder) as project:
        save(project, "a")
        old = mask_path(folder, "a").read_bytes()
        save(project, "a", mask=square(side=7), revision=1)
    new = mask_path(folder, "a").read_bytes()
    mask_path(folder, "a").write_bytes(old)  # killed between the trail's line and the mask
    with opened_project(folder):
        assert mask_path(folder, "a").read_bytes() == new
    mask_path(folder, "a").unlink()
    with opened_project(folder):
        assert mask_path(folder, "a").read_bytes() == new


def test_mask_of_another_program_becomes_a_revision(folder):
    with opened_project(folder) as project:
        save(project, "a")
    cv2.imwrite(str(mask_path(folder, "a")), square(side=9).astype(np.uint8) * 255)
    with opened_project(folder) as project:
        last = project.last(frame_named(project, "a"))
        assert (last.revision, last.labeller) == (2, "another program")
        assert "changed by another program" in project.notes[0]
    assert np.count_nonzero(read_mask(mask_path(folder, "a"))) == 81
    mask_path(folder, "a").write_bytes(b"no picture")
    with opened_project(folder) as project:
        assert "a.png.damaged" in project.notes[0]
        assert project.last(frame_named(project, "a")).revision == 2
    assert np.count_nonzero(read_mask(mask_path(folder, "a"))) == 81


def test_a_save_that_is_sent_again_is_no_other(folder, monkeypatch):
    """Its answer was lost; or there was room for the trail's line and none for what follows from it."""
    with opened_project(folder) as project:
        first = save(project, "a", mask=square(side=5))
        assert save(project, "a", mask=square(side=5), revision=0) == first
        with pytest.raises(ConflictError, match="Ann saved revision 1"):
            save(project, "a", mask=square(side=6), revision=0)
        with pytest.raises(ConflictError, match="Ann saved revision 1"):
            save(project, "a", mask=square(side=5), labeller="Bo", revision=0)
        with monkeypatch.context() as patched:
            patched.setattr(Project, "_put", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
            with pytest.raises(ProjectError, match=r"is saved \(history/\).*make room, and save again"):
                save(project, "a", mask=square(side=7), revision=1)
        assert np.count_nonzero(read_mask(mask_path(folder, "a"))) == 25
        assert save(project, "a", mask=square(side=7), revision=1).revision == 2
        assert np.count_nonzero(read_mask(mask_path(folder, "a"))) == 49
        assert [line.revision for line in project.history(frame_named(project, "a"))] == [1, 2]


def test_images_that_vanish_are_told(folder):
    with opened_project(folder) as project:
        save(project, "a")
        save(project, "b")
    (folder.parent / "a.png").unlink()
    with opened_project(folder) as project:
        [note] = project.notes
        assert "labelled frames whose images are gone: 1, the first is a;" in note
    samples, faults = find_samples(folder)
    assert [sample.name for sample in samples] == ["b"]
    assert "its image is gone" in faults[0].reason
    (folder.parent).rename(folder.parent.with_name("moved"))
    moved = folder.parent.with_name("moved") / "project"
    assert [sample.name for sample in find_samples(moved)[0]] == ["b"]  # they move together


def test_images_that_changed_are_told(folder):
    """One of another size than its mask, and one that can no longer be read: it is there, so that it is not gone."""
    with opened_project(folder) as project:
        save(project, "a")
        save(project, "b")
        size = frame_named(project, "a").size
    cv2.imwrite(str(folder.parent / "a.png"), np.full((size[0] + 4, size[1] - 3, 3), 90, np.uint8))
    (folder.parent / "b.png").write_bytes(b"no picture")
    with opened_project(folder) as project:
        [note] = project.notes
        found, expected = f"{size[0] + 4}x{size[1] - 3}", f"{size[0]}x{size[1]}"
        assert f"a.png: is {found} pixels (height x width), its saved mask {expected}" in note
        assert [fault.name for fault in project.left_out] == ["b"]
        assert project.mask_content(frame_named(project, "a")) is not None


def test_images_folder_that_vanishes_is_told(tmp_path):
    write_frames(tmp_path / "frames", "a.png")
    begin_project(tmp_path / "frames", tmp_path / "labels", "x")
    (tmp_path / "frames").rename(tmp_path / "elsewhere")
    with pytest.raises(ProjectError, match=r"its images were in .*frames, .* tell the new place in project.json"):
        find_samples(tmp_path / "labels")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{}", "not a project of polypseg, or a damaged one"),
        (b'{"name": "x", "version": "1.0", "files": []}', "not a project of polypseg"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"program":"polypseg","format":9,"name":"x","images":"..","created":""}', "format 9, expected 1"),
    ],
)
def test_damaged_and_foreign_projects(folder, content, message):
    (folder / "project.json").write_bytes(content)
    with pytest.raises(ProjectError, match=message), opened_project(folder):
        pass
    for place in (folder, folder.parent):  # its images are told of the project, not of an annotation file
        with pytest.raises(ProjectError, match=message):
            find_samples(place)


def test_folder_in_the_way_is_left_alone(tmp_path):
    write_frames(tmp_path, "a.png", "project/notes.png")
    with pytest.raises(ProjectError, match="is there already and is no project"):
        begin_project(tmp_path, tmp_path / "project", "x")
    assert [path.name for path in (tmp_path / "project").iterdir()] == ["notes.png"]


def test_no_images_begin_nothing(tmp_path):
    with pytest.raises(PairingError, match="no image in this folder"):
        begin_project(tmp_path, tmp_path / "project", "x")
    assert not (tmp_path / "project").exists()
    with pytest.raises(PairingError, match=r"gone: no such folder; expected one of images"):
        begin_project(tmp_path / "gone", tmp_path / "project", "x")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(PairingError, match=r"a\.png: a file; name the folder that it is in"):
        begin_project(tmp_path / "a.png", tmp_path / "project", "x")


def test_names_that_repeat_are_refused(tmp_path):
    write_frames(tmp_path, "a.png", "a.jpg", "b.png")
    with pytest.raises(ProjectError, match=r"1 name stands for several files[\s\S]*a: a.jpg and a.png"):
        begin_project(tmp_path, tmp_path / "project", "x")


def test_unreadable_images_are_left_out_and_told(tmp_path):
    write_frames(tmp_path, "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    begin_project(tmp_path, tmp_path / "project", "x")
    with opened_project(tmp_path / "project") as project:
        assert [frame.name for frame in project.frames.values()] == ["a"]
        assert [fault.name for fault in project.left_out] == ["b"]


def test_frames_in_folders_are_grouped_and_keep_their_names(tmp_path):
    write_frames(tmp_path, "p1/x.png", "p2/y.png")
    begin_project(tmp_path, tmp_path / "project", "x")
    with opened_project(tmp_path / "project") as project:
        assert {frame.name: frame.group for frame in project.frames.values()} == {"p1_x": "p1", "p2_y": "p2"}
        save(project, "p1_x")
    write_frames(tmp_path, "p2/x.png")  # the same stem in another folder
    samples, _ = find_samples(tmp_path / "project")
    assert [(sample.name, sample.group) for sample in samples] == [("p1_x", "p1")]


def test_masks_beside_the_images_are_kept_and_proposed(tmp_path):
    write_frames(tmp_path, "images/a.png", "images/b.png")
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks" / "a.png"), square().astype(np.uint8) * 255)
    begin_project(tmp_path, tmp_path / "project", "x")
    with opened_project(tmp_path / "project") as project:
        assert frame_named(project, "a").mask_path == tmp_path / "masks" / "a.png"
        assert project.counts() == {"proposed": 1, "new": 1}
        save(project, "b")
    assert [sample.name for sample in find_samples(tmp_path / "project")[0]] == ["b"]
    # the folder has masks of its own, which count there as before
    assert [sample.name for sample in find_samples(tmp_path)[0]] == ["a"]


def test_project_is_found_by_its_name(folder):
    assert project_for(folder, "whatever") == folder
    assert project_for(folder.parent, "project") == folder
    assert project_for(folder.parent, "second") is None
    begin_project(folder.parent, folder.parent / "second", "x")
    with pytest.raises(ProjectError, match=r"holds 2 projects \(project, second\)"):
        find_samples(folder.parent)
