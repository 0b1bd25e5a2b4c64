"""Models on a hub (Hugging Face, or a server that speaks its calls): `hf://OWNER/NAME[@REVISION]`.

A repository holds three files: `model.onnx`, `polypseg.json` (this module's record of it) and `README.md` (its card).

Decisions:
- A revision is settled once, to a commit; what is fetched and what is told is of that commit.
- A model is taken only where its bytes have the digest of the record beside it. Nothing else of a repository is
  fetched, so no pickle can be, and what is fetched is an ONNX file that polypseg exported.
- A commit that was fetched before needs no network; a branch or tag is what it was last where there is none.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from polypseg.errors import DownloadError, ModelError, UsageError, missing_extra
from polypseg.records.atomic import write_bytes
from polypseg.records.digests import model_file_digest
from polypseg.records.onnx_metadata import read_facts
from polypseg.records.reading import FileKind, Saved, read_json

SCHEME = "hf://"
MODEL_NAME, RECORD_NAME, CARD_NAME = "model.onnx", "polypseg.json", "README.md"
TIMEOUT_SECONDS = 15.0

RECORD = FileKind("record of a model on a hub", ModelError, "push the model again: polypseg hub push")

_FORM = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)
_FILE_NAME = re.compile(r"[^\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubRecord(Saved):
    """What a repository says of its model.

    Attributes:
        name: Of the model.
        sha256: Of `model.onnx`.
        num_bytes: Of `model.onnx`.
        polypseg: Version that pushed it.
    """

    format: int = 1
    name: str
    sha256: str
    num_bytes: int
    polypseg: str


class HubOrigin(Saved):
    """Where a model that was pulled comes from.

    Attributes:
        repository: As owner/name.
        commit: The hash of the commit.
        sha256: Of the model file.
    """

    repository: str
    commit: str
    sha256: str


class HubModel(NamedTuple):
    """A model of a hub, on this machine.

    Attributes:
        repository: As owner/name.
        commit: The hash of the commit, 40 hexadecimal digits.
        path: The `.onnx` file, in the cache of huggingface_hub.
        record: What the repository says of it.
    """

    repository: str
    commit: str
    path: Path
    record: HubRecord

    @property
    def address(self) -> str:
        """The model by its commit: what this address names never changes."""
        return f"{SCHEME}{self.repository}@{self.commit}"


def is_hub(model: object) -> bool:
    """Whether a model is named by its place on a hub.

    >>> is_hub("hf://owner/name"), is_hub("polyp-lite")
    (True, False)
    """
    return str(model).startswith(SCHEME)


def parse(address: str) -> tuple[str, str]:
    """Repository and revision of an address.

    Raises:
        UsageError: No address of a model.

    >>> parse("hf://owner/name"), parse("hf://owner/name@v1.0")
    (('owner/name', 'main'), ('owner/name', 'v1.0'))
    """
    found = _FORM.fullmatch(address)
    if found is None:
        raise UsageError(f"{address}: expected hf://OWNER/NAME or hf://OWNER/NAME@REVISION")
    return found[1], found[2] or "main"


def fetch(address: str) -> HubModel:
    """The model of an address, fetched where it is not here yet, and compared with its digest.

    Args:
        address: As hf://owner/name, or hf://owner/name@revision: a commit, a branch or a tag.

    Raises:
        DownloadError: No network, no such repository or revision, or it may not be read.
        MissingExtraError: huggingface_hub is not installed.
        ModelError: The repository holds no model of polypseg, or another one than it says.
        UsageError: No address of a model.
    """
    repository, revision = parse(address)
    api = hub_api()
    with told_in_a_line(address):
        known = _commit(api, repository, revision)
        with _no_model(address, repository):
            # by the name of the branch, so that it is found again without a network
            record_path = Path(api.hf_hub_download(repository, RECORD_NAME, revision=known or revision))
            commit = record_path.parent.name
            path = Path(api.hf_hub_download(repository, MODEL_NAME, revision=commit))
    record = read_json(record_path, HubRecord, RECORD)
    if record.format != 1:
        raise ModelError(f"{address}: pushed by polypseg {record.polypseg}, which is newer; install that version")
    found = model_file_digest(path)
    if found != record.sha256:
        raise ModelError(
            f"{address}: its file has the SHA-256 {found[:12]}…, its record says {record.sha256[:12]}…; nothing was "
            f"loaded. If the copy is damaged, remove {record_path.parent} and fetch it again"
        )
    read_facts(path)  # an ONNX file that polypseg exported
    return HubModel(repository, commit, path, record)


def pull(address: str, folder: Path) -> tuple[HubModel, list[Path]]:
    """The model, and copies of its file, its card and of where they come from, in a folder that is made if missing.

    Raises:
        DownloadError: As `fetch`.
        ModelError: As `fetch`, or a file of that name is there already.
    """
    model = fetch(address)
    file = folder / f"{_FILE_NAME.sub('-', model.record.name).strip('-.') or 'model'}.onnx"
    targets = [file, file.with_suffix(".md"), file.with_suffix(".json")]
    there = [str(target) for target in targets if target.exists()]
    if there:
        raise ModelError(f"{', '.join(there)}: there already; remove them, or name another folder")
    with told_in_a_line(address), _no_model(address, model.repository):
        card = Path(hub_api().hf_hub_download(model.repository, CARD_NAME, revision=model.commit))
    folder.mkdir(parents=True, exist_ok=True)
    origin = HubOrigin(repository=model.repository, commit=model.commit, sha256=model.record.sha256)
    contents = (model.path.read_bytes(), card.read_bytes(), (origin.model_dump_json(indent=1) + "\n").encode())
    for target, content in zip(targets, contents, strict=True):
        write_bytes(target, content)
    return model, targets


def hub_api() -> Any:
    """The client of the hub that HF_ENDPOINT names.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.utils import disable_progress_bars
    except ModuleNotFoundError as error:
        raise missing_extra("huggingface_hub", "hub") from error
    disable_progress_bars()
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="polypseg")


def _commit(api: Any, repository: str, revision: str) -> str | None:
    """The commit of a revision that is here and need not, or cannot, be fetched; None where the hub has it."""
    from huggingface_hub import try_to_load_from_cache

    def kept() -> str | None:
        paths = [try_to_load_from_cache(repository, name, revision=revision) for name in (RECORD_NAME, MODEL_NAME)]
        folders = {Path(path).parent.name for path in paths if isinstance(path, str)}
        return folders.pop() if len(folders) == 1 and all(isinstance(path, str) for path in paths) else None

    if _COMMIT.fullmatch(revision) and kept() == revision:
        return revision
    try:
        api.repo_info(repository, revision=revision, timeout=TIMEOUT_SECONDS)  # told at once, where a download waits
    except Exception as error:
        found = kept() if _is_offline(error) else None
        if found is None:
            raise
        return found
    return None


@contextmanager
def told_in_a_line(address: str) -> Iterator[None]:
    """What goes wrong on the way to a hub, told in a line.

    Raises:
        DownloadError: It went wrong.
    """
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError
    from huggingface_hub.errors import RevisionNotFoundError as NoRevisionError

    try:
        yield
    except GatedRepoError as error:
        raise DownloadError(f"{address}: its owner must let you in first; ask there, then: hf auth login") from error
    except RepositoryNotFoundError as error:
        raise DownloadError(
            f"{address}: no such repository, or a private one; check owner and name, or log in: hf auth login"
        ) from error
    except NoRevisionError as error:
        raise DownloadError(f"{address}: no such revision; leave it out for the newest") from error
    except HFValidationError as error:
        raise DownloadError(f"{address}: no name that a repository can have ({_first_line(error)})") from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "?")
        mend = "log in with a token that may: hf auth login" if status in (401, 403) else "try again later"
        raise DownloadError(f"{address}: the hub answered {status} ({_first_line(error)}); {mend}") from error
    except Exception as error:
        if not _is_offline(error):
            raise
        where = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        raise DownloadError(
            f"{address}: {where} cannot be reached ({_first_line(error)}), and no copy is here; check the network, or "
            "fetch it elsewhere with: polypseg hub pull"
        ) from error


@contextmanager
def _no_model(address: str, repository: str) -> Iterator[None]:
    """A file that a repository lacks means that it holds no model of polypseg."""
    from huggingface_hub.errors import RemoteEntryNotFoundError

    try:
        yield
    except RemoteEntryNotFoundError as error:
        raise ModelError(
            f"{address}: {repository} holds no {RECORD_NAME} and {MODEL_NAME}, so it is no model of polypseg; "
            "one is pushed with: polypseg hub push"
        ) from error


def _is_offline(error: BaseException) -> bool:
    """Whether an error says that the hub cannot be reached; httpx raises its own, some versions with another name."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    names = {cls.__name__ for cls in type(error).__mro__}
    return isinstance(error, ConnectionError | LocalEntryNotFoundError) or "TransportError" in names


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
