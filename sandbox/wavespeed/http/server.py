"""The server: all routes of the provider, its content delivery network and the control API, on a socket."""

import asyncio
import json
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import FrameType

import uvicorn
from starlette.requests import Request
from starlette.routing import Route, Router
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox.wavespeed.handlers import control, reading, uploading
from sandbox.wavespeed.handlers.submitting import submit
from sandbox.wavespeed.http.answers import TRANSPORT, Refusal
from sandbox.wavespeed.http.gate import Gate, Handler
from sandbox.wavespeed.settings import SimulatorSettings
from sandbox.wavespeed.state.provider import Provider

LONGEST_NAP_SECONDS = 0.05
GRACE_SECONDS = 1
KEEP_ALIVE_SECONDS = 75

API = "/api/v3"
KEYED: tuple[tuple[str, str, str, Handler], ...] = (
    ("GET", f"{API}/predictions/{{task_id}}/result", "result", reading.show_result),
    ("POST", f"{API}/predictions", "list", reading.list_predictions),
    ("GET", f"{API}/predictions/{{task_id}}", "result", reading.show_result),
    ("GET", f"{API}/balance", "balance", reading.show_balance),
    ("GET", f"{API}/webhook/secret", "secret", reading.show_webhook_secret),
    ("POST", f"{API}/media/upload/binary", "upload", uploading.upload_form),
    ("POST", f"{API}/media/uploads", "upload", uploading.give_ticket),
    # last: as at the provider, any other POST below /api/v3 is taken as a model id
    ("POST", f"{API}/{{model_id:path}}", "submit", submit),
)
CONTROL: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/sim/stats", control.show_stats),
    ("GET", "/sim/tasks", control.show_tasks),
    ("GET", "/sim/times", control.show_times),
    ("GET", "/sim/faults", control.show_faults),
    ("PUT", "/sim/faults", control.put_faults),
    ("DELETE", "/sim/faults", control.delete_faults),
    ("DELETE", "/sim/faults/{name}", control.delete_faults),
)


def create_app(settings: SimulatorSettings, clock: Callable[[], float] = time.time) -> ASGIApp:
    """The simulator."""
    provider = Provider(settings, clock)

    @asynccontextmanager
    async def lifespan(_app: ASGIApp) -> AsyncIterator[None]:
        ticking = asyncio.create_task(_tick(provider))
        try:
            yield
        finally:
            ticking.cancel()
            provider.close()

    return Router(_routes(provider), redirect_slashes=False, lifespan=lifespan)


async def _tick(provider: Provider) -> None:
    """One timer for all tasks: callbacks must be sent even if no request arrives."""
    while True:
        await asyncio.sleep(min(LONGEST_NAP_SECONDS, provider.advance() or LONGEST_NAP_SECONDS))


def _routes(provider: Provider) -> list[Route]:
    keyed = [
        Route(path, Gate(handler, provider=provider, kind=kind), methods=[method])
        for method, path, kind, handler in KEYED
    ]
    video = Gate(_download_output, provider=provider, kind="download", keyed=False)
    panels = [Route(path, control.Panel(handler, provider), methods=[method]) for method, path, handler in CONTROL]
    anything_else = Route("/{path:path}", Gate(_refuse_unknown, provider=provider, kind="unknown", keyed=False))
    put, shown = (
        Gate(handler, provider=provider, kind=kind, keyed=False)
        for handler, kind in ((uploading.take_file, "put"), (uploading.show_file, "media"))
    )
    media = [
        Route("/media/{file_id}", put, methods=["PUT"]),
        Route("/media/{file_id}/{name}", shown, methods=["GET"]),
    ]
    return [*keyed, *media, Route("/output/{task_id}.mp4", video, methods=["GET"]), *panels, anything_else]


async def _download_output(provider: Provider, request: Request) -> ASGIApp:
    # PyAV and Pillow take a third of the start, and most simulators of tests send no video.
    from sandbox.wavespeed.handlers import outputs  # noqa: PLC0415

    return await outputs.download_output(provider, request)


async def _refuse_unknown(provider: Provider, request: Request) -> ASGIApp:
    raise Refusal(404, "not found")


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
