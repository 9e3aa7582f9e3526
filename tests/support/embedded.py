"""What the tests of the embedded servers share: both kinds, facts to store in them, and launchers to kill."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis

from sandbox.servers import EmbeddedPostgres, EmbeddedRedis
from sandbox.servers.embedded import EmbeddedServer
from sandbox.servers.process import ask_as_owner, wait_until
from tests.support.servers import ROOT, cloned_database

Kind = Callable[..., EmbeddedServer]
BOTH: list[Kind] = [partial(EmbeddedPostgres, fsync=False), EmbeddedRedis]
both = pytest.mark.parametrize("kind", BOTH, ids=["postgres", "redis"])
both_running = pytest.mark.parametrize("fixture", ["postgres", "redis_server"])
DEADLINE_SECONDS = 90.0

LAUNCHER = """
import sys
from pathlib import Path
from sandbox.servers import EmbeddedPostgres, EmbeddedRedis
folder = Path(sys.argv[1])
postgres, redis = EmbeddedPostgres(folder / "postgres", fsync=False), EmbeddedRedis(folder / "redis")
print(postgres.start(), redis.start(), postgres.pid, redis.pid, flush=True)
sys.stdin.read()
"""


def remember(url: str, fact: str) -> None:
    """Stores one more fact; returns when it is safe. Redis acknowledges a command before it is in its log."""
    if url.startswith("redis"):
        with redis.Redis.from_url(url) as client:
            client.rpush("facts", fact)
            assert client.waitaof(num_local=1, num_replicas=0, timeout=30_000)[0] == 1  # type: ignore[index]
        return
    with psycopg.connect(url) as session:
        session.execute("create table if not exists fact (id serial, fact text)")
        session.execute("insert into fact (fact) values (%s)", [fact])


def recall(url: str) -> list[str]:
    """All facts, in the order in which they were stored."""
    if url.startswith("redis"):
        with redis.Redis.from_url(url, decode_responses=True) as client:
            return [str(fact) for fact in client.lrange("facts", 0, -1)]
    with psycopg.connect(url) as session:
        return [row[0] for row in session.execute("select fact from fact order by id")]


@contextlib.contextmanager
def without_facts(server: EmbeddedServer) -> Iterator[str]:
    """A URL of the running server under which nothing is stored yet."""
    if isinstance(server, EmbeddedPostgres):
        with cloned_database(server, template="template1") as url:
            yield url
        return
    url = server.start()
    with redis.Redis.from_url(url) as client:
        client.flushall()
    yield url


def get_running(request: pytest.FixtureRequest, fixture: str) -> EmbeddedServer:
    """The server of this test run; a test may kill it, for whoever uses it next starts it again."""
    server = request.getfixturevalue(fixture)
    assert isinstance(server, EmbeddedServer)
    server.start()
    return server


def is_gone(pid: int) -> bool:
    """Whether the process is dead; a zombie that init has not reaped yet is."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextlib.contextmanager
def launched(*command: str | Path) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A launcher in another process and what it prints when both servers answer: two URLs, two process ids."""
    launcher = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    words: list[str] = []
    with launcher:
        try:
            words = launcher.stdout.readline().split()  # type: ignore[union-attr]
            assert words, launcher.stderr.read()  # type: ignore[union-attr]
            yield launcher, words
        finally:
            launcher.kill()
    assert wait_until(lambda: all(is_gone(int(pid)) for pid in words[2:]), seconds=DEADLINE_SECONDS)


def as_we_are(folder: Path) -> list[str | Path]:
    """The command of a launcher that runs as whoever runs the tests."""
    return [sys.executable, "-c", LAUNCHER, folder]


def inspect(server: EmbeddedServer, question: str) -> Any:
    """What psutil says of the server, such as `environ()`, asked as the server's user."""
    code = f"import json, psutil; print(json.dumps(psutil.Process({server.pid}).{question}))"
    return json.loads(ask_as_owner(server.folder / "data", [sys.executable, "-c", code]))
