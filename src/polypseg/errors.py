"""The tree of exceptions: everything that polypseg raises on purpose.

A message says what was given, what was expected and how to mend it, in one line; long lists of
files follow on lines of their own. `exit_code` is what the command line returns: 1 for data and
files, 2 for a wrong call.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class PolypsegWarning(UserWarning):
    """Something that the user should know and that stops nothing; the command line shows it as a note."""


class PolypsegError(Exception):
    """Any error that polypseg raises on purpose; catch this to catch them all."""

    exit_code = 1


class DataError(PolypsegError):
    """Images, masks or folders are not what they should be."""


class ImageError(DataError):
    """One file cannot be used as an image or a mask: unreadable, truncated, too large, not two-valued."""


class PairingError(DataError):
    """Images and masks of a folder do not pair."""


class SplitError(DataError):
    """A split manifest cannot be made, or no longer matches the data."""


class DownloadError(DataError):
    """A download failed, or what came is not what was expected."""


class RunError(PolypsegError):
    """A run folder is missing, damaged, or belongs to another run."""


class BusyError(PolypsegError):
    """Another process writes to the same place."""


class ArchiveError(PolypsegError):
    """An archive of videos is missing, damaged, or cannot be written."""


class ModelError(PolypsegError):
    """A model cannot be built or loaded."""


class ModelRunError(ModelError):
    """A model was opened and fails while it runs: no fault of the image."""


class ProjectError(PolypsegError):
    """A project of corrections is missing, damaged, of another program, or cannot be written."""


class ConflictError(ProjectError):
    """Somebody else saved the same frame meanwhile."""


class CorrectionError(ProjectError):
    """A mask that somebody saves does not fit its frame."""


class ScoreError(PolypsegError):
    """Predictions and references cannot be scored or compared."""


class UsageError(PolypsegError):
    """The call itself is wrong: an argument, an option or a config value."""

    exit_code = 2


class ConfigError(UsageError):
    """A config holds an unknown key or a value that does not fit."""


class RequestError(UsageError):
    """A request that the server refuses.

    Attributes:
        status: Of the HTTP answer.
        title: A few words that name the kind of problem.
        retry_seconds: When to come again, where that helps.
    """

    def __init__(self, status: int, title: str, detail: str, retry_seconds: int | None = None) -> None:
        super().__init__(detail)
        self.status, self.title, self.retry_seconds = status, title, retry_seconds


class MissingExtraError(PolypsegError, ImportError):
    """An optional dependency is not installed."""


EXTRA_OF = {
    "av": "video",
    "fastapi": "serve",
    "fsspec": "archive",
    "highdicom": "dicom",
    "huggingface_hub": "hub",
    "imagehash": "evaluate",
    "keras": "train",
    "matplotlib": "evaluate",
    "nncf": "export",
    "openvino": "openvino",
    "prometheus_client": "serve",
    "pyarrow": "archive",
    "pydicom": "dicom",
    "python_multipart": "serve",
    "ray": "cluster",
    "scipy": "evaluate",
    "starlette": "serve",
    "tensorflow": "train",
    "tf2onnx": "export",
    "uvicorn": "serve",
}
"""Packages that a smaller installation lacks, and the extra that brings each."""


def missing_extra(package: str, extra: str) -> MissingExtraError:
    """The error for an optional dependency that is not installed, with the line that installs it.

    >>> str(missing_extra("keras", "train"))
    'keras is not installed, and this needs it; install it with: pip install "polypseg[train]"'
    """
    return MissingExtraError(
        f'{package} is not installed, and this needs it; install it with: pip install "polypseg[{extra}]"'
    )


def unknown_name(kind: str, given: str, choices: Iterable[str]) -> str:
    """The message for a name that is none of the choices.

    >>> unknown_name("model", "unett", ["attention_unet", "unet"])
    "unknown model 'unett'; did you mean 'unet'? The choices are: attention_unet, unet"
    """
    names = sorted(choices)
    close = get_close_matches(given, names, n=1)
    guess = f" did you mean {close[0]!r}?" if close else ""
    return f"unknown {kind} {given!r};{guess} {'The' if guess else 'the'} choices are: {', '.join(names)}"


def listed(items: Iterable[object], limit: int = 10) -> str:
    """The items on lines of their own, indented; past `limit` only their number.

    >>> print(listed(["a", "b", "c"], limit=2))
    <BLANKLINE>
      a
      b
      … and 1 more
    """
    lines = [str(item) for item in items]
    shown = lines[:limit] + ([f"… and {len(lines) - limit} more"] if len(lines) > limit else [])
    return "".join(f"\n  {line}" for line in shown)


def plural(count: int, one: str, many: str = "") -> str:
    """The count and its noun.

    >>> plural(1, "image"), plural(0, "image"), plural(2, "frame with a polyp", "frames with a polyp")
    ('1 image', '0 images', '2 frames with a polyp')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"
