"""Databases as they are in real deployments: they fail over, have few connections, or a pooler in front of them."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from cli.commands.audit_report import find_everything
from cli.doctor.checks import check_everything
from models import transitions
from models.db import session as db_session
from models.db.errors import DatabaseAway
from models.db.session import Sessions, one_statement, open_engine, open_sessions, transaction
from models.queries.health import EXPECTED_MIGRATION
from rushes.monitoring.audit import audit_rows
from rushes.readiness import check_readiness
from rushes.runtime import ACCOUNT, Runtime
from rushes.settings import Settings
from sandbox.servers import EmbeddedPostgres
from sandbox.servers import postgres as embedded_postgres
from stack.migrations import ALEMBIC_INI, migrate
from tests.support.locks import wait_for_a_blocked_statement
from tests.support.pgbouncer import serve_pgbouncer
from tests.support.servers import create_database, drop_database, every_connection, url_of
from workers.supervision import healthcheck


def write(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        transitions.accounts.ensure_account(session, ACCOUNT, slots=2, submits_per_minute=2)


def set_read_only(url: str, value: str) -> None:
    """Make new connections to this database read-only or writable, as after a failover."""
    name = url.rsplit("/", 1)[1]
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("SET default_transaction_read_only = off")
        session.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {value}')


def test_writes_resume_after_a_failover_and_readiness_noticed_it(database_url: str) -> None:
    set_read_only(database_url, "on")
    engine = open_engine(database_url, pool_size=3)
    sessions = open_sessions(engine)
    with sessions() as one, sessions() as two:  # two pooled connections from before the failover
        one.execute(text("SELECT 1"))
        two.execute(text("SELECT 1"))
    seen = check_readiness(sessions)
    assert (seen.ready, seen.problem) == (False, "the database cannot be used: it is read-only")
    with pytest.raises(DatabaseAway, match="it is read-only"):
        write(sessions)
    with sessions() as one, sessions() as two:
        one.execute(text("SELECT 1"))
        two.execute(text("SELECT 1"))
    set_read_only(database_url, "off")
    with pytest.raises(DatabaseAway):
        write(sessions)  # by a pooled connection, the last one
    write(sessions)
    assert check_readiness(sessions).ready
    engine.dispose()


def test_a_refused_statement_leaves_its_connection_in_the_pool(sessions: Sessions) -> None:
    def find_pid() -> int:
        with one_statement(sessions) as session:
            return int(session.execute(text("SELECT pg_backend_pid()")).scalar_one())

    before = find_pid()
    with pytest.raises(ProgrammingError), transaction(sessions) as session:
        session.execute(text("SELECT nonsense"))
    assert find_pid() == before


def test_a_prepared_statement_that_a_pooler_lost_ends_the_connection(sessions: Sessions) -> None:
    with pytest.raises(DatabaseAway), one_statement(sessions) as session:
        session.execute(text("EXECUTE lost_by_the_pooler"))


def test_idle_connections_are_closed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(db_session.time, "monotonic", lambda: now)
    engine = open_engine(database_url, pool_size=4, application="rushes-burst")
    sessions = open_sessions(engine)
    burst = [sessions() for _ in range(4)]
    for each in burst:
        each.execute(text("SELECT 1"))
    for each in burst:
        each.close()

    def count_open() -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rushes-burst'"
        with psycopg.connect(database_url, autocommit=True) as session:
            return int((session.execute(query).fetchone() or (0,))[0])

    assert count_open() == 4
    for _ in range(3):
        now += 61
        write(sessions)
    deadline = time.time() + 30
    while count_open() > 2 and time.time() < deadline:
        pass  # a server process ends a moment after its connection
    assert count_open() <= 2
    write(sessions)
    engine.dispose()


@pytest.fixture
def small_postgres(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedPostgres]:
    monkeypatch.setitem(embedded_postgres.SETTINGS, "max_connections", "20")
    with EmbeddedPostgres(server_folder / "small", fsync=False) as server:
        yield server


def test_a_database_without_free_connections_is_named_as_such(small_postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(small_postgres.url, autocommit=True) as owner:
        owner.execute("CREATE ROLE guest LOGIN PASSWORD 'a'")
        port = small_postgres.port
        url = f"postgresql://guest:a@127.0.0.1:{port}/rushes"
        taken = [psycopg.connect(url) for _ in range(16)]
        engine = open_engine(url, pool_size=1)
        problem = check_readiness(open_sessions(engine)).problem or ""
        for each in taken:
            each.close()
    assert "remaining connection slots are reserved" in problem
    assert problem.endswith("; raise max_connections, or lower RUSHES_DATABASE_CONNECTIONS")


@pytest.fixture
def full(small_postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of the application's user, which holds all connections that it can get, in a migrated database."""
    url = small_postgres.application_url
    migrate(url)
    monkeypatch.setenv("RUSHES_DATABASE_URL", url)
    monkeypatch.setenv("RUSHES_DATA_DIR", str(tmp_path))
    with every_connection(url):
        yield url


@pytest.mark.usefixtures("full")
def test_checks_use_the_operator_s_connection_when_no_other_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatabaseAway):
        healthcheck.main()
    with pytest.raises(DatabaseAway):
        find_everything(files=False)
    assert {check.name: check for check in check_everything()}.keys() & {"database", "migrations"} == {"database"}
    monkeypatch.setenv("RUSHES_DATABASE_OPERATOR", "rushes")
    assert healthcheck.main() == 1  # it has read that no worker lives
    assert not any(finding.is_broken for finding in find_everything(files=True))
    checks = {check.name: check for check in check_everything()}
    assert checks["database"].message.endswith("no free connection for the API and the workers; a reserved one answers")
    assert checks["migrations"].status == "ok"


def test_a_wrong_password_does_not_lead_to_the_operator_s_connection(
    small_postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUSHES_DATABASE_URL", small_postgres.application_url.replace("rushes_app", "nobody"))
    monkeypatch.setenv("RUSHES_DATABASE_OPERATOR", "rushes")
    with pytest.raises(DatabaseAway, match='failed for user "nobody"'):
        healthcheck.main()


def test_the_operator_connects_to_postgres_past_a_full_pooler(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_pgbouncer(tmp_path / "bouncer", database_url, max_client_conn=1) as url, psycopg.connect(url):
        monkeypatch.setenv("RUSHES_DATABASE_URL", url)
        monkeypatch.setenv("RUSHES_DATABASE_DIRECT_URL", f"{database_url}?connect_timeout=9")
        with pytest.raises(DatabaseAway, match="no more connections allowed"):
            healthcheck.main()
        monkeypatch.setenv("RUSHES_DATABASE_OPERATOR", "rushes")
        assert healthcheck.main() == 1


def test_the_application_migrates_tables_that_the_superuser_has_made(small_postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(small_postgres.url) as session:
        session.execute("DROP ROLE rushes_app")
    config = Config(str(ALEMBIC_INI))
    config.attributes["url"] = small_postgres.url
    command.upgrade(config, "0001")
    small_postgres.stop()
    small_postgres.start()
    migrate(small_postgres.application_url)
    with psycopg.connect(small_postgres.application_url) as session:
        assert session.execute("SELECT version_num FROM alembic_version").fetchone() == (EXPECTED_MIGRATION,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("SET ROLE rushes")


def test_two_migrations_at_once_wait_for_each_other(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    name = create_database(postgres)
    url = url_of(postgres, name)
    engine = open_engine(url, pool_size=1)
    try:
        with psycopg.connect(url, autocommit=True) as first, ThreadPoolExecutor(1) as pool:
            first.execute("SELECT pg_advisory_lock(hashtext('rushes.migrations'))")
            second = pool.submit(migrate, url)
            wait_for_a_blocked_statement(open_sessions(engine))
            assert first.execute("SELECT to_regclass('job')").fetchone() == (None,)
            first.execute("SELECT pg_advisory_unlock_all()")
            second.result(60)
            assert first.execute("SELECT version_num FROM alembic_version").fetchone() == (EXPECTED_MIGRATION,)
    finally:
        engine.dispose()
        drop_database(postgres, name)


def test_everything_works_behind_a_transaction_pooler(
    database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_pgbouncer(tmp_path / "bouncer", database_url) as pooled_url:
        values = {"DATABASE_URL": pooled_url, "DATABASE_DIRECT_URL": database_url, "REDIS_URL": redis_url}
        for setting, value in (values | {"DATA_DIR": str(tmp_path)}).items():
            monkeypatch.setenv(f"RUSHES_{setting}", value)
        runtime = Runtime.open(Settings(), threads=2, application="test")
        with transaction(runtime.sessions) as session:
            name = f"main1@{socket.gethostname()}"
            transitions.leadership.see_worker(session, name, queues=["submit"], threads=1)
        for _ in range(8):  # psycopg would prepare the statement at its sixth run
            write(runtime.sessions)
            assert check_readiness(runtime.sessions).ready
        assert healthcheck.main() == 0
        checks = {check.name: check for check in check_everything()}
        assert checks["database"].status == checks["migrations"].status == "ok"
        assert checks["workers"].status == "ok"
        with transaction(runtime.sessions) as session:
            assert not any(finding.is_broken for finding in audit_rows(session))
        migrate(Settings().get_listen_url())
        runtime.close()
