"""A project behind the routes: proposals by the served model, the order of frames, and saves.

Decisions:
- Proposals go through the same queue as other requests. In the background they are made one by one, only while nobody
  else waits.
- What reads or writes files runs in threads, never in the event loop.
"""

import asyncio
import logging
import random
import re
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from polypseg.annotate.frames import FrameInProject
from polypseg.annotate.mask_file import decode_mask
from polypseg.annotate.project import Project
from polypseg.annotate.proposals import Look, Proposals
from polypseg.annotate.queue import by_usefulness
from polypseg.annotate.reference import reference_of
from polypseg.arrays import Image
from polypseg.errors import DataError, PolypsegError, ProjectError, RequestError
from polypseg.predict.prediction import Prediction
from polypseg.preprocess import read_image, read_mask
from polypseg.records.project import Correction
from polypseg.serve.project_schemas import FrameListQuery, FrameRecord, MaskSaveQuery

logger = logging.getLogger("polypseg.serve")

IDLE_SECONDS = 0.2
"""How often the background looks whether somebody waits."""

BESIDE = "masks"
"""What a proposal is of that was there before the project: the mask beside the image."""


class Predicts(Protocol):
    """What answers images (`segmenter.Segmenter`)."""

    @property
    def num_accepted(self) -> int:
        """Images that are accepted and not yet answered."""

    async def predict(self, read: Callable[[], Image]) -> Prediction:
        """The prediction of an image that is read in a thread."""


class Proposer(NamedTuple):
    """A model that proposes.

    Attributes:
        digest: SHA-256 of its file, in hex.
        name: Name and version.
    """

    digest: str
    name: str


class Labelling:
    """One project at work.

    Args:
        project: Its lock is held.
        model: The served one.
        segmenter: Gives what answers images now.
        max_pixels: Of an image.

    Attributes:
        project: The project.
        proposals: Of the served model.
        model: Name and version of the served model.
        has_reference: Whether it has a reference set.
    """

    def __init__(self, project: Project, model: Proposer, segmenter: Callable[[], Predicts], max_pixels: int) -> None:
        self.project, self._segmenter, self._max_pixels = project, segmenter, max_pixels
        self.has_reference = reference_of(project.folder) is not None
        self.proposals, self.model, self._source = self._of(model)
        self._locks: dict[str, asyncio.Lock] = {}
        self._unreadable: set[str] = set()
        self._note_proposed()

    def serve_model(self, model: Proposer) -> None:
        """Propose with another model from now on."""
        self.proposals, self.model, self._source = self._of(model)
        self._note_proposed()

    def _of(self, model: Proposer) -> tuple[Proposals, str, str]:
        return Proposals(self.project.folder, model.digest), model.name, f"{model.name} sha256:{model.digest}"

    def frame(self, identifier: str) -> FrameInProject:
        """A frame by its identifier.

        Raises:
            RequestError: 404.
        """
        try:
            return self.project.frame(identifier)
        except KeyError:
            raise RequestError(404, "No such frame", "the project has no frame of this id") from None

    async def image(self, frame: FrameInProject) -> Image:
        """A frame's image, upright.

        Raises:
            RequestError: 404, it is there no more or cannot be read.
        """
        return await asyncio.to_thread(self._read, frame)

    async def propose(self, frame: FrameInProject) -> Look:
        """What is proposed for a frame; it is worked out where it was not yet.

        Raises:
            RequestError: 404 as `image`.
            ProjectError: It cannot be stored.
        """
        proposals = self.proposals
        found = await asyncio.to_thread(proposals.look, frame.name)
        if found is not None:
            return found
        async with self._locks.setdefault(frame.id, asyncio.Lock()):
            found = await asyncio.to_thread(proposals.look, frame.name)
            if found is None:
                prediction = await self._segmenter().predict(lambda: self._read(frame))
                found = await asyncio.to_thread(proposals.keep, frame.name, prediction)
                self.project.proposed.add(frame.id)
        return found

    async def proposed_mask(self, frame: FrameInProject) -> tuple[np.ndarray, str]:
        """The mask that is proposed, and what proposes it: one beside the image comes before the model's."""
        if frame.mask_path is not None:
            mask = await asyncio.to_thread(read_mask, frame.mask_path)
            if mask.shape != frame.size:
                raise ProjectError(f"{frame.mask_path}: not of the size of its image; mend it, or remove it")
            return mask, BESIDE
        await self.propose(frame)
        try:
            return await asyncio.to_thread(self.proposals.mask, frame.name), self._source
        except DataError:
            self.proposals.forget(frame.name)
            await self.propose(frame)
            return await asyncio.to_thread(self.proposals.mask, frame.name), self._source

    async def probability(self, frame: FrameInProject) -> bytes:
        """The model's probability of a frame, as a PNG."""
        await self.propose(frame)
        try:
            return await asyncio.to_thread(self.proposals.probability_content, frame.name)
        except DataError:
            self.proposals.forget(frame.name)
            await self.propose(frame)
            return await asyncio.to_thread(self.proposals.probability_content, frame.name)

    async def save(self, frame: FrameInProject, query: MaskSaveQuery, content: bytes) -> Correction:
        """Save what a person says of a frame.

        Raises:
            ConflictError: Somebody else saved meanwhile.
            CorrectionError: The mask does not fit.
            ProjectError: It cannot be written.
        """
        source, mask = self._began_with(frame), None
        if query.state != "rejected" and content:
            mask = await asyncio.to_thread(decode_mask, content, frame.size)
        elif query.state == "accepted":
            mask, source = await self.proposed_mask(frame)
        elif query.state == "no-polyp":
            mask = np.zeros(frame.size, bool)
        elif query.state == "corrected":
            raise RequestError(422, "A mask is missing", "corrected: expected a PNG in the body")
        arguments = frame, query.state, mask, query.labeller.strip(), query.revision, source
        return await asyncio.to_thread(self.project.save, *arguments)

    async def listed(self, query: FrameListQuery) -> list[FrameRecord]:
        """The frames in order."""
        return await asyncio.to_thread(self._listed, query)

    async def work_ahead(self) -> None:
        """Propose for all frames, while nobody else waits; until it is cancelled."""
        while True:
            frame = await asyncio.to_thread(self._next_without)
            if frame is None or self._is_busy():
                await asyncio.sleep(IDLE_SECONDS)
                continue
            try:
                await self.propose(frame)
            except PolypsegError as error:
                self._unreadable.add(frame.id)
                logger.warning("a frame could not be predicted: %s", type(error).__name__)

    def record(self, frame: FrameInProject) -> FrameRecord:
        """A frame as the page lists it."""
        line, look = self.project.last(frame), self.proposals.look(frame.name)
        return FrameRecord(
            id=frame.id,
            name=frame.name,
            state=self.project.state(frame),
            width=frame.size[1],
            height=frame.size[0],
            doubt=None if look is None else look.doubt,
            group=frame.group,
            labeller=line.labeller if line else None,
            changed=line.time if line else None,
            revision=line.revision if line else 0,
        )

    def _began_with(self, frame: FrameInProject) -> str:
        """What a mask that is sent began with: an earlier revision, a mask beside the image, or the model's."""
        last = self.project.last(frame)
        if last is not None and last.mask:
            return last.proposal
        if frame.mask_path is not None:
            return BESIDE
        return self._source if self.proposals.look(frame.name) is not None else ""

    def _read(self, frame: FrameInProject) -> Image:
        try:
            image = read_image(frame.image_path, self._max_pixels)
        except DataError as error:
            reason = str(error).removeprefix(f"{frame.image_path}: ")
            raise RequestError(404, "The image cannot be read", f"{frame.image_path.name}: {reason}") from error
        if image.shape[:2] != frame.size:
            raise RequestError(404, "Another image", f"{frame.image_path.name}: was replaced by one of another size")
        return image

    def _listed(self, query: FrameListQuery) -> list[FrameRecord]:
        frames = list(self.project.frames.values())
        if query.order == "random":
            random.Random(query.seed).shuffle(frames)
        elif query.order == "useful":
            frames = by_usefulness(self.project, self.proposals)
        else:
            frames.sort(key=lambda frame: _parts(frame.name))
        records = [self.record(frame) for frame in frames]
        return [record for record in records if query.state in (None, record.state)]

    def _next_without(self) -> FrameInProject | None:
        for frame in self.project.frames.values():
            if frame.id not in self._unreadable and self.proposals.look(frame.name) is None:
                return frame
        return None

    def _is_busy(self) -> bool:
        try:
            return self._segmenter().num_accepted > 0
        except RequestError:
            return True

    def _note_proposed(self) -> None:
        known = self.proposals.known([frame.name for frame in self.project.frames.values()])
        self.project.proposed = {frame.id for frame in self.project.frames.values() if frame.name in known}


def _parts(name: str) -> list[tuple[str, int]]:
    """A name for sorting: frame 9 comes before frame 13."""
    found = re.findall(r"(\D*)(\d*)", name)
    return [(words, int(digits or -1)) for words, digits in found]
