"""Connections to Postgres: one engine per process, its sessions, and the wake-up call to the dispatcher."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Connection, Dialect, Engine, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from models.db.errors import DatabaseAway, describe_failure, discard_unusable, is_connection_failure, is_full

WAKE_CHANNEL = "rushes_dispatch"

Sessions = sessionmaker[Session] | Session
"""A source of sessions. A session stands for itself: whoever uses it joins the transaction that it is in."""

IDLE_SECONDS = 60.0
RESERVED = "reserved"

_DRIVER = "postgresql+psycopg"
_AUTOCOMMIT = {"isolation_level": "AUTOCOMMIT"}
LOCK_TIMEOUT = "10s"
_SERVER_SIDE_LIMITS = (
    f"-c statement_timeout=30s -c lock_timeout={LOCK_TIMEOUT} -c idle_in_transaction_session_timeout=30s"
)


def driver_url(url: str) -> str:
    """The URL of the same database for SQLAlchemy with psycopg 3."""
    return make_url(url).set(drivername=_DRIVER).render_as_string(hide_password=False)


def plain_url(url: str) -> str:
    """The URL of the same database for psycopg itself."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def open_engine(url: str, *, pool_size: int = 5, pooler: bool = False, application: str = "rushes") -> Engine:
    """An engine that bounds every wait, and opens at most `pool_size` connections.

    It closes connections that are idle, and those on which nothing can succeed any more.

    `pooler` says that a transaction pooler is in front of Postgres. It supports neither session options nor prepared
    statements.
    """
    connect_args: dict[str, object] = {
        "connect_timeout": 5,
        "application_name": application,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
    }
    connect_args |= {"prepare_threshold": None} if pooler else {"options": _SERVER_SIDE_LIMITS}
    engine = create_engine(
        driver_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        hide_parameters=True,
        pool_use_lifo=True,
        connect_args=connect_args,
    )
    event.listen(engine, "handle_error", discard_unusable)
    _close_idle(engine)
    return engine


def _close_idle(engine: Engine) -> None:
    """Once a minute, when a connection is handed back, close the others that were not used for that long."""
    checked_at = time.monotonic()

    def note_use(_: object, record: ConnectionPoolEntry) -> None:
        nonlocal checked_at
        now = record.info["used_at"] = time.monotonic()
        if now - checked_at < IDLE_SECONDS:
            return
        checked_at = now
        for connection in [engine.raw_connection() for _ in range(engine.pool.checkedin())]:  # type: ignore[attr-defined]
            if now - connection.info.get("used_at", now) >= IDLE_SECONDS:
                connection.invalidate()
            connection.close()

    event.listen(engine, "checkin", note_use)


def use_reserve(engine: Engine, url: str, *, user: str) -> None:
    """Let the engine connect to `url` as this user if the server refuses an ordinary connection because it is full."""
    _, ordinary = engine.dialect.create_connect_args(engine.url)
    _, reserved = engine.dialect.create_connect_args(make_url(driver_url(url)).set(username=user))

    def connect(
        dialect: Dialect, record: ConnectionPoolEntry, args: tuple[object, ...], parameters: dict[str, Any]
    ) -> DBAPIConnection:
        try:
            return dialect.connect(*args, **parameters)
        except psycopg.OperationalError as error:
            if not is_full(error):
                raise
            record.info[RESERVED] = True
            limits = {name: value for name, value in parameters.items() if name not in ordinary}
            return dialect.connect(**{**reserved, **limits})

    event.listen(engine, "do_connect", connect)


def is_on_reserve(engine: Engine) -> bool:
    """Whether this engine's connection is the reserved one."""
    with engine.connect() as connection:
        return RESERVED in connection.info


def open_sessions(engine: Engine) -> Sessions:
    """Sessions that keep loaded rows after the commit: rows are read once and passed on."""
    return sessionmaker(engine, expire_on_commit=False)


def take_migration_lock(connection: Connection) -> None:
    """Wait until nobody else migrates this database. The lock ends with the connection.

    So the connection must go to Postgres directly, not through a pooler.
    """
    connection.execute(text("SELECT pg_advisory_lock(hashtext('rushes.migrations'))"))
    connection.commit()


@contextmanager
def transaction(sessions: Sessions) -> Iterator[Session]:
    """One transaction, committed at the end. Raises `DatabaseAway` if Postgres cannot be reached.

    A given session stays in its transaction, which whoever began it commits.
    """
    if isinstance(sessions, Session):
        yield sessions
        return
    try:
        with sessions.begin() as session:
            yield session
    except SQLAlchemyError as error:
        if is_connection_failure(error):
            raise DatabaseAway(describe_failure(error)) from error
        raise


@contextmanager
def one_statement(sessions: Sessions) -> Iterator[Session]:
    """For one statement, which commits itself: one round trip instead of three. Raises as `transaction` does.

    The statement is committed when it returns. A later error in the block does not undo it. The same holds for each of
    several statements that need not see the same moment. A given session stays in its transaction.
    """
    if isinstance(sessions, Session):
        yield sessions
        return
    try:
        with sessions() as session:
            session.connection(execution_options=_AUTOCOMMIT)
            yield session
    except SQLAlchemyError as error:
        if is_connection_failure(error):
            raise DatabaseAway(describe_failure(error)) from error
        raise


class Waker:
    """Notifies the dispatcher that rows have changed, outside the transaction that changed them.

    Calls are coalesced to one NOTIFY per `pause_seconds`, because a notifying commit takes a lock that all other
    notifying commits share. A lost wake-up costs at most the dispatcher's longest sleep.
    """

    def __init__(self, engine: Engine, *, pause_seconds: float = 0.02) -> None:
        self._engine = engine
        self._pause_seconds = pause_seconds
        self._asked = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def wake(self) -> None:
        """Ask for a wake-up and return at once."""
        self._asked.set()
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="rushes-waker", daemon=True)
                    self._thread.start()

    def close(self) -> None:
        """Stop the thread. A wake-up requested at the same instant may be lost."""
        self._closed.set()
        self._asked.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while self._asked.wait() and not self._closed.is_set():
            self._asked.clear()
            self._notify()
            self._closed.wait(self._pause_seconds)

    def _notify(self) -> None:
        try:
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text(f"NOTIFY {WAKE_CHANNEL}"))
        except SQLAlchemyError:
            # The dispatcher also checks once a second, so a failed wake-up is not an error.
            self._closed.wait(1)
