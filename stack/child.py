"""What happens between the supervisor and a process of it: share the supervisor's fate, execute.

Run by path: `python -I -S child.py FATE SIGNAL SUPERVISOR_PID COMMAND...`, where FATE is the file that knows how. A
process of its own, because code between fork and exec in a process that has threads may deadlock.
"""

import os
import runpy
import signal
import sys


def main(fate: str, number: str, supervisor: str, *command: str) -> None:
    """Does not return: the command takes over this process and its id."""
    for name in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):  # python's own ways, which exec would hand on
        signal.signal(name, signal.SIG_DFL)
    runpy.run_path(fate)["share_fate"](int(number), int(supervisor))
    os.execv(command[0], command)  # noqa: S606 - the supervisor's own command line


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as problem:
        sys.exit(f"{sys.argv[4]}: {problem}")
