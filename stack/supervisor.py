"""Keep services alive: restart each service that ends, after a pause that doubles, and stop all of them at the end."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from rushes.errors import RushesError
from rushes.timing import backoff
from stack.services import Service

PAUSE_SECONDS = 0.1
FIRST_BACKOFF, LONGEST_BACKOFF = timedelta(seconds=1), timedelta(seconds=30)
HEALTHY_SECONDS = 60.0
"""A service that ran for this long starts again after the first pause."""

Say = Callable[[str], None]


@dataclass(slots=True)
class _Ward:
    """A service under supervision. `start_at` is set while the service waits for a restart."""

    service: Service
    started_at: float
    failures: int = 0
    start_at: float | None = None


class Supervisor:
    """Holds services in the order of their start. Call it from one thread only, the one that starts them."""

    def __init__(self, say: Say, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._wards: list[_Ward] = []

    def start(self, service: Service) -> None:
        """Start a service and supervise it. If its start raises, the error is passed on and the service is not kept."""
        service.start()
        self._wards.append(_Ward(service, self._clock()))

    def find_ended(self) -> Service | None:
        """The first service that should run but has ended; None if all run."""
        return next((ward.service for ward in self._wards if ward.service.find_ending() is not None), None)

    def tend(self) -> None:
        """One round: schedule a restart for each service that has ended, and start those that are due."""
        for ward in self._wards:
            if ward.start_at is not None:
                self._start_when_due(ward)
            elif (ending := ward.service.find_ending()) is not None:
                self._schedule(ward, f"{ward.service.name} ended ({ending})")

    def stop(self, *, is_forced: Callable[[], bool] = lambda: False) -> None:
        """Stop everything, wave by wave; no service runs on return. Once `is_forced` is true, services are killed."""
        for wave in sorted({ward.service.wave for ward in self._wards}):
            self._stop_wave([ward.service for ward in self._wards if ward.service.wave == wave], is_forced)
        self._wards.clear()

    def _schedule(self, ward: _Ward, what: str) -> None:
        now = self._clock()
        if now - ward.started_at >= HEALTHY_SECONDS:
            ward.failures = 0
        ward.failures += 1
        longest = backoff(ward.failures, base=FIRST_BACKOFF, cap=LONGEST_BACKOFF, random=lambda: 1.0)
        pause = longest.total_seconds()
        ward.start_at = now + pause
        self._say(f"{what}; it is started again in {pause:g} s")

    def _start_when_due(self, ward: _Ward) -> None:
        if ward.start_at is None or self._clock() < ward.start_at:
            return
        ward.start_at = None
        ward.started_at = self._clock()
        try:
            ward.service.start()
        except RushesError as error:
            self._schedule(ward, f"{ward.service.name} did not start: {error}")
        else:
            self._say(f"{ward.service.name} is started again")

    def _stop_wave(self, services: list[Service], is_forced: Callable[[], bool]) -> None:
        running = [service for service in services if service.find_ending() is None]
        for service in running:
            service.ask_to_stop()
        begun = time.monotonic()
        while running and not is_forced():
            waited = time.monotonic() - begun
            running = [each for each in running if each.find_ending() is None and waited < each.patience_seconds]
            if running:
                time.sleep(PAUSE_SECONDS / 2)
        for service in services:
            if service.find_ending() is None and service.patience_seconds and not is_forced():
                self._say(f"{service.name} did not stop in {service.patience_seconds:g} s and is killed")
            service.end()
