"""A real PgBouncer in transaction mode, set up as docs/operations.md says."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from sandbox.servers.ports import free_port
from tests.support.simulator_client import wait_until


@contextlib.contextmanager
def serve_pgbouncer(folder: Path, database_url: str, **changes: object) -> Iterator[str]:
    """The URL of the same database behind a transaction pooler. Skips the test if there is none on this machine."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed: apt-get install pgbouncer")
    parts, port = urlsplit(database_url), free_port()
    folder.mkdir()
    (folder / "users").write_text(f'"{parts.username}" "{parts.password}"\n')
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": folder / "users",
        "pool_mode": "transaction",
        "default_pool_size": 3,
        "server_tls_sslmode": "disable",
    }
    lines = [f"{name} = {value}" for name, value in (settings | changes).items()]
    databases = f"[databases]\n* = host=127.0.0.1 port={parts.port}\n"
    (folder / "pgbouncer.ini").write_text(databases + "[pgbouncer]\n" + "\n".join(lines) + "\n")
    command = [program, str(folder / "pgbouncer.ini")]
    if os.geteuid() == 0:  # it refuses to run as root
        shutil.chown(folder, "nobody")
        for path in (folder, *folder.parents[:3]):
            path.chmod(path.stat().st_mode | 0o055)
        command[1:1] = ["-u", "nobody"]
    url = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _answers(url), "pgbouncer answers", seconds=30)
            yield url
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
