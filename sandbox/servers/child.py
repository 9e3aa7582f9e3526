"""Runs between a launcher and its process: drop root, tie the process's life to the launcher's, then exec.

Run by path: `python -I -S child.py FOLDER SIGNAL LAUNCHER_PID COMMAND...`. FOLDER is empty for a process that keeps its
user. This is a separate process with only the standard library, because code between fork and exec may deadlock in a
launcher that has threads.

Postgres refuses to run as root. A root launcher's server therefore runs as the owner of FOLDER. If root owns FOLDER,
the server runs in a private user namespace in which root's files belong to `nobody`. If namespaces are denied (the
default in many containers), FOLDER is given to the real `nobody`.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000  # linux/sched.h
PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_SECUREBITS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 8, 28, 47, 2  # prctl.h
CAP_DAC_OVERRIDE, CAPABILITY_VERSION_3 = 1, 0x20080522  # linux/capability.h
SECBIT_NO_SETUID_FIXUP = 1 << 2  # linux/securebits.h
NOBODY = 65534  # initdb needs a user listed in /etc/passwd; this one is in every image
LINUX = sys.platform == "linux"

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> None:
    """Call libc; raises OSError if the call fails."""
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def enter_private_namespace() -> None:
    """Map root to `nobody` for this process: the server is not root, and no file changes its owner."""
    call("unshare", CLONE_NEWUSER)
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny")
    (own / "uid_map").write_text(f"{NOBODY} 0 1")
    (own / "gid_map").write_text(f"{NOBODY} 0 1")


def are_namespaces_allowed() -> bool:
    """Try it in a child process, since a process cannot leave a namespace that it entered but failed to map."""
    probe = os.fork()
    if probe == 0:
        try:
            enter_private_namespace()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(probe, 0)[1]) == 0


def count_capabilities_in_access_checks() -> None:
    """Have access(2) count a capability, as open(2) does: Postgres asks it whether it may run its own programs."""
    try:
        call("prctl", PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    except OSError:
        sys.stderr.write("CAP_SETPCAP is withheld: the server's programs must be open to its user\n")


def keep_file_access() -> None:
    """Let the server pass folders that only root can enter (a venv below /root, a temporary folder with mode 0700)."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    bit = 1 << CAP_DAC_OVERRIDE
    call("capset", header, (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0))  # effective, permitted, inheritable
    call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def become(uid: int, gid: int) -> None:
    """Switch to that user permanently."""
    call("prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0)
    count_capabilities_in_access_checks()
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    try:
        keep_file_access()
    except OSError:
        sys.stderr.write("CAP_DAC_OVERRIDE is withheld: every folder must be open to the server's user\n")


def drop_root(folder: Path) -> None:
    """Drop root, and keep FOLDER's owner if there is a way to do so."""
    if not LINUX:
        sys.exit("only on Linux can root start the embedded servers: start Rushes as an ordinary user")
    owner = folder.stat()
    if owner.st_uid != 0:
        become(owner.st_uid, owner.st_gid)
    elif are_namespaces_allowed():
        enter_private_namespace()
    else:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        become(NOBODY, NOBODY)


def share_fate(number: int, launcher: int) -> None:
    """Linux: have the kernel send this signal when the launching thread dies, even by kill -9; this survives exec."""
    if not LINUX:
        return
    call("prctl", PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != launcher:  # it died before the line above
        sys.exit(1)


def main(folder: str, number: str, launcher: str, *command: str) -> None:
    """Does not return: the command replaces this process and keeps its id and open files."""
    for name in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):  # Python's own handling, which exec would pass on
        signal.signal(name, signal.SIG_DFL)
    if folder:
        os.umask(0o077)
        if os.geteuid() == 0:
            drop_root(Path(folder))
    share_fate(int(number), int(launcher))
    os.execv(command[0], command)  # noqa: S606 - the launcher's own command line


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as problem:
        sys.exit(f"{sys.argv[4]}: {problem}")
