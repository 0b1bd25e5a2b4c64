"""What a model proposes for the frames of a project: masks, probabilities, doubt, and what a frame looks like.

Decisions:
- Each model has a folder of its own, named after its digest: another model's proposals are never taken for its own.
- A frame's JSON file is written last: where it is there, all of it is. What cannot be read is proposed again.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.annotate.mask_file import encode_mask
from polypseg.arrays import Image, Mask, Probability
from polypseg.errors import DataError, ProjectError
from polypseg.predict.prediction import Prediction
from polypseg.preprocess import model_view, read_grey, read_mask
from polypseg.records.atomic import write_bytes, write_text
from polypseg.records.project import PROPOSALS
from polypseg.records.reading import FileKind, Saved, read_json

KIND = FileKind("proposal", ProjectError, "remove it; it is made again", max_mib=1)
SIDE = 8
"""A frame and its probability are described by pictures of so many pixels a side."""


class Look(Saved):
    """What a frame's JSON file tells.

    Attributes:
        doubt: The larger of the two scores (`predict/doubt.py`), 0 to 1.
        colours: The lit field in 8 x 8 pixels, RGB, row by row.
        probability: The same of the probability, 0 to 255.
    """

    doubt: float
    colours: list[int]
    probability: list[int]

    def vector(self) -> NDArray[np.float32]:
        """Both pictures as one vector of values from 0 to 1."""
        return np.asarray([*self.colours, *self.probability], np.float32) / np.float32(255)


class Proposals:
    """The proposals of one model for one project.

    Args:
        folder: Of the project.
        digest: SHA-256 of the model's file, in hex.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self.folder = folder / PROPOSALS / digest[:16]
        self._looks: dict[str, Look] = {}

    def known(self, names: Sequence[str]) -> set[str]:
        """The frames that have one already."""
        return {name for name in names if self.look(name) is not None}

    def look(self, name: str) -> Look | None:
        """What is known of a frame; None where nothing was proposed yet."""
        if name not in self._looks:
            path = self.folder / f"{name}.json"
            if not path.is_file():
                return None
            try:
                self._looks[name] = read_json(path, Look, KIND)
            except ProjectError:
                return None
        return self._looks[name]

    def mask(self, name: str) -> Mask:
        """The mask that was proposed for a frame.

        Raises:
            DataError: It cannot be read.
        """
        return read_mask(self._path("masks", name))

    def probability_content(self, name: str) -> bytes:
        """The probability as a PNG, 8-bit grey.

        Raises:
            DataError: It cannot be read.
        """
        path = self._path("probabilities", name)
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); it is made again") from error

    def probability(self, name: str) -> Probability:
        """The probability (H, W) float32 of a frame, in steps of 1/255; errors as `mask`."""
        return read_grey(self._path("probabilities", name)).astype(np.float32) / np.float32(255)

    def forget(self, name: str) -> None:
        """Take a proposal back, so that it is made again."""
        self._looks.pop(name, None)
        (self.folder / f"{name}.json").unlink(missing_ok=True)

    def keep(self, name: str, prediction: Prediction) -> Look:
        """Store what a model says of a frame.

        Raises:
            ProjectError: It cannot be written.
        """
        levels = np.asarray(np.rint(prediction.probability * np.float32(255)), np.uint8)
        look = Look(
            doubt=max(prediction.doubt),
            colours=_small(model_view(prediction.image, 8 * SIDE, "auto").square),
            probability=_small(prediction.field.crop(levels)),
        )
        try:
            for kind, content in (("masks", encode_mask(prediction.mask)), ("probabilities", _png(levels))):
                (self.folder / kind).mkdir(parents=True, exist_ok=True)
                write_bytes(self._path(kind, name), content)
            write_text(self.folder / f"{name}.json", look.model_dump_json() + "\n")
        except OSError as error:
            raise ProjectError(f"{self.folder}: a proposal cannot be written ({error.strerror}); make room") from error
        self._looks[name] = look
        return look

    def _path(self, kind: str, name: str) -> Path:
        return self.folder / kind / f"{name}.png"


def _small(picture: Image | NDArray[np.uint8]) -> list[int]:
    small = cv2.resize(np.ascontiguousarray(picture), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    values: list[int] = small.ravel().tolist()
    return values


def _png(levels: NDArray[np.uint8]) -> bytes:
    return bytes(cv2.imencode(".png", levels)[1])
