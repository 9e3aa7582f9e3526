"""The embedded Postgres and Valkey: what they keep, whom they refuse, what they say when they cannot start."""

import os
import socket
import stat
import threading
from itertools import chain, repeat
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from rushes.errors import Conflict, Unavailable
from sandbox.servers import EmbeddedPostgres, EmbeddedRedis, embedded, free_port, ports
from sandbox.servers import postgres as postgres_module
from sandbox.servers.process import find_binary
from tests.support.embedded import (
    BOTH,
    Kind,
    as_we_are,
    both,
    both_running,
    get_running,
    inspect,
    is_gone,
    launched,
    recall,
    remember,
)


@both
def test_a_server_stops_without_a_trace_and_starts_again_with_its_data(kind: Kind, server_folder: Path) -> None:
    server = kind(server_folder / 'a "quoted" folder\'s näme')
    url = server.start()
    remember(url, "first")
    assert recall(url) == ["first"]
    pids = [server.pid, *(child.pid for child in psutil.Process(server.pid).children(recursive=True))]

    server.stop()
    server.stop()
    assert all(is_gone(pid) for pid in pids)
    assert ports.find_obstacle(server.port) is None
    with pytest.raises(Unavailable, match="not started"):
        _ = server.pid

    # Clients know its port, so it takes no other one while that is in use.
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((ports.HOST, server.port))
        taken.listen()
        with pytest.raises(Conflict, match=rf"port {server.port} .*in use(?s:.*)\nhint: "):
            server.start()
    assert server.start() == url
    server.stop()

    with kind(server.folder) as restarted:
        assert restarted.url.split("@")[0] == url.split("@")[0]
        assert recall(restarted.url) == ["first"]


def test_a_server_that_stands_still_once_it_has_answered_was_started(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = chain([False, True], repeat(False))
    monkeypatch.setattr(EmbeddedRedis, "_is_ready", lambda _: next(answers))
    with EmbeddedRedis(server_folder) as server:
        assert server.running


def test_two_folders_have_two_passwords(server_folder: Path) -> None:
    with EmbeddedRedis(server_folder / "a") as a, EmbeddedRedis(server_folder / "b") as b:
        assert a.url.split("@")[0] != b.url.split("@")[0]


@both_running
def test_starting_twice_is_starting_once(request: pytest.FixtureRequest, fixture: str) -> None:
    server = get_running(request, fixture)
    before = server.pid, server.url
    assert server.start() == server.url
    assert (server.pid, server.url) == before


def test_fsync_is_on_unless_a_test_turns_it_off(server_folder: Path, postgres: EmbeddedPostgres) -> None:
    names = ("fsync", "full_page_writes", "synchronous_commit", "max_connections", "unix_socket_directories")
    with EmbeddedPostgres(server_folder) as server:
        assert show(server.url, *names) == ["on", "on", "on", "200", ""]
    assert show(postgres.start(), *names) == ["off", "off", "on", "200", ""]


def show(url: str, *names: str) -> list[str]:
    """The values of these settings."""
    with psycopg.connect(url) as session:
        return [str((session.execute(f"show {name}").fetchone() or [None])[0]) for name in names]


@both_running
def test_the_port_of_a_server_that_does_not_run_is_given_to_nobody_else(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    server = get_running(request, fixture)
    url = server.url
    server.kill()
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind((ports.HOST, server.port))
    assert server.start() == url


@both
def test_a_free_port_that_somebody_else_took_first_is_replaced(
    kind: Kind, server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind((ports.HOST, 0))
        taken.listen()
        chosen = chain([taken.getsockname()[1]], iter(free_port, None))
        monkeypatch.setattr(embedded, "free_port", lambda: next(chosen))
        with kind(server_folder) as server:
            assert server.port != taken.getsockname()[1]
            remember(server.url, "it answers")


@both_running
def test_a_folder_in_use_is_refused_and_its_server_goes_on(request: pytest.FixtureRequest, fixture: str) -> None:
    server = get_running(request, fixture)
    pid = server.pid
    with pytest.raises(Conflict, match=rf"in use by the running process {os.getpid()}\b"):
        type(server)(server.folder).start()
    assert server.running
    assert server.start()
    assert server.pid == pid


def test_a_folder_in_use_by_another_process_is_refused(server_folder: Path) -> None:
    with launched(*as_we_are(server_folder)) as (launcher, (postgres_url, redis_url, *_)):
        for server in (EmbeddedPostgres(server_folder / "postgres"), EmbeddedRedis(server_folder / "redis")):
            with pytest.raises(Conflict, match=rf"in use by the running process {launcher.pid}\b"):
                server.start()
        remember(postgres_url, "goes on")
        remember(redis_url, "goes on")


def test_a_folder_that_cannot_be_made_is_refused(server_folder: Path) -> None:
    (server_folder / "file").touch()
    with pytest.raises(Conflict, match="cannot be used"):
        EmbeddedRedis(server_folder / "file" / "redis").start()


@pytest.mark.parametrize("login", ["rushes:wrong", "rushes", "postgres:wrong"])
def test_postgres_lets_only_the_right_password_in(postgres: EmbeddedPostgres, tmp_path: Path, login: str) -> None:
    url = f"postgresql://{login}@{ports.HOST}:{postgres.port}/rushes"
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url, passfile=str(tmp_path / "none"))


@pytest.mark.parametrize("login", [":wrong@", ""], ids=["wrong", "none"])
def test_redis_lets_only_the_right_password_in(redis_server: EmbeddedRedis, login: str) -> None:
    url = f"redis://{login}{ports.HOST}:{redis_server.port}/0"
    with redis.Redis.from_url(url) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


@both_running
def test_the_password_is_in_its_own_file_alone(request: pytest.FixtureRequest, fixture: str) -> None:
    server = get_running(request, fixture)
    secret, log = server.folder / "password", server.folder / "server.log"
    password = secret.read_text().strip()
    assert len(password) >= 32
    assert password in server.url
    assert [stat.S_IMODE(file.stat().st_mode) for file in (secret, log)] == [0o600, 0o600]
    for text in (repr(server), log.read_text(), *(str(inspect(server, what)) for what in ("cmdline()", "environ()"))):
        assert password not in text


def test_the_server_sees_nothing_of_our_environment(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVESPEED_API_KEY", "a secret")
    monkeypatch.setenv("PGPORT", "1")
    with EmbeddedPostgres(server_folder, fsync=False) as server:
        assert not {"WAVESPEED_API_KEY", "PGPORT"} & set(inspect(server, "environ()"))


@both_running
def test_the_server_listens_on_loopback_alone(request: pytest.FixtureRequest, fixture: str) -> None:
    server = get_running(request, fixture)
    found = inspect(server, "net_connections(kind='all')")
    listening = {tuple(address) for _, _, _, address, _, status in found if status == psutil.CONN_LISTEN}
    assert listening == {(ports.HOST, server.port)}


@both_running
def test_ctrl_c_reaches_the_launcher_alone(request: pytest.FixtureRequest, fixture: str) -> None:
    server = get_running(request, fixture)
    assert os.getsid(server.pid) == os.getpgid(server.pid) == server.pid


@both
def test_a_thread_that_may_end_before_the_server_cannot_start_it(kind: Kind, server_folder: Path) -> None:
    refused: list[RuntimeError] = []

    def start() -> None:
        try:
            kind(server_folder).start()
        except RuntimeError as error:
            refused.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert refused


@pytest.mark.parametrize(
    ("kind", "damaged", "complaint"),
    [
        (BOTH[0], "postgresql.conf", "syntax error"),
        (BOTH[1], "appendonlydir/appendonly.aof.manifest", "Invalid AOF manifest"),
    ],
    ids=["postgres", "redis"],
)
def test_a_start_that_fails_shows_the_log_and_a_hint(
    kind: Kind, damaged: str, complaint: str, server_folder: Path
) -> None:
    with kind(server_folder) as server:
        remember(server.url, "kept")
    file = server_folder / "data" / damaged
    whole = file.read_bytes()
    file.write_bytes(b"nonsense\n" + whole)
    with pytest.raises(Unavailable, match=rf"(?s)exit code 1; .*{complaint}.*\nhint: ") as failure:
        server.start()
    assert (server_folder / "password").read_text().strip() not in str(failure.value)
    file.write_bytes(whole)
    with kind(server_folder) as server:
        assert recall(server.url) == ["kept"]


def test_a_failed_or_broken_off_initdb_leaves_no_half_database(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (server_folder / "initdb-broken-off").mkdir()
    (server_folder / "initdb-broken-off" / "PG_VERSION").write_text("18")
    with monkeypatch.context() as patch:
        patch.setattr(postgres_module, "find_binary", lambda *_: Path("/bin/false"))
        with pytest.raises(Unavailable, match="exit code 1"):
            EmbeddedPostgres(server_folder).start()
    assert not (server_folder / "data").exists()
    with EmbeddedPostgres(server_folder, fsync=False) as server:
        remember(server.url, "whole")
    assert not list(server_folder.glob("initdb-*"))


def test_a_lost_password_file_is_reported(server_folder: Path) -> None:
    (server_folder / "data").mkdir()
    with pytest.raises(Conflict, match=r"password is missing.*\nhint: "):
        EmbeddedPostgres(server_folder).start()


@pytest.mark.parametrize(("package", "words"), [("no_such_wheel", "not installed"), ("psutil", "not built")])
def test_a_wheel_that_is_missing_is_named(package: str, words: str) -> None:
    with pytest.raises(Unavailable, match=rf"{package}.*{words}"):
        find_binary(package, "no/such/server")
