"""The Postgres and Redis of a run and the faults for them: all faults for our own servers, few for shared ones."""

import contextlib
import shutil
import signal
from collections.abc import Callable, Mapping

import redis

from chaos.faults import BACKUP, CONNECTION_FAULTS, FLUSH_FAULTS, RESTORE, SERVER_FAULTS
from chaos.victim import send_signal
from models.db.databases import end_connections
from models.db.errors import DatabaseAway
from rushes.errors import RushesError
from rushes.monitoring.broker import open_redis
from sandbox.servers import EmbeddedPostgres, EmbeddedRedis
from sandbox.servers.embedded import EmbeddedServer

REDIS_SECONDS = 2.0
DATA, COPY = "data", "copy"
"""The folder with an embedded server's data, and the folder with a run's copy of it."""

Undo = Callable[[], None]


class EmbeddedServers:
    """The run's own servers: they are killed, restarted, frozen and emptied. If no Postgres is given, only Redis
    is struck."""

    def __init__(self, redis_server: EmbeddedRedis, postgres: EmbeddedPostgres | None = None) -> None:
        self._servers: dict[str, EmbeddedServer] = {"redis": redis_server}
        if postgres is not None:
            self._servers["postgres"] = postgres

    @property
    def urls(self) -> Mapping[str, str]:
        """Two addresses. `postgres`: of a database that holds no jobs; `redis`: of one that holds no messages."""
        return {name: server.url for name, server in self._servers.items()}

    @property
    def kinds(self) -> frozenset[str]:
        """The faults that `strike` takes."""
        every = {*SERVER_FAULTS, *CONNECTION_FAULTS, *FLUSH_FAULTS, BACKUP, RESTORE}
        return frozenset(kind for kind in every if kind.partition("_")[0] in self._servers)

    def strike(self, kind: str) -> Undo | None:
        """Inject a fault now; returns a function that ends it, if needed. A server that is already down is no error."""
        place, _, deed = kind.partition("_")
        server = self._servers[place]
        match deed:
            case "restart":
                server.stop()
                server.start()
            case "kill":
                server.kill()
                return lambda: _revive(server)
            case "freeze":
                return _freeze(server)
            case "backup":
                _copy(server, DATA, COPY)
            case "restore":
                _copy(server, COPY, DATA)
            case _ if server.running:
                cut(kind, server.url)
        return None


class SharedServers:
    """Servers that others use, too: only connections to the run's own database are cut, and Redis may be flushed."""

    def __init__(self, database_url: str, redis_url: str, *, may_flush: bool) -> None:
        self.urls = {"postgres": database_url, "redis": redis_url}
        self.kinds = frozenset(CONNECTION_FAULTS | (FLUSH_FAULTS if may_flush else {}))

    def strike(self, kind: str) -> Undo | None:
        cut(kind, self.urls[kind.partition("_")[0]])
        return None


Servers = EmbeddedServers | SharedServers
"""Both servers of a run, and the faults that can be injected into them."""


def cut(kind: str, url: str) -> None:
    """End every connection to this database, or empty it. In Redis, a database is one database number."""
    if kind == "postgres_backends":
        with contextlib.suppress(DatabaseAway):
            end_connections(url)
        return
    with contextlib.suppress(redis.RedisError), open_redis(url, seconds=REDIS_SECONDS) as client:
        if kind == "redis_flush":
            client.flushdb()
            return
        for each in list_clients(client):
            if each != client.client_id():
                client.client_kill_filter(_id=str(each))


def list_clients(client: redis.Redis) -> list[int]:
    """The ids of the connections to this client's own database number."""
    number = str(client.get_connection_kwargs().get("db", 0))
    return [int(each["id"]) for each in client.client_list() if each["db"] == number]


def _copy(server: EmbeddedServer, source: str, target: str) -> None:
    """Stop the server cleanly, replace one of its folders with a copy of the other, and start it again."""
    server.stop()
    if (server.folder / target).exists():
        shutil.rmtree(server.folder / target)
    shutil.copytree(server.folder / source, server.folder / target)
    server.start()


def _revive(server: EmbeddedServer) -> None:
    with contextlib.suppress(RushesError):
        server.start()


def _freeze(server: EmbeddedServer) -> Undo | None:
    if not server.running:
        return None
    pid = server.pid
    send_signal(pid, signal.SIGSTOP)
    return lambda: send_signal(pid, signal.SIGCONT)
