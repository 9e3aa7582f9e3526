"""Prints the ids of the processes that have a file open, apart from its own and its parent's.

Run by path: `python -I holders.py FILE`. This is a separate process, so that it can run as the user of the servers:
without CAP_SYS_PTRACE (the default in containers) root may not list the open files of other users' processes.
"""

import contextlib
import os
import sys
from pathlib import Path

import psutil


def find_pids(path: str) -> list[int]:
    """A process id kept in a file would prove nothing: ids are reused, and a new container starts counting again."""
    found, lock = [], Path(path)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            # macOS ignores case and reports the stored name, so one file may have two spellings.
            if any(file.path.endswith(lock.name) and lock.samefile(file.path) for file in process.open_files()):
                found.append(process.pid)
    return [pid for pid in found if pid not in (os.getpid(), os.getppid())]


if __name__ == "__main__":
    sys.stdout.write(" ".join(map(str, find_pids(sys.argv[1]))))
