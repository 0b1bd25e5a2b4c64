"""A command in a process of its own: how long it takes and how much memory it needs at most.

The system counts what a process held before it became another program (Linux does, in ru_maxrss). Started from here,
the command would seem to need what this process holds; it is started from a small one, which is this file as a script.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple


class ProcessCost(NamedTuple):
    """What a process took from its start to its end.

    Attributes:
        seconds: Wall time.
        peak_mib: Resident memory at most; None where the system does not tell.
    """

    seconds: float
    peak_mib: float | None


def run_in_child_process(command: Sequence[str]) -> ProcessCost:
    """What a command took in a process of its own; what it prints is dropped.

    Raises:
        ModelError: It failed; the message ends with its last line.
    """
    from polypseg.errors import ModelError

    done = subprocess.run([sys.executable, "-I", "-S", __file__, *command], capture_output=True, check=False)
    if done.returncode:
        last = (done.stderr.decode(errors="replace").strip() or "no word").splitlines()[-1]
        raise ModelError(f"a fresh process could not predict (exit code {done.returncode}): {last}")
    return ProcessCost(**json.loads(done.stdout))


def main(command: Sequence[str]) -> int:
    """The command's exit code, after its figures were printed as JSON."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = None
    if hasattr(os, "wait4"):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    code = process.wait()
    print(json.dumps({"seconds": time.perf_counter() - began, "peak_mib": peak}))  # noqa: T201
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
