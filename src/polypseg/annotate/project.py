"""A project that is open: its frames, what people say of them, and how that is saved.

Decisions:
- One process at a time works in a project (`records/lock.py`).
- A save names the revision that it changes. Where somebody else saved meanwhile, it is refused: nothing is overwritten
  unseen. The last save, sent once more, is no other: its answer may have been lost.
- What a kill left undone is made up for when a project is opened, and said: the trail is the truth.
- A mask that another program changed in masks/ stays, as a revision of its own; one that cannot be read is moved aside.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from polypseg.annotate.frames import FrameInProject, check_mask_of, readable_frames
from polypseg.annotate.mask_file import encode_mask
from polypseg.arrays import Mask
from polypseg.data.project_frames import find_frames, held_out
from polypseg.errors import ConflictError, DataError, ProjectError
from polypseg.preprocess import image_size, read_mask
from polypseg.records.atomic import put_in_place, write_bytes
from polypseg.records.lock import alone_in
from polypseg.records.project import (
    HISTORY,
    LABELLED_STATES,
    MASKS,
    Correction,
    FrameState,
    ProjectFrameRow,
    SavedState,
    corrections,
    images_folder,
    latest,
    mask_path,
    read_project,
    revision_path,
    write_frames,
)

ELSEWHERE = "another program"
"""The labeller of a mask that was changed in masks/ by something else."""


@contextmanager
def opened_project(folder: Path) -> Iterator["Project"]:
    """The project of a folder, which nobody else works in until the block ends.

    Raises:
        ProjectError: There is none, or it is damaged.
        BusyError: Another process works in it.
    """
    read_project(folder)
    with ExitStack() as stack:
        try:
            stack.enter_context(alone_in(folder))
            project = Project(folder)
        except OSError as error:
            raise ProjectError(f"{folder}: cannot be written ({error.strerror}); make room or allow it") from error
        yield project


class Project:
    """A project whose lock is held. Its methods may be called from any thread.

    Args:
        folder: Of the project.

    Raises:
        ProjectError: It is damaged.
        PairingError: It has no images.

    Attributes:
        folder: Of the project.
        name: Of the project.
        images: Folder of the images.
        frames: By their identifiers, in order of their names.
        left_out: Files that cannot be used.
        notes: What was found and done when it was opened, a line each.
    """

    def __init__(self, folder: Path) -> None:
        described = read_project(folder)
        self.folder, self.name = folder, described.name
        self.images = images_folder(folder, described)
        self.frames, self.left_out = readable_frames(find_frames(self.images))
        self._trail = corrections(folder)
        lines, note = self._trail.recover()
        self.notes = [note] if note else []
        self._lines, self._created = lines, described.created
        self._history: dict[str, list[Correction]] = {}
        for line in lines:
            self._history.setdefault(line.frame, []).append(line)
        self._lock = threading.RLock()
        self.proposed: set[str] = set()
        for inner in (MASKS, HISTORY):
            (folder / inner).mkdir(exist_ok=True)
        self._mend()
        self.write_table()

    def frame(self, identifier: str) -> FrameInProject:
        """A frame by its identifier.

        Raises:
            KeyError: There is none.
        """
        return self.frames[identifier]

    def last(self, frame: FrameInProject) -> Correction | None:
        """What was said last of a frame; None where nobody said anything."""
        lines = self._history.get(frame.name)
        return lines[-1] if lines else None

    def history(self, frame: FrameInProject) -> Sequence[Correction]:
        """All that was said of a frame, the oldest first."""
        return tuple(self._history.get(frame.name, ()))

    def state(self, frame: FrameInProject) -> FrameState:
        """What a frame is now."""
        line = self.last(frame)
        if line is not None:
            return line.state
        return "proposed" if frame.id in self.proposed or frame.mask_path is not None else "new"

    def counts(self) -> Counter[FrameState]:
        """How many frames are in each state."""
        return Counter(self.state(frame) for frame in self.frames.values())

    def labellers(self) -> list[str]:
        """The names of those who saved something."""
        return sorted({line.labeller for lines in self._history.values() for line in lines if line.labeller})

    def mask_content(self, frame: FrameInProject, revision: int | None = None) -> bytes | None:
        """The PNG of what a person saved last, or of an earlier revision; None where there is none."""
        line = self.last(frame)
        if revision is not None:
            line = next((one for one in self.history(frame) if one.revision == revision), None)
        if line is None or not line.mask:
            return None
        try:
            return revision_path(self.folder, frame.name, line.revision).read_bytes()
        except OSError as error:
            raise ProjectError(f"{self.folder}: a mask of {HISTORY}/ is gone; put it back from a copy") from error

    def labelled(self) -> list[FrameInProject]:
        """The frames that train and test."""
        return [frame for frame in self.frames.values() if self.state(frame) in LABELLED_STATES]

    def held_out(self) -> set[str]:
        """The names of the frames that never train; a fifth of what people saved."""
        groups = {frame.name: frame.group for frame in self.frames.values()}
        return held_out(self._lines, groups, self._created)

    def save(
        self, frame: FrameInProject, state: SavedState, mask: Mask | None, labeller: str, revision: int, proposal: str
    ) -> Correction:
        """Save what a person says of a frame; it is on the disk when this returns.

        Args:
            frame: Of this project.
            state: What it is from now on.
            mask: Shape (H, W), bool; None of a rejected frame.
            labeller: Who says so.
            revision: The last one that the person saw; 0 where there was none.
            proposal: What the mask began with.

        Raises:
            ConflictError: Somebody else saved meanwhile.
            CorrectionError: The mask does not fit the frame or the state.
            ProjectError: It cannot be written; nothing was saved.
        """
        check_mask_of(frame, state, mask)
        with self._lock:
            last = self.last(frame)
            known = last.revision if last else 0
            content = b"" if mask is None else encode_mask(mask)
            digest = hashlib.sha256(content).hexdigest() if content else ""
            if last and (last.revision - 1, last.labeller, last.state, last.mask) == (
                revision,
                labeller,
                state,
                digest,
            ):
                self._follow(frame.name, content)  # sent again: the answer was lost, or there was no room to end it
                return last
            if revision != known:
                who = (last.labeller if last else "") or "somebody else"
                raise ConflictError(
                    f"{who} saved revision {known} of this frame; you saw {revision}: load it again, then save"
                )
            line = Correction.model_validate(
                {
                    "time": _now(),
                    "labeller": labeller,
                    "frame": frame.name,
                    "state": state,
                    "revision": known + 1,
                    "mask": digest,
                    "from": proposal,
                }
            )
            self._write(frame, line, content)
            return self._history[frame.name][-1]

    def write_table(self) -> None:
        """Write frames.csv.

        Raises:
            OSError: It cannot be written.
        """
        with self._lock:
            apart = self.held_out()
            write_frames(self.folder, [self.row(frame, apart) for frame in self.frames.values()])

    def row(self, frame: FrameInProject, held_out_names: set[str] | None = None) -> ProjectFrameRow:
        """A frame's row of frames.csv.

        Args:
            frame: Of this project.
            held_out_names: As `held_out` gives them, where they are known already.
        """
        line = self.last(frame)
        mask = f"{MASKS}/{frame.name}.png" if self.state(frame) in LABELLED_STATES else ""
        image = frame.image_path.relative_to(self.images).as_posix()
        said = (line.labeller, line.time, line.revision, line.proposal) if line else ("", "", 0, "")
        apart = "yes" if frame.name in (self.held_out() if held_out_names is None else held_out_names) else "no"
        return ProjectFrameRow(frame.name, image, mask, frame.group or "", self.state(frame), apart, *said)

    def _write(self, frame: FrameInProject, line: Correction, content: bytes) -> None:
        """First the mask's revision, then the line that makes it count, then what follows from it."""
        try:
            if content:
                path = revision_path(self.folder, frame.name, line.revision)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(path, content)
        except OSError as error:
            raise ProjectError(_not_saved(self.folder, error)) from error
        written = self._trail.append(line)
        self._lines.append(written)
        self._history.setdefault(frame.name, []).append(written)
        self._follow(frame.name, content)

    def _follow(self, name: str, content: bytes) -> None:
        """What follows from a line: the mask in masks/, the table."""
        try:
            self._put(name, content)
            self.write_table()
        except OSError as error:
            raise ProjectError(
                f"{self.folder}: the correction is saved ({HISTORY}/), but {MASKS}/ or frames.csv cannot be written "
                f"({error.strerror}): make room, and save again"
            ) from error

    def _put(self, name: str, content: bytes) -> None:
        """The mask of a frame in masks/, or none."""
        path = mask_path(self.folder, name)
        if content:
            write_bytes(path, content)
        else:
            path.unlink(missing_ok=True)

    def _mend(self) -> None:
        """Bring masks/ to what the trail says."""
        by_name = {frame.name: frame for frame in self.frames.values()}
        for name, line in latest(one for lines in self._history.values() for one in lines).items():
            found = _digest_of(mask_path(self.folder, name))
            if found == line.mask:
                self._note_size(name, by_name.get(name))
                continue
            kept = revision_path(self.folder, name, line.revision)
            earlier = {one.mask for one in self._history[name]} | {""}
            if found in earlier:
                self._put(name, _kept_content(kept, line))
            elif name in by_name:
                self._take_over(by_name[name], kept, line)
        gone = sorted(set(self._history) - by_name.keys() - {fault.name for fault in self.left_out})
        if gone:
            self.notes.append(
                f"{self.folder}: labelled frames whose images are gone: {len(gone)}, the first is {gone[0]}; their "
                "masks are kept, put the images back"
            )

    def _note_size(self, name: str, frame: FrameInProject | None) -> None:
        """Tell of an image that is not of the size of its saved mask."""
        if frame is None or self.state(frame) not in LABELLED_STATES:
            return
        size = image_size(mask_path(self.folder, name))
        if size != frame.size:
            found, expected = ("x".join(map(str, pair)) for pair in (frame.size, size))
            self.notes.append(
                f"{frame.image_path}: is {found} pixels (height x width), its saved mask {expected}; put the image "
                "back that was labelled"
            )

    def _take_over(self, frame: FrameInProject, kept: Path, line: Correction) -> None:
        """A mask that another program changed: a revision of its own, or moved aside where it is none."""
        path = mask_path(self.folder, frame.name)
        try:
            mask = read_mask(path)
            check_mask_of(frame, "corrected", mask)
        except (DataError, ProjectError) as error:
            put_in_place(path, path.with_name(f"{path.name}.damaged"))
            self._put(frame.name, _kept_content(kept, line))
            self.notes.append(f"{error}; it is now {path.name}.damaged, and the mask that was saved is back")
            return
        self.save(frame, "corrected" if mask.any() else "no-polyp", mask, ELSEWHERE, line.revision, line.proposal)
        self.notes.append(
            f"{path}: was changed by another program; it is now revision {line.revision + 1} of its frame"
        )


def _digest_of(path: Path) -> str:
    """The digest of a file; empty where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


def _kept_content(kept: Path, line: Correction) -> bytes:
    """What was saved with a line.

    Raises:
        ProjectError: It is gone, or another.
    """
    if not line.mask:
        return b""
    if _digest_of(kept) != line.mask:
        raise ProjectError(f"{kept}: the mask that the trail tells of is gone or was changed; put it back from a copy")
    return kept.read_bytes()


def _not_saved(folder: Path, error: OSError) -> str:
    return (
        f"{folder}: cannot be written ({error.strerror}); nothing of this correction was saved: make room, and save "
        "again"
    )


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")
