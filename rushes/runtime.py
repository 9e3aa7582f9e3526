"""The resources of a running process: settings, connections, provider client and artifact store."""

from dataclasses import dataclass
from functools import cached_property
from textwrap import shorten
from typing import Self
from uuid import UUID

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from models import transitions
from models.db.errors import DatabaseAway
from models.db.session import Sessions, Waker, open_engine, open_sessions, transaction, use_reserve
from models.queries.watching.webhooks import find_hook_secret
from rushes import account_status
from rushes.artifacts.store import ArtifactStore, open_store
from rushes.catalog import find_video_model
from rushes.errors import InvalidInput, NotFound, Problem
from rushes.forecasting.forecaster import Forecaster
from rushes.network import find_proxy, trust_authorities
from rushes.readiness import ReadinessProbe
from rushes.render_times.learned import Sightings
from rushes.settings import Settings
from rushes.wavespeed.callback_urls import HookAddresses
from rushes.wavespeed.client import Timeouts, WaveSpeedClient
from rushes.wavespeed.webhooks import WAIT_SECONDS, WebhookSecret

log = structlog.get_logger(__name__)

ACCOUNT = account_status.ACCOUNT
PROMPT_LIMIT = 30
QUICK_SECONDS = 6.0
"""Timeout for a request within a store step. The step's lease of 20 s must outlast it."""


def open_database(settings: Settings, *, connections: int, application: str) -> Engine:
    """An engine for the database of these settings, with or without a transaction pooler in front of it."""
    pooler = settings.database_direct_url is not None
    url = settings.get_database_url()
    return open_engine(url, pool_size=connections, pooler=pooler, application=f"rushes-{application}")


def open_operator_database(settings: Settings, *, application: str) -> Engine:
    """One connection for a check: the reserved one of `RUSHES_DATABASE_OPERATOR` if no ordinary connection is free."""
    engine = open_database(settings, connections=1, application=application)
    if settings.database_operator is not None:
        use_reserve(engine, settings.get_listen_url(), user=settings.database_operator)
    return engine


@dataclass(frozen=True)
class Runtime:
    """Built once when a process starts, and passed down. Nothing connects before its first use."""

    settings: Settings
    engine: Engine
    sessions: Sessions
    waker: Waker
    threads: int

    @classmethod
    def open(cls, settings: Settings, *, threads: int, application: str) -> Self:
        """Prepare connections to the database and to the provider for this number of threads."""
        engine = open_database(settings, connections=settings.database_connections, application=application)
        return cls(
            settings=settings, engine=engine, sessions=open_sessions(engine), waker=Waker(engine), threads=threads
        )

    @cached_property
    def client(self) -> WaveSpeedClient:
        """The provider's client. Raises `InvalidInput` if no key is set."""
        total = self.settings.request_timeout_seconds
        timeouts = Timeouts(
            read=total,
            total=total,
            submit_total=self.settings.submit_timeout_seconds,
            upload_total=self.settings.upload_timeout_seconds,
        )
        return self._open_client(timeouts, pool_size=self.threads)

    @cached_property
    def quick_client(self) -> WaveSpeedClient:
        """The same, for requests within a step: it returns an answer within seconds or none."""
        return self._open_client(Timeouts(connect=QUICK_SECONDS, read=QUICK_SECONDS, total=QUICK_SECONDS), pool_size=4)

    @cached_property
    def hook_secret(self) -> bytes:
        """The secret that signs our webhook tokens. Raises `NotFound` before the account has a row."""
        with transaction(self.sessions) as session:
            secret = find_hook_secret(session, ACCOUNT)
        if secret is None:
            raise NotFound("no worker has started yet, so nothing was submitted: start a worker")
        return secret

    @cached_property
    def hook_addresses(self) -> HookAddresses | None:
        """The addresses that the provider sends webhooks to; None if no public URL is set."""
        public_url = self.settings.public_url
        return HookAddresses(public_url, self.hook_secret) if public_url is not None else None

    @cached_property
    def webhook_secret(self) -> WebhookSecret:
        """The secret that the provider signs webhooks with. Fetching it takes seconds at most, or fails."""
        timeouts = Timeouts(connect=WAIT_SECONDS, read=WAIT_SECONDS, total=WAIT_SECONDS)

        def fetch() -> str:
            client = self._open_client(timeouts, pool_size=1)
            try:
                return client.get_webhook_secret()
            finally:
                client.close()

        return WebhookSecret(fetch)

    @cached_property
    def sightings(self) -> Sightings:
        """The renders that this process's polls last saw running."""
        return Sightings()

    @cached_property
    def readiness(self) -> ReadinessProbe:
        """Whether jobs can be accepted."""
        return ReadinessProbe(self.sessions)

    @cached_property
    def forecaster(self) -> Forecaster:
        """Forecasts how long batches and jobs will still take."""
        return Forecaster(self.settings, account=ACCOUNT)

    @cached_property
    def store(self) -> ArtifactStore:
        """The store for videos."""
        return open_store(self.settings.get_artifacts_url())

    def _open_client(self, timeouts: Timeouts, *, pool_size: int) -> WaveSpeedClient:
        key = self.settings.wavespeed_api_key
        if key is None:
            raise InvalidInput([Problem("WAVESPEED_API_KEY", "is not set")])
        url = self.settings.wavespeed_url
        return WaveSpeedClient(
            url,
            key.get_secret_value(),
            timeouts=timeouts,
            pool_size=pool_size,
            tls=trust_authorities(self.settings.ca_file),
            proxy=find_proxy(url),
        )

    def close(self) -> None:
        """Close every connection."""
        self.waker.close()
        self.engine.dispose()


def count_stale(runtime: Runtime, kind: str, row_id: UUID) -> None:
    """Log and count a write that changed nothing, after its transaction. Never raises: the step's outcome stands.

    Such a write is harmless, because every transition is fenced. It is a sign of frozen workers or short leases.
    """
    log.warning("write.stale", kind=kind, id=str(row_id))
    try:
        with transaction(runtime.sessions) as session:
            transitions.stale_writes.count_stale_write(session, kind)
    except (DatabaseAway, SQLAlchemyError):
        log.warning("write.stale_not_counted", kind=kind)


def name_job(runtime: Runtime, place: str, video_model: str, prompt: object) -> str:
    """Return the job's BATCH/NUMBER and video model, and with `RUSHES_FLOWER_PROMPTS` the prompt's first words.

    Errors have it at their end: Flower shows about 45 characters of a cell, and the reason must be among them.
    """
    model = find_video_model(video_model)
    name = f"{place} {model.name if model else video_model}"
    words = shorten(str(prompt or ""), PROMPT_LIMIT, placeholder="...") if runtime.settings.flower_prompts else ""
    return f'{name} "{words}"' if words else name
