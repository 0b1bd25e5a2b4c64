"""A polypseg command that ends with the process that started it: `python child.py train …`.

Its standard input is a pipe from that process, which nobody writes to. When the pipe closes, because the process was
ended or killed, this one ends too. It runs at a lower priority, so that a page stays quick beside it.
"""

import os
import runpy
import sys
import threading
from contextlib import suppress


def _end_with_parent() -> None:
    while os.read(0, 1):  # a buffered read would hold a lock that the interpreter wants at its end
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(OSError, AttributeError):  # Windows has no priorities of this kind
        os.nice(5)
    del sys.path[0]  # not this file's folder, whose modules have names of their own
    sys.argv = ["polypseg", *sys.argv[1:]]
    runpy.run_module("polypseg", run_name="__main__", alter_sys=True)
