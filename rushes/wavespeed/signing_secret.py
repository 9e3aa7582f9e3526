"""The secret that the provider signs webhooks with: asked for once per process, and again when it fits no more.

Whoever asks waits for a moment at most, however slow the provider is: the question runs in a thread of its own.
"""

import threading
import time
from collections.abc import Callable

import structlog

from rushes.errors import RushesError

WAIT_SECONDS = 2.0
"""How long at most somebody is made to wait for the provider's answer."""
PAUSE_SECONDS = 60.0
"""Between two questions, so that forged webhooks cost the provider next to nothing."""

log = structlog.get_logger(__name__)


class WebhookSecret:
    """Usable from any number of threads, which share one question. `fetch` asks the provider; it may raise."""

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
        """The secret; None where the provider does not tell it for now."""
        if self._secret is None:
            self._ask()
        return self._secret

    def find_other_than(self, failed: str) -> str | None:
        """The secret that took the place of one that fits no more; None where there is none yet."""
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
