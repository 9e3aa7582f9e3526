"""The HTTP API: `uvicorn --factory api.app:create_app`. It needs only Postgres to accept a job."""

import asyncio
import gc
import logging
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from types import FrameType
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from api.docs_page import ASSETS
from api.docs_page import router as docs_router
from api.errors import install_error_handlers
from api.feed import routes as feed
from api.middleware import AccessLog, BoundedAnswers, TrustedProxies
from api.openapi import TITLE, describe_api
from api.routes import (
    access,
    account,
    actions,
    batches,
    catalog,
    failures,
    files,
    health,
    hooks,
    jobs,
    unconfirmed,
    uploads,
)
from api.routes.callbacks import deliveries, endpoints
from rushes.access.callers import KeyRing
from rushes.events.hub import Hub
from rushes.logs import configure_logging
from rushes.monitoring.metrics import open_metrics
from rushes.runtime import Runtime
from rushes.settings import Settings, load_settings

THREADS = 20
"""Requests handled at once. Each one has its own connection."""
SWITCH_SECONDS = 0.0005
"""How long a thread may compute while others wait. With Python's 5 ms, a large push slows down every other request."""
FULL_COLLECTION_AFTER = 200
"""Python's default is 10. A full garbage collection with 5,000 streams stops everything for a second or more."""


ROUTES = (
    jobs,
    failures,
    files,
    batches,
    feed,
    actions,
    uploads,
    unconfirmed,
    account,
    catalog,
    access,
    hooks,
    health,
    endpoints,
    deliveries,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Create the application. It connects to nothing before the first request.

    Without `settings` it reads the environment. Raises `InvalidInput`, which names the wrong or missing variables.
    """
    if settings is None:
        settings = load_settings()
        configure_logging(as_json=settings.log_json)
        logging.getLogger("uvicorn.access").setLevel(logging.WARNING)  # our line also has the duration
    app = FastAPIOffline(None, None, static_url=ASSETS, title=TITLE, version=version("rushes"), lifespan=_live)
    app.state.runtime = Runtime.open(settings, threads=THREADS, application="api")
    app.state.keys = KeyRing(app.state.runtime.sessions)
    app.state.hub = Hub(app.state.runtime.sessions, connections=settings.database_connections)
    app.state.metrics = open_metrics(app.state.runtime.sessions)
    app.state.large_reads, app.state.large_body = asyncio.Semaphore(2), asyncio.Lock()
    app.add_middleware(BoundedAnswers)
    app.add_middleware(AccessLog)
    app.add_middleware(TrustedProxies, proxies=settings.trusted_proxies)  # added last, so outermost
    install_error_handlers(app)
    for module in ROUTES:
        app.include_router(module.router)
    app.include_router(docs_router)
    describe_api(app, base=settings.api_base)
    return app


@asynccontextmanager
async def _live(app: FastAPI) -> AsyncIterator[None]:
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(*gc.get_threshold()[:2], FULL_COLLECTION_AFTER)
    current_default_thread_limiter().total_tokens = THREADS
    hub: Hub = app.state.hub
    running = asyncio.create_task(hub.run())
    _call_at_stop(hub.close)
    yield
    running.cancel()
    app.state.runtime.close()


def _call_at_stop(close: Callable[[], None]) -> None:
    """Call this at SIGTERM: the server waits for the streams before it ends the lifespan."""
    if threading.current_thread() is not threading.main_thread():
        return  # only tests run the server in another one
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        server = signal.getsignal(number)

        def stop(number: int, frame: FrameType | None, server: Any = server) -> None:
            loop.call_soon_threadsafe(close)
            server(number, frame)

        if callable(server):
            signal.signal(number, stop)
