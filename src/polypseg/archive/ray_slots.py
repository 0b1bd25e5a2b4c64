"""Slots on a Ray cluster: an actor each, which loads the model once; Ray places it where its cores and GPUs are free.

Decisions:
- Ray Core's actors, not Ray Data: the unit is a whole video whose result is a folder, not a block of rows.
- An actor that is lost, with its process or with its machine, is replaced by a new one that Ray places again; the video
  that it was at is tried again. One video at a time goes to an actor, which is all the back-pressure that is needed.
- Archive and videos lie on storage that every machine reaches by the same path.
"""

from typing import Any

from polypseg.archive.manifest import ManifestEntry
from polypseg.archive.options import ArchiveJob
from polypseg.archive.slots import STARTS, WorkerDiedError
from polypseg.archive.worker import Outcome, Worker
from polypseg.errors import ArchiveError, PolypsegError, missing_extra


def import_ray() -> Any:
    """Ray.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise missing_extra("ray", "cluster") from error
    return ray


def connect(address: str) -> None:
    """Connect this process to a cluster.

    Args:
        address: `local` begins a cluster of this machine alone; `auto` finds the one that this machine belongs to;
            else its address, as HOST:6379 or ray://HOST:10001.

    Raises:
        ArchiveError: There is none.
        MissingExtraError: Ray is not installed.
    """
    ray = import_ray()
    if not ray.is_initialized():
        options = {"include_dashboard": False} if address == "local" else {}
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ArchiveError(
                f"Ray at {address!r} cannot be reached ({str(error).splitlines()[0]}); start it (ray start --head), or "
                "use --ray local, which needs no cluster"
            ) from error


def room_for(num_cpus: float, num_gpus: float) -> int:
    """How many workers with such needs the machines of the cluster hold now; each has all it needs of one machine."""
    return sum(_fits(node["Resources"], num_cpus, num_gpus) for node in import_ray().nodes() if node.get("Alive"))


def _fits(there: dict[str, float], num_cpus: float, num_gpus: float) -> int:
    """How many workers a machine holds; shares of GPUs do not go over from one to another.

    >>> _fits({"CPU": 8, "GPU": 2}, 1, 0.4), _fits({"CPU": 8, "GPU": 2}, 4, 0.4), _fits({"CPU": 8}, 3, 0)
    (4, 2, 2)
    """
    cores, gpus = there.get("CPU", 0.0), there.get("GPU", 0.0)
    workers = int(cores // num_cpus)
    if not num_gpus:
        return workers
    return min(workers, int(gpus) * int(1 / num_gpus) if num_gpus < 1 else int(gpus // num_gpus))


class RaySlot:
    """A slot in an actor; implements `Slot`.

    Args:
        job: What the worker works at.
        run: The name of the run.
        timeout_seconds: After so long at one video an actor is ended; None waits.
        num_cpus: Cores that Ray sets aside for it.
        num_gpus: GPUs that Ray sets aside for it, or a share of one.
    """

    def __init__(
        self, job: ArchiveJob, run: str, timeout_seconds: float | None = None, num_cpus: float = 1, num_gpus: float = 0
    ) -> None:
        self._job, self._run, self._timeout = job, run, timeout_seconds
        self._needs = {"num_cpus": num_cpus, "num_gpus": num_gpus}
        self._actor: Any = None
        self._waiting: Any = None
        self._is_closed = False

    def begin(self) -> None:
        """As `Slot.begin`; it blocks until the cluster has room."""
        self._started()

    def do(self, entry: ManifestEntry) -> Outcome:
        """As `Slot.do`."""
        ray, actor = import_ray(), self._started()
        try:
            done: Outcome = ray.get(actor.do.remote(entry), timeout=self._timeout)
        except ray.exceptions.GetTimeoutError as error:
            self._end()
            raise WorkerDiedError(f"no result after {self._timeout:g} s; its worker was ended") from error
        except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError) as error:
            self._end()
            raise WorkerDiedError(f"its worker died ({_reason(error)})") from error
        except ray.exceptions.RayTaskError as error:
            raise _ours(error) from error
        return done

    def close(self) -> None:
        """As `Slot.close`."""
        self._is_closed = True
        self._end()

    def _started(self) -> Any:
        """An actor that has loaded the model."""
        if self._actor is not None:
            return self._actor
        ray = import_ray()
        for _ in range(STARTS):
            if self._is_closed:
                raise WorkerDiedError("the run was ended")
            actor = self._waiting = ray.remote(_Actor).options(max_restarts=0, **self._needs).remote()
            if self._is_closed:  # meanwhile
                self._end()
            try:
                ray.get(actor.begin.remote(self._job, self._run))
            except ray.exceptions.RayTaskError as error:
                ray.kill(actor)
                raise _ours(error) from error
            except ray.exceptions.RayActorError as error:
                reason = _reason(error)
                continue
            self._actor, self._waiting = actor, None
            return actor
        raise ArchiveError(f"{STARTS} workers in a row died before they had a video ({reason})")

    def _end(self) -> None:
        actors, self._actor, self._waiting = (self._actor, self._waiting), None, None
        for actor in actors:
            if actor is not None:
                import_ray().kill(actor)


class _Actor:
    """A worker that is begun by a call, whose error comes back as it is; one of a constructor would not."""

    def begin(self, job: ArchiveJob, run: str) -> None:
        """Load the model."""
        self._worker = Worker(job, run)

    def do(self, entry: ManifestEntry) -> Outcome:
        """As `Worker.do`."""
        return self._worker.do(entry)


def _reason(error: Exception) -> str:
    """What Ray says of a death, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line.startswith(("The actor", "The node"))), lines[0])


def _ours(error: Any) -> Exception:
    """The error of polypseg that a worker raised, else Ray's word for it."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, PolypsegError):
        return cause
    return ArchiveError(f"a worker failed: {(str(error).strip() or 'no word').splitlines()[-1]}")
