"""A process of its own: its time, its memory, its failure."""

import sys

import pytest

from polypseg.errors import ModelError
from polypseg.predict.child_process import run_in_child_process


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell a child's peak memory")
def test_a_fresh_process_tells_its_own_peak():
    small = run_in_child_process([sys.executable, "-c", "pass"])
    large = run_in_child_process([sys.executable, "-c", "print(len(b'x' * 200 * 2**20))"])
    assert large.peak_mib - small.peak_mib == pytest.approx(200, abs=20)
    assert small.seconds > 0


def test_a_fresh_process_that_fails_is_told_with_its_last_line():
    code = "import sys; sys.stderr.write('first\\nerror: no such model\\n'); sys.exit(3)"
    with pytest.raises(ModelError, match=r"\(exit code 3\): error: no such model$"):
        run_in_child_process([sys.executable, "-c", code])
    with pytest.raises(ModelError, match=r"\(exit code 1\): no word$"):
        run_in_child_process([sys.executable, "-c", "raise SystemExit(1)"])
