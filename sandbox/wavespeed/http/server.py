"""Serve the application on a socket, and let it break connections."""

import asyncio
import json
import signal
import socket
import sys
from types import FrameType

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox.wavespeed.http.answers import TRANSPORT
from sandbox.wavespeed.http.app import create_app
from sandbox.wavespeed.settings import SimulatorSettings

GRACE_SECONDS = 1
KEEP_ALIVE_SECONDS = 75


class BreakableProtocol(HttpToolsProtocol):
    """Stores the connection in the scope: ASGI has no way to drop a connection without an answer."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        transport: asyncio.Transport = self.transport
        self.scope["extensions"] = {TRANSPORT: transport}  # type: ignore[dict-item]


class AnnouncingServer(uvicorn.Server):
    """Prints one line of JSON with its URL as soon as it answers; resets all connections when it stops."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.write(json.dumps({"url": self._url}) + "\n")
        sys.stdout.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            if isinstance(connection, BreakableProtocol):
                connection.transport.abort()
        await super().shutdown(sockets)


def serve(settings: SimulatorSettings) -> None:
    """Serve until SIGTERM or SIGINT, then exit with status 0. Raises `OSError` if the address cannot be bound."""
    listening = socket.create_server((settings.host, settings.port), backlog=2048)
    port = listening.getsockname()[1]
    config = uvicorn.Config(
        create_app(settings),
        http=BreakableProtocol,
        ws="none",
        lifespan="on",
        log_level=settings.log_level,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    # the server raises the signal again after its shutdown: exit then, with status 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    AnnouncingServer(config, f"http://{settings.host}:{port}").run(sockets=[listening])


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)
