"""Runs between the supervisor and each of its processes: tie the process's life to the supervisor's, then exec.

Run by path: `python -I -S child.py FATE SIGNAL SUPERVISOR_PID COMMAND...`. FATE is the file that defines `share_fate`.
This is a separate process because code between fork and exec may deadlock in a process that has threads.
"""

import os
import runpy
import signal
import sys


def main(fate: str, number: str, supervisor: str, *command: str) -> None:
    """Does not return: the command replaces this process and keeps its id."""
    for name in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):  # Python's own handling, which exec would pass on
        signal.signal(name, signal.SIG_DFL)
    runpy.run_path(fate)["share_fate"](int(number), int(supervisor))
    os.execv(command[0], command)  # noqa: S606 - the supervisor's own command line


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as problem:
        sys.exit(f"{sys.argv[4]}: {problem}")
