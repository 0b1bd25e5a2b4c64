"""The models that the package ships: small ONNX files with a card each, run as they are.

A model is named (`polyp-lite`), or a path; nothing is fetched from a network but what is named by its place on a hub
(hub.py).
"""

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from polypseg.errors import ModelError, unknown_name
from polypseg.predict.engines.hub import fetch, is_hub
from polypseg.records.atomic import write_bytes
from polypseg.records.reading import FileKind, Saved, read_json

FOLDER = Path(str(files("polypseg.predict"))) / "weights"
"""Where the packaged models lie: NAME.onnx, NAME.md (its card), and index.json."""


KIND = FileKind("list of included models", ModelError, "install polypseg again")


class _Entry(Saved):
    name: str
    sha256: str
    about: str
    default: bool


class Packaged(NamedTuple):
    """A packaged model.

    Attributes:
        name: As `polypseg predict` takes it.
        path: The `.onnx` file.
        card: Its model card, Markdown.
        sha256: Of the file.
        about: A line that says what it is.
        default: Whether it is taken where no model is named.
    """

    name: str
    path: Path
    card: Path
    sha256: str
    about: str
    default: bool


def packaged_models() -> list[Packaged]:
    """The models of the package, the default one first."""
    index = FOLDER / "index.json"
    if not index.is_file():
        return []
    found = [
        Packaged(
            entry.name,
            FOLDER / f"{entry.name}.onnx",
            FOLDER / f"{entry.name}.md",
            entry.sha256,
            entry.about,
            entry.default,
        )
        for entry in read_json(index, list[_Entry], KIND)
    ]
    return sorted(found, key=lambda model: not model.default)


def resolve(model: Path | str | None) -> Path:
    """The path of a model: that of a packaged one where it is named or where none is, of a hub's model the fetched
    file, else the path itself.

    Raises:
        ModelError: No packaged model of that name and no such file, or a packaged file that was changed.
        PolypsegError: As `hub.fetch`.
    """
    if is_hub(model):
        return fetch(str(model)).path
    known = {entry.name: entry for entry in packaged_models()}
    if model is None:
        if not known:
            raise ModelError("no model is named, and this installation holds none; name a run folder or an .onnx file")
        return _intact(next(iter(known.values())))
    if str(model) in known and not Path(model).exists():
        return _intact(known[str(model)])
    path = Path(model)
    if not path.exists() and not path.suffix and path.name == str(model):
        raise ModelError(
            f"{unknown_name('model', str(model), known)}; or give a run folder or a model file (.onnx, .keras, …)"
        )
    return path


def export_copy(model: Packaged, folder: Path) -> list[Path]:
    """The paths of copies of a packaged model's file and card in a folder, which is made if missing.

    Raises:
        ModelError: A file of that name is there already, or the packaged one was changed.
    """
    pairs = [(source, folder / source.name) for source in (_intact(model), model.card)]
    there = [str(target) for _, target in pairs if target.exists()]
    if there:
        raise ModelError(f"{', '.join(there)}: there already; remove them, or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for source, target in pairs:
        write_bytes(target, source.read_bytes())
    return [target for _, target in pairs]


def _intact(model: Packaged) -> Path:
    try:
        found = hashlib.sha256(model.path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{model.path}: cannot read the packaged model: {error.strerror}") from error
    if found != model.sha256:
        raise ModelError(f"{model.path}: the packaged model was changed or damaged; install polypseg again")
    return model.path
