"""`rushes chaos`: what it refuses, and how it treats servers that are not its own."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from chaos.running import PREFIX, Request
from chaos.servers import SharedServers
from cli.app import main
from sandbox.servers import EmbeddedPostgres

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("WAVESPEED_API_KEY", "RUSHES_WAVESPEED_URL"):
        monkeypatch.delenv(name, raising=False)

    def run_command(*words: str) -> tuple[int, str, str]:
        code = main(["chaos", *words])
        return (code, *capsys.readouterr())

    return run_command


def list_databases(postgres: EmbeddedPostgres) -> list[str]:
    with psycopg.connect(postgres.url) as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [PREFIX])
        return [str(row[0]) for row in rows]


def is_connected(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "value"),
    [("WAVESPEED_API_KEY", "wsk_paid"), ("RUSHES_WAVESPEED_URL", "http://127.0.0.1:9")],
)
def test_a_paid_account_in_the_environment_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    code, out, err = run()
    assert (code, out) == (2, "")
    assert err == f"error: {name} set: a run only renders with its own simulator\nhint: unset {name}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scenario", "worst"), "there is no scenario 'worst'"),
        (("--seed", "1,x"), "--seed: '1,x' is not a number"),
        (("--flush-redis",), "--flush-redis is for a Redis of yours"),
        (
            ("--scenario", "restore", "--database-url", "postgresql://x/y", "--redis-url", "redis://127.0.0.1:1/0"),
            "the scenario restores a database, which is never done on your server",
        ),
        (("--redis-url", "redis://127.0.0.1:1/0"), "--database-url and --redis-url belong together"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_starts(
    run: Run, words: tuple[str, ...], message: str
) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert message in err


def test_a_redis_number_that_somebody_uses_is_refused(
    run: Run, postgres: EmbeddedPostgres, redis_url: str, tmp_path: Path
) -> None:
    with redis.Redis.from_url(redis_url) as somebody:
        somebody.ping()
        code, _, err = run("--database-url", postgres.url, "--redis-url", redis_url)
    assert code == 2
    assert "1 other client(s) use this database number of the Redis" in err
    assert list_databases(postgres) == []
    assert list(tmp_path.glob("rushes-chaos-*")) == []


def test_servers_that_are_away_are_reported_without_their_passwords(run: Run, redis_url: str) -> None:
    code, _, err = run("--database-url", "postgresql://u:secret@127.0.0.1:1/x", "--redis-url", redis_url)
    assert code == 3
    assert "the database at 127.0.0.1:1 cannot be reached" in err
    code, _, other = run(
        "--database-url", "postgresql://u@127.0.0.1:1/x", "--redis-url", "redis://:secret@127.0.0.1:1/0"
    )
    assert code == 3
    assert "secret" not in err + other


def test_a_run_on_given_servers_makes_and_drops_its_own_database(
    postgres: EmbeddedPostgres, redis_url: str, tmp_path: Path
) -> None:
    opener = Request(database_url=postgres.url, redis_url=redis_url).choose_servers()
    with opener(tmp_path) as servers, psycopg.connect(servers.urls["postgres"], autocommit=True) as worker:
        (name,) = list_databases(postgres)
        assert urlsplit(servers.urls["postgres"]).path == f"/{name}"
        assert servers.kinds == {"postgres_backends", "redis_clients"}
        assert is_connected(worker)
    assert list_databases(postgres) == []


def test_only_connections_to_the_own_database_are_cut(
    postgres: EmbeddedPostgres, redis_url: str, tmp_path: Path
) -> None:
    opener = Request(database_url=postgres.url, redis_url=redis_url).choose_servers()
    with opener(tmp_path) as servers, psycopg.connect(postgres.url, autocommit=True) as somebody:
        worker = psycopg.connect(servers.urls["postgres"], autocommit=True)
        servers.strike("postgres_backends")
        assert not is_connected(worker)
        assert is_connected(somebody)


def test_only_clients_and_keys_of_the_own_number_of_a_redis_are_struck(redis_url: str) -> None:
    own = urlsplit(redis_url)._replace(path="/7").geturl()
    servers = SharedServers("", own, may_flush=True)
    with redis.Redis.from_url(redis_url) as somebody, redis.Redis.from_url(own) as worker:
        somebody.set("kept", 1)
        worker.set("gone", 1)
        before = worker.client_id(), somebody.client_id()
        servers.strike("redis_clients")
        assert (worker.client_id() == before[0], somebody.client_id() == before[1]) == (False, True)
        servers.strike("redis_flush")
        assert (worker.dbsize(), somebody.dbsize()) == (0, 1)
        somebody.delete("kept")
