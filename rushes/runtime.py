"""What a process of ours holds while it runs: settings, connections, provider client and artifact store."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

from sqlalchemy import Engine

from models.session import Sessions, Waker, open_engine, open_sessions
from rushes.artifacts import ArtifactStore, open_store
from rushes.errors import InvalidInput, Problem
from rushes.forecaster import Forecaster
from rushes.readiness import ReadinessProbe
from rushes.settings import Settings
from rushes.wavespeed import Timeouts, WaveSpeedClient

ACCOUNT = "default"
"""The name of the one account that the settings describe."""


@dataclass(frozen=True)
class Runtime:
    """Built once at the edge of a process and passed down; nothing connects before it is used."""

    settings: Settings
    engine: Engine
    sessions: Sessions
    waker: Waker
    threads: int

    @classmethod
    def open(cls, settings: Settings, *, threads: int, application: str) -> Self:
        """Connections for so many threads, to the database and to the provider."""
        pooler = settings.database_direct_url is not None
        engine = open_engine(
            settings.get_database_url(), pool_size=threads, pooler=pooler, application=f"rushes-{application}"
        )
        return cls(
            settings=settings, engine=engine, sessions=open_sessions(engine), waker=Waker(engine), threads=threads
        )

    @cached_property
    def client(self) -> WaveSpeedClient:
        """The provider's client. Raises `InvalidInput` where no key is set."""
        key = self.settings.wavespeed_api_key
        if key is None:
            raise InvalidInput([Problem("WAVESPEED_API_KEY", "is not set")])
        total = self.settings.request_timeout_seconds
        timeouts = Timeouts(read=total, total=total, submit_total=self.settings.submit_timeout_seconds)
        return WaveSpeedClient(
            self.settings.wavespeed_url, key.get_secret_value(), timeouts=timeouts, pool_size=self.threads
        )

    @cached_property
    def readiness(self) -> ReadinessProbe:
        """Whether jobs can be accepted."""
        return ReadinessProbe(self.sessions)

    @cached_property
    def forecaster(self) -> Forecaster:
        """How long batches and jobs still take."""
        return Forecaster(self.settings, account=ACCOUNT)

    @cached_property
    def store(self) -> ArtifactStore:
        """Where videos go."""
        return open_store(self.settings.get_artifacts_url())

    def close(self) -> None:
        """Let go of every connection."""
        self.waker.close()
        self.engine.dispose()
