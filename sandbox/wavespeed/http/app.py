"""The ASGI application: all routes of the provider, its content delivery network, and the control API."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from sandbox.wavespeed.handlers import account, control, outputs, predictions
from sandbox.wavespeed.handlers.submitting import submit
from sandbox.wavespeed.http.answers import Refusal
from sandbox.wavespeed.http.gate import Gate, GatedService, Handler
from sandbox.wavespeed.settings import SimulatorSettings
from sandbox.wavespeed.state.provider import Provider
from sandbox.wavespeed.webhooks import Outbox

LONGEST_NAP_SECONDS = 0.05

API = "/api/v3"
KEYED: tuple[tuple[str, str, str, Handler], ...] = (
    ("GET", f"{API}/predictions/{{task_id}}/result", "result", predictions.show_result),
    ("POST", f"{API}/predictions", "list", predictions.list_predictions),
    ("GET", f"{API}/predictions/{{task_id}}", "result", predictions.show_result),
    ("GET", f"{API}/balance", "balance", account.show_balance),
    ("GET", f"{API}/webhook/secret", "secret", account.show_webhook_secret),
    # last: as at the provider, any other POST below /api/v3 is taken as a model id
    ("POST", f"{API}/{{model_id:path}}", "submit", submit),
)
CONTROL: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/sim/stats", control.show_stats),
    ("GET", "/sim/ledger", control.show_ledger),
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
    outbox = Outbox(settings, provider)
    provider.on_end = outbox.announce
    service = GatedService(provider, outbox)

    @asynccontextmanager
    async def lifespan(_app: ASGIApp) -> AsyncIterator[None]:
        ticking = asyncio.create_task(_tick(provider))
        try:
            yield
        finally:
            ticking.cancel()
            outbox.close()
            provider.close()

    return Router(_routes(service), redirect_slashes=False, lifespan=lifespan)


async def _tick(provider: Provider) -> None:
    """One timer for all tasks: callbacks must be sent even if no request arrives."""
    while True:
        await asyncio.sleep(min(LONGEST_NAP_SECONDS, provider.advance() or LONGEST_NAP_SECONDS))


def _routes(service: GatedService) -> list[Route]:
    keyed = [
        Route(path, Gate(handler, service=service, kind=kind), methods=[method])
        for method, path, kind, handler in KEYED
    ]
    video = Gate(outputs.download_output, service=service, kind="download", keyed=False)
    panels = [Route(path, control.Panel(handler, service), methods=[method]) for method, path, handler in CONTROL]
    anything_else = Route("/{path:path}", Gate(_refuse_unknown, service=service, kind="unknown", keyed=False))
    return [*keyed, Route("/output/{task_id}.mp4", video, methods=["GET"]), *panels, anything_else]


async def _refuse_unknown(service: GatedService, request: Request) -> ASGIApp:
    raise Refusal(404, "not found")
