"""The dispatcher's alarm clock. It sleeps until a time, a wake-up from Postgres, or a call from this process."""

import threading
import time

import psycopg
import structlog

from models.db.session import WAKE_CHANNEL, plain_url

log = structlog.get_logger(__name__)

LONGEST_WAIT_SECONDS = 0.25
"""The longest sleep if LISTEN does not work, for example behind a transaction pooler."""

RETRY_SECONDS = 5.0
UNHEARD_SECONDS = 300.0
"""The pause between tries behind a pooler. A pooler is rarely removed, and each try costs two seconds."""
STEP_SECONDS = 0.5


class Unheard(Exception):
    """The connection listens, but a test notification did not arrive."""


class Alarm:
    """For one thread only, except for `ring`. Without a URL, nothing but `ring` wakes the sleeper."""

    def __init__(self, url: str | None) -> None:
        self._url = plain_url(url) if url is not None else None
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        self._rung = threading.Event()
        self._retry_at = 0.0
        self._warned = False

    def wait(self, seconds: float) -> bool:
        """Return after `seconds`, or earlier if woken; never later. Returns whether it may have been woken."""
        connection = self._get_connection()
        if connection is None:
            self._rung.wait(min(seconds, LONGEST_WAIT_SECONDS) if self._url is not None else seconds)
            self._rung.clear()
            return True
        deadline = time.monotonic() + seconds
        try:
            # Wait in short steps, because `ring` cannot interrupt the wait on the socket.
            while not self._rung.is_set():
                left = deadline - time.monotonic()
                for _ in connection.notifies(timeout=max(0.0, min(left, STEP_SECONDS)), stop_after=1):
                    return True
                if left <= STEP_SECONDS:
                    return False
        except psycopg.Error:
            self.close()
        finally:
            self._rung.clear()
        return True

    def ring(self) -> None:
        """Wake the sleeper, from any thread."""
        self._rung.set()

    def close(self) -> None:
        """Close the connection. The next wait opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _get_connection(self) -> "psycopg.Connection[tuple[object, ...]] | None":
        if self._url is not None and self._connection is None and time.monotonic() >= self._retry_at:
            try:
                self._connection = _listen(self._url)
            except Unheard:
                self._retry_at = time.monotonic() + UNHEARD_SECONDS
            except psycopg.Error:
                self._retry_at = time.monotonic() + RETRY_SECONDS
            if self._connection is None and not self._warned:
                log.warning("dispatcher.without_listen", reads_every_seconds=LONGEST_WAIT_SECONDS)
                self._warned = True
        return self._connection


def _listen(url: str) -> "psycopg.Connection[tuple[object, ...]]":
    """A listening connection, tested with a notification: a transaction pooler accepts LISTEN but never delivers."""
    connection = psycopg.connect(url, autocommit=True, connect_timeout=5, application_name="rushes-listen")
    connection.execute(f"LISTEN {WAKE_CHANNEL}")
    with psycopg.connect(url, autocommit=True, connect_timeout=5, application_name="rushes-listen") as other:
        other.execute(f"NOTIFY {WAKE_CHANNEL}")
    for _ in connection.notifies(timeout=2, stop_after=1):
        return connection
    connection.close()
    raise Unheard
