"""The commands of compose that handle a password accept any."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
import yaml
from psycopg import sql

from sandbox.servers import postgres
from sandbox.servers.process import find_binary
from sandbox.servers.valkey import BINARY, PACKAGE
from tests.support.simulator_client import wait_until

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "/ @#?[]%:'\"\\ $x\\"


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """The path of a socket must not exceed 107 bytes, 103 on macOS."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def test_the_redis_of_compose_takes_any_password(short_folder: Path) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    shell, flag, command = services["redis"]["command"]
    socket = short_folder / "socket"
    binary = find_binary(PACKAGE, BINARY)
    command = command.replace("$$", "$").replace("valkey-server", str(binary))
    command = command.replace("/data", f"{short_folder} --port 0 --unixsocket {socket}")
    environment = {**os.environ, "REDIS_PASSWORD": PASSWORD}
    with subprocess.Popen([shell, flag, command], env=environment) as server:
        try:
            client = redis.Redis(unix_socket_path=str(socket), password=PASSWORD)
            wait_until(lambda: is_open(client), "an answer of Redis", seconds=30)
        finally:
            server.terminate()
            assert server.wait(timeout=30) == 0


def test_the_database_user_of_compose_is_made_once_and_takes_any_password(server_folder: Path) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    shell, flag, script = services["database-user"]["command"]
    script = script.replace("psql", str(find_binary(postgres.PACKAGE, "pginstall/bin/psql")))
    with postgres.EmbeddedPostgres(server_folder / "compose", fsync=False) as server:
        with psycopg.connect(server.url, autocommit=True) as session:
            session.execute("DROP ROLE rushes_app")
            session.execute(sql.SQL("ALTER ROLE rushes PASSWORD {}").format(sql.Literal(PASSWORD)))
        login = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGPASSWORD": PASSWORD, "PGUSER": "rushes"}
        for _ in range(2):
            subprocess.run([shell, flag, script], env={**os.environ, **login}, check=True)
        urls = services["api"]["environment"]
        url = urls["RUSHES_DATABASE_URL"].replace("postgres:5432", f"127.0.0.1:{server.port}")
        with psycopg.connect(url, password=PASSWORD) as session:
            session.execute("CREATE TABLE film ()")
            assert session.execute("SHOW is_superuser").fetchone() == ("off",)
        with psycopg.connect(url, user=urls["RUSHES_DATABASE_OPERATOR"], password=PASSWORD) as session:
            session.execute("SELECT FROM film")
            assert session.execute("SHOW is_superuser").fetchone() == ("on",)


def is_open(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
