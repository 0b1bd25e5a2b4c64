"""Other models that a training's settings name: the one whose weights it starts from, and its teacher.

Decisions:
- Both are looked for, and digested, before the data are checked: what is missing is missed before hours of work.
- A resume needs the teacher that it began with. It needs the start only while no epoch is saved.
"""

import hashlib
import warnings
from pathlib import Path

from pydantic import ValidationError

from polypseg.config import Config, ModelConfig
from polypseg.errors import ModelError, PolypsegWarning, RunError, listed
from polypseg.records.digests import file_digests
from polypseg.records.model_facts import NETWORK_KEY, PREFIX, Network, from_metadata
from polypseg.records.onnx_metadata import read_metadata
from polypseg.records.run import Run
from polypseg.records.seen import SeenImages, unpack
from polypseg.records.split import Split

START, TEACHER = "train.start_from", "train.teacher"


def model_files(path: Path, setting: str) -> list[Path]:
    """The model files that a setting names: the file itself, a run's best, or the best of each member of a group.

    Args:
        path: A file, a run or a group of runs.
        setting: Its name, for the error.

    Raises:
        ModelError: Nothing of the kind is there, or a member has no finished epoch.
    """
    if path.is_file():
        return [path]
    run = Run(path)
    files = [member.best_path for member in run.members()] or [run.best_path]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise ModelError(
            f"{setting} {path}: {missing[0]} is not there; expected a run with a finished epoch or a .keras file "
            f"({TEACHER} takes a group of runs, too; {START} an exported .onnx file or a packaged model's name)"
        )
    return files


def teacher_files(path: Path) -> list[Path]:
    """The files of a teacher, which may be a group of runs; as `model_files`."""
    return model_files(path, TEACHER)


def start_file(path: Path) -> Path:
    """The one file whose weights a training starts from.

    Raises:
        ModelError: None is there, or several are.
    """
    files = model_files(path, START)
    if len(files) > 1:
        raise ModelError(f"{START} {path}: a group of {len(files)} runs; expected one: name one of its members")
    return files[0]


def files_digest(files: list[Path]) -> str:
    """SHA-256 over the digests of the files, in hex: one value, the same models."""
    digests = file_digests(files)
    return hashlib.sha256("".join(digests[file] for file in files).encode()).hexdigest()


def named_digests(config: Config, has_begun: bool) -> dict[str, str]:
    """The digests of the models that the config names and the training still needs, as environment.json keeps them.

    Args:
        config: The settings.
        has_begun: Whether an epoch is saved, whose weights have taken the start's place.

    Raises:
        ModelError: One is missing.
    """
    found = {}
    if config.train.start_from is not None and not has_begun:
        found["start_digest"] = files_digest([start_file(Path(config.train.start_from))])
    if config.train.teacher is not None:
        found["teacher_digest"] = files_digest(teacher_files(Path(config.train.teacher)))
    return found


def with_network_of_start(config: Config, preset: str | None = None) -> Config:
    """The config, with the network of the model that it starts from where it names none of its own.

    Args:
        config: Its `train.start_from` is a path.
        preset: Of which packaged model that is the file; None for others. A file that records its network needs none;
            of a run, its config tells.

    Raises:
        ModelError: The start is not there, or damaged.
    """
    if config.train.start_from is None or config.model != ModelConfig():
        return config
    file = start_file(Path(config.train.start_from))
    network = _network_of(file, preset)
    if network is None:
        return config
    if file.suffix.lower() == ".onnx":
        from polypseg.models.onnx_weights import gates_of_file

        network = network.model_copy(update={"gates": gates_of_file(file)})
    plain = {"encoder_weights": None, "deep_supervision": config.model.deep_supervision}
    return config.model_copy(update={"model": network.model_copy(update=plain)})


def _network_of(file: Path, preset: str | None) -> ModelConfig | None:
    from polypseg.models.registry import PRESETS

    if file.suffix.lower() == ".onnx":
        metadata = read_metadata(file)
        recorded = from_metadata(metadata, str(file)).network if PREFIX + NETWORK_KEY in metadata else None
        if recorded is not None:
            return _config_of(recorded, file)
        preset = preset or metadata.get(f"{PREFIX}name")
    if preset is not None and preset in PRESETS:
        return PRESETS[preset]
    folders = [folder for folder in (file.parent, file.parent.parent) if Run(folder).config_path.is_file()]
    return Run(folders[0]).config().model if folders else None


def _config_of(network: Network, file: Path) -> ModelConfig:
    try:
        return ModelConfig.model_validate(network.model_dump())
    except ValidationError as error:
        raise ModelError(
            f"{file}: its {PREFIX}{NETWORK_KEY} fits no network of ours; export the model again"
        ) from error


class SeenImagesWarning(PolypsegWarning):
    """Images that a training's start has seen are to validate or test it; the message lists them."""


def warn_of_seen_images(config: Config, split: Split) -> None:
    """Warns of images of the validation and test splits that the start was trained on, or chosen by.

    Args:
        config: Its `train.start_from` is known as `seen_by_start` says.
        split: Of the new training.
    """
    seen = seen_by_start(config)
    for side, what in (
        ("test", "its test figures will flatter"),
        ("validation", "the checkpoint will be chosen by images that it has seen"),
    ):
        known = [name for name in split.names(side) if split.entries[name].image_digest in seen]
        if known:
            warnings.warn(
                f"{config.train.start_from} was trained on {len(known)} of the {len(split.names(side))} {side} images: "
                f"{what}{listed(known)}",
                SeenImagesWarning,
                stacklevel=2,
            )


def seen_by_start(config: Config) -> SeenImages:
    """The images that the model has seen whose weights a training starts from; none where nobody can tell.

    Args:
        config: Its `train.start_from` is a run, a checkpoint in one, or an exported file; of others nothing is known.
    """
    nothing = SeenImages(frozenset())
    if config.train.start_from is None:
        return nothing
    file = start_file(Path(config.train.start_from))
    if file.suffix.lower() == ".onnx":
        return unpack(read_metadata(file).get(f"{PREFIX}seen_images", ""))
    run = Run(file.parent.parent)
    return run.seen() if file.parent.name == "checkpoints" and run.splits_path.is_file() else nothing


def check_named_models(run: Run, config: Config, has_begun: bool) -> None:
    """Nothing where the models that the config names are those that the run began with.

    Raises:
        RunError: Another one is there now.
        ModelError: One is missing.
    """
    known = run.environment()
    named = {"start_digest": ("start", config.train.start_from), "teacher_digest": ("teacher", config.train.teacher)}
    for key, digest in named_digests(config, has_begun).items():
        if getattr(known, key) not in (None, digest):
            what, path = named[key]
            raise RunError(
                f"{path}: not the {what} that {run.folder} began with; put its files back from a copy, or start a new "
                "run (--name)"
            )
