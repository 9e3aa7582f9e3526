"""The secret that the provider signs webhooks with. Each process fetches it once, and again if it no longer matches.

The fetch runs in its own thread, so a caller waits for a moment at most, however slow the provider is.
"""

import threading
import time
from collections.abc import Callable

import structlog

from rushes.errors import RushesError

WAIT_SECONDS = 2.0
"""The longest that a caller waits for the provider's answer."""
PAUSE_SECONDS = 60.0
"""The shortest time between two fetches, so that forged webhooks cause almost no requests to the provider."""

log = structlog.get_logger(__name__)


class WebhookSecret:
    """Any number of threads may use it; they share one fetch. `fetch` asks the provider and may raise."""

    def __init__(
        self,
        fetch: Callable[[], str],
        *,
        wait_seconds: float = WAIT_SECONDS,
        pause_seconds: float = PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._wait_seconds = wait_seconds
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._answered = threading.Event()
        self._answered.set()
        self._secret: str | None = None

    def find(self) -> str | None:
        """Return the secret, or None if the provider does not return it for now."""
        if self._secret is None:
            self._ask()
        return self._secret

    def find_other_than(self, failed: str) -> str | None:
        """Return the secret that replaced `failed`, which no longer matches; None if there is none yet."""
        if self._secret == failed:
            self._ask()
        return self._secret if self._secret != failed else None

    def _ask(self) -> None:
        with self._lock:
            if self._answered.is_set() and self._clock() - self._asked_at >= self._pause_seconds:
                self._asked_at = self._clock()
                self._answered.clear()
                threading.Thread(target=self._run, name="rushes-webhook-secret", daemon=True).start()
        self._answered.wait(self._wait_seconds)

    def _run(self) -> None:
        try:
            self._secret = self._fetch()
        except RushesError as error:
            log.warning("webhook.secret_unknown", error=str(error))
        except Exception:
            log.exception("webhook.secret_unknown")
        finally:
            self._answered.set()
