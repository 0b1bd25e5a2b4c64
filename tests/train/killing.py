"""A training that is killed with `kill -9` after its first epoch."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from polypseg.records.training_state import load_state

TRAIN = (
    "import sys\n"
    "from pathlib import Path\n"
    "from polypseg.config import load_config\n"
    "from polypseg.train.fit import train\n"
    "train(Path(sys.argv[1]), Path(sys.argv[2]), load_config(Path(sys.argv[3])))\n"
)


def train_and_kill(data: Path, folder: Path, config_path: Path) -> int:
    """Train in a process of its own, kill it once an epoch is saved, and tell how many are."""
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(data), str(folder), str(config_path)],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    state = folder / "checkpoints" / "last" / "state.json"
    deadline = time.monotonic() + 240
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return load_state(state.parent).epoch
