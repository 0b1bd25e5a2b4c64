"""A project that a server has open: its frames, its models, its trainings."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from polypseg.annotate.project import Project, opened_project
from polypseg.annotate.training import StartModel
from polypseg.predict.predictor import Predictor
from polypseg.serve.labelling import Labelling, Proposer
from polypseg.serve.retraining import Retraining
from polypseg.serve.segmenter import Segmenter
from polypseg.serve.served import ServedFile, ServedHistory
from polypseg.serve.settings import Settings


class OpenFiles(NamedTuple):
    """A project on disk, before a server runs.

    Attributes:
        project: Its frames.
        models: That it was served with.
        model: That it is served with now.
    """

    project: Project
    models: ServedHistory
    model: ServedFile


class Serves(Protocol):
    """What of a server is needed here (`service.Service`)."""

    settings: Settings
    predictor: Predictor

    @property
    def segmenter(self) -> Segmenter:
        """What answers images."""

    async def replace_model(self, path: Path) -> None:
        """Serve another model from now on."""


@contextmanager
def opened_files(folder: Path, model: Path | str | None) -> Iterator[OpenFiles]:
    """A project, locked until the block ends.

    Args:
        folder: Of the project.
        model: That is named; None for the one that it was served with last.

    Raises:
        ProjectError: There is none, or it is damaged.
        BusyError: Another process works in it.
        ModelError: The model is gone or was changed.
    """
    with opened_project(folder) as project:
        models = ServedHistory(folder)
        project.notes += models.notes
        yield OpenFiles(project, models, models.at_start(model))


class ServedProject:
    """A project at work in a server.

    Args:
        files: On disk.
        service: The server.

    Attributes:
        labelling: Frames and what people say of them.
        models: That it was served with.
        retraining: Its trainings.
    """

    def __init__(self, files: OpenFiles, service: Serves) -> None:
        self._service, self._model, self.models = service, files.model, files.models
        settings = service.settings
        self.labelling = Labelling(
            files.project, self._proposer(), lambda: service.segmenter, settings.max_image_pixels
        )
        self.retraining = Retraining(files.project.folder, files.models, self._start, self._serve)

    async def _serve(self, served: ServedFile) -> None:
        await self._service.replace_model(served.path)
        self._model = served
        self.labelling.serve_model(self._proposer())

    def _proposer(self) -> Proposer:
        facts = self._service.predictor.engine.facts
        return Proposer(self._model.digest, f"{facts.name or 'unnamed'} {facts.version}".strip())

    def _start(self) -> StartModel:
        return self.models.start(self._model, self._service.predictor, self.labelling.project.name)
