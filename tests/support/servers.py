"""Real servers for tests: one Postgres and one Valkey per pytest-xdist worker, started by the first test that asks.

def test_a_fact(database_url): ...    # a migrated database without rows; what the test leaves there is removed
def test_another(redis_url): ...      # an empty Redis; tests of one worker run one after the other
"""

import contextlib
import shutil
import signal
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from psycopg import sql

from sandbox.servers import EmbeddedPostgres, EmbeddedRedis
from tests.support.access import add_test_key

ROOT = Path(__file__).resolve().parents[2]
EMPTY = """
    do $$ declare name text; begin
        perform set_config('session_replication_role', 'replica', true);  -- in any order: no foreign key is checked
        for name in select tablename from pg_tables where schemaname = 'public'
            and tablename not in ('alembic_version', 'tenant', 'api_key') loop
            execute format('delete from %I', name);
        end loop;
        delete from api_key as kept where kept.hint <> 'rsh_test_0000...saul';
        delete from tenant as kept where kept.name <> 'default';
        update only api_key set revoked_at = null, expires_at = null, last_used_at = null;
        update only tenant set disabled_at = null where disabled_at is not null;
        perform setval(format('%I.%I', schemaname, sequencename), 1, false) from pg_sequences;
    end $$
"""
"""Deletes all rows but those of Alembic and the key that every test may use.

To truncate the tables would take five times as long.
"""
MAX_BYTES = 4_000_000
"""Deleted rows take space until they are vacuumed, so a database that has held many is slower than a new one."""
END_OTHERS = """
    select pg_terminate_backend(pid, 60000) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
"""
TABLES = """
    select relname, pg_class.oid, relnatts, relhastriggers, relchecks,
        (select array_agg(indexrelid order by indexrelid) from pg_index where indrelid = pg_class.oid)
    from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace order by relname
"""
SIZE = "select sum(pg_table_size(relid)) from pg_stat_user_tables"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A Postgres without fsync; tests may kill and start it, but nobody may count on its port across tests."""
    folder = tmp_path_factory.mktemp("postgres")
    with removed_afterwards(folder), EmbeddedPostgres(folder, fsync=False) as server:
        yield server
        ignore_interrupts()
        server.start()  # a killed one leaves shared memory behind, which only its next start clears


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A Valkey; tests may kill and start it."""
    folder = tmp_path_factory.mktemp("redis")
    with removed_afterwards(folder), EmbeddedRedis(folder) as server:
        yield server
        ignore_interrupts()


@pytest.fixture(scope="session")
def migrated_template(postgres: EmbeddedPostgres) -> str:
    """The name of a database that has every migration and no rows: what `database_url` clones."""
    from alembic import command  # noqa: PLC0415 - here, since it would add half a second to every test run
    from alembic.config import Config  # noqa: PLC0415

    postgres.start()
    name = create_database(postgres)
    config = Config(str(ROOT / "alembic.ini"))
    config.attributes["url"] = url_of(postgres, name)
    command.upgrade(config, "head")
    add_test_key(url_of(postgres, name))
    return name


@pytest.fixture(scope="session")
def spare_databases() -> list[str]:
    """Names of migrated databases without rows that no test uses."""
    return []


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, migrated_template: str, spare_databases: list[str]) -> Iterator[str]:
    """`postgresql://...` of a migrated database without rows; emptied afterwards, whoever is still connected.

    To empty one takes a tenth of the time that a new one takes. A test may change its tables: then it is dropped.
    """
    postgres.start()
    name = spare_databases.pop() if spare_databases else create_database(postgres, template=migrated_template)
    try:
        yield url_of(postgres, name)
    finally:
        postgres.start()
        if empty_database(postgres, name, template=migrated_template):
            spare_databases.append(name)
        else:
            drop_database(postgres, name)


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """`redis://...` of an empty server to which nobody is connected."""
    url = redis_server.start()
    with redis.Redis.from_url(url) as client:
        client.client_kill_filter(_type="normal", skipme=True)  # connections that a test before has left open
        client.flushall()
    return url


@pytest.fixture(autouse=True)
def servers_running(request: pytest.FixtureRequest) -> None:
    """Whichever test ran before and killed them: the servers that a test names run when it begins."""
    for name in {"postgres", "redis_server"}.intersection(request.fixturenames):
        request.getfixturevalue(name).start()


@pytest.fixture
def server_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for servers of the test's own, which it must have ended; removed afterwards."""
    with removed_afterwards(tmp_path):
        yield tmp_path


def ignore_interrupts() -> None:
    """From now on: five seconds after Ctrl-C pytest-xdist interrupts its workers once more, in the middle of this."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def removed_afterwards(folder: Path) -> Iterator[None]:
    """The folder is gone at the end: pytest would keep the last three, of forty megabytes each."""
    try:
        yield
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def every_connection(url: str) -> Iterator[None]:
    """The user of this URL holds all connections that it can get."""
    with contextlib.ExitStack() as taken:
        try:
            while True:
                taken.enter_context(psycopg.connect(url))
        except psycopg.OperationalError as error:
            assert "remaining connection slots are reserved" in str(error)  # noqa: PT017 - ends the loop
        yield


@contextlib.contextmanager
def cloned_database(server: EmbeddedPostgres, *, template: str) -> Iterator[str]:
    """The URL of a copy of the template, for as long as the block lasts. Starts a server that a test has killed."""
    server.start()
    name = create_database(server, template=template)
    try:
        yield url_of(server, name)
    finally:
        server.start()
        drop_database(server, name)


def empty_database(server: EmbeddedPostgres, name: str, *, template: str) -> bool:
    """Delete all rows, and end whoever is connected; whether it is then as good as a new copy of the template."""
    migrated = list_tables(url_of(server, template))
    with psycopg.connect(url_of(server, name)) as session:
        session.execute(END_OTHERS)
        if session.execute(TABLES).fetchall() != migrated:
            return False
        session.execute(EMPTY)
        return (session.execute(SIZE).fetchone() or (0,))[0] < MAX_BYTES


@cache
def list_tables(url: str) -> list[tuple[object, ...]]:
    """The tables and indexes of a database that nobody changes."""
    with psycopg.connect(url) as session:
        return session.execute(TABLES).fetchall()


def drop_database(server: EmbeddedPostgres, name: str) -> None:
    run(server, sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def create_database(server: EmbeddedPostgres, *, template: str = "template1") -> str:
    """A new database's name; `wal_log` copies a small template three times as fast as `file_copy`."""
    name = f"test_{uuid.uuid4().hex}"
    clone = sql.SQL("create database {} template {} strategy wal_log")
    run(server, clone.format(sql.Identifier(name), sql.Identifier(template)))
    return name


def run(server: EmbeddedPostgres, statement: sql.Composed) -> None:
    """Runs what cannot run inside a transaction."""
    for _ in range(5):  # a template may have a connection that is just about to end; Postgres waits 5 s for it
        with psycopg.connect(server.url, autocommit=True) as session, contextlib.suppress(psycopg.errors.ObjectInUse):
            session.execute(statement)
            return
    raise AssertionError(f"somebody uses what this needs for itself: {statement.as_string()}")


def url_of(server: EmbeddedPostgres, database: str) -> str:
    """The server's URL with another database in it."""
    return urlsplit(server.url)._replace(path=f"/{database}").geturl()
