"""Which model a project is served with: what its models.jsonl says, and how one takes the place of another."""

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from polypseg.annotate.training import StartModel
from polypseg.errors import ModelError
from polypseg.predict.engines.packaged import packaged_models, resolve
from polypseg.predict.predictor import Predictor
from polypseg.records.digests import model_file_digest
from polypseg.records.project import MODEL_FILE, MODELS, ModelChange, model_changes


class ServedFile(NamedTuple):
    """A model as a project names it.

    Attributes:
        model: A packaged name, a path within the project, or another path.
        path: Its file or run.
        digest: SHA-256 of the file.
    """

    model: str
    path: Path
    digest: str


class ServedHistory:
    """The models that a project was served with, the last one first in line.

    Args:
        folder: Of the project, whose lock is held.

    Raises:
        ProjectError: models.jsonl is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._trail = folder, model_changes(folder)
        self._lines, note = self._trail.recover()
        self.notes = [note] if note else []

    def at_start(self, named: Path | str | None) -> ServedFile:
        """The model to serve: the one that is named, else the last one, else the packaged default; it is noted.

        Raises:
            ModelError: It is gone, or was changed.
        """
        last = self._lines[-1] if self._lines else None
        if named is None and last is not None:
            return self._of(last)
        path = resolve(named)
        if not path.exists():
            raise ModelError(
                f"{path}: no such file; expected a run folder, an .onnx or a .keras file, or the name of an included "
                "model (polypseg models)"
            )
        packaged = {model.path: model.name for model in packaged_models()}
        digest = model_file_digest(path)
        served = ServedFile(packaged.get(path, str(path.resolve())), path, digest)
        if last is None or last.digest != digest:
            self.note(served, "opened with it" if last is None else "named on the command line")
        return served

    def previous(self) -> ServedFile | None:
        """The model before the last change; None where there was no other, or it is gone."""
        current = self._lines[-1].digest if self._lines else ""
        for line in reversed(self._lines):
            if line.digest != current:
                try:
                    return self._of(line)
                except ModelError:
                    return None
        return None

    def trained(self, path: Path) -> ServedFile:
        """A model that was trained in the project."""
        return ServedFile(path.relative_to(self._folder).as_posix(), path, model_file_digest(path))

    def note(self, served: ServedFile, reason: str) -> None:
        """Write that a model is served from now on.

        Raises:
            ProjectError: It cannot be written.
        """
        now = datetime.now().astimezone().isoformat(timespec="milliseconds")
        line = ModelChange(time=now, model=served.model, digest=served.digest, reason=reason)
        self._lines.append(self._trail.append(line))

    def start(self, served: ServedFile, predictor: Predictor, project: str) -> StartModel:
        """What a training begins with; the new model's version tells of the project and of when."""
        facts = predictor.engine.facts
        is_trained = served.path.name == MODEL_FILE and served.path.parent.parent.name == MODELS
        model = str(served.path.parent.resolve()) if is_trained else served.model
        version = f"{facts.version.partition('+')[0] or '0'}+{project}.{datetime.now():%Y%m%d.%H%M}"
        thresholds = predictor.threshold, predictor.peak_threshold
        return StartModel(model, served.path, facts.name or "unnamed", version, *thresholds)

    def _of(self, line: ModelChange) -> ServedFile:
        inner = self._folder / line.model
        path = inner if inner.exists() else resolve(line.model)
        if not path.exists():
            raise ModelError(f"{path}: the model that the project was served with is gone; name another (--model)")
        digest = model_file_digest(path)
        if digest != line.digest:
            raise ModelError(
                f"{path}: not the model that the project was served with (its bytes changed); name one (--model)"
            )
        return ServedFile(line.model, path, digest)
