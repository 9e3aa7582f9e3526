"""Signed callbacks to the client, sent when a task has completed or failed, and retried with growing pauses."""

import asyncio
import base64
import hashlib
import heapq
import hmac
import json
import logging
import time
from collections import Counter
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import urllib3

from sandbox.wavespeed.settings import SimulatorSettings
from sandbox.wavespeed.state.faults import Faults, Subject
from sandbox.wavespeed.state.tasks import Task, describe

logger = logging.getLogger(__name__)

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix of every secret
ANNOUNCED = frozenset({"completed", "failed"})
"""The provider documents no callback for any other ending."""


def sign(secret: str, *, webhook_id: str, timestamp: str, body: bytes) -> str:
    """The hex digest of `webhook-signature: v3,<digest>`.

    HMAC-SHA256 over id, dot, timestamp, dot, body. The key is the secret without its prefix, as plain text: the rest
    looks like base64 but is not decoded.
    """
    key = secret.removeprefix(SECRET_PREFIX).encode()
    return hmac.new(key, f"{webhook_id}.{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def make_secret(api_key: str) -> str:
    """The account's secret, derived from the key, so that it stays the same after a restart."""
    return SECRET_PREFIX + base64.b64encode(hashlib.sha256(f"webhooks of {api_key}".encode()).digest()).decode()


@dataclass(slots=True, order=True)
class PendingWebhook:
    """One pending callback and the time at which it is due."""

    due: float
    number: int
    task: Task = field(compare=False)
    ended: float = field(compare=False)
    secret: str = field(compare=False, repr=False)
    attempt: int = field(default=1, compare=False)


class Outbox:
    """All pending callbacks, in memory only: a restart of the simulator loses them."""

    def __init__(self, settings: SimulatorSettings, faults: Faults, *, secret: str, executor: Executor) -> None:
        self._settings = settings
        self._faults = faults
        self.secret = secret
        self._executor = executor
        self._heap: list[PendingWebhook] = []
        self._added = 0
        self._under_way: set[asyncio.Task[None]] = set()
        self._pool = urllib3.PoolManager(num_pools=64, maxsize=16, retries=False)
        self.counts: Counter[str] = Counter()
        """Counts: announced, lost, sent (attempts), delivered, given_up."""

    def announce(self, task: Task, moment: float) -> None:
        """Queue the callback for a task that has ended, unless the faults change it."""
        if task.asked.webhook is None or task.fate.status not in ANNOUNCED:
            return
        self.counts["announced"] += 1
        subject = Subject("webhook", task.asked.model.id, task.asked.prompt)
        if self._faults.strike("webhook_lost", subject):
            self.counts["lost"] += 1
            return
        late = self._faults.strike("webhook_late", subject)
        forged = self._faults.strike("webhook_forged", subject)
        secret = make_secret("somebody else") if forged else self.secret
        due = moment + (late.delay if late else 0.0)
        for _ in range(2 if self._faults.strike("webhook_duplicated", subject) else 1):
            self._push(PendingWebhook(due, 0, task, moment, secret))

    @property
    def next_due(self) -> float | None:
        return self._heap[0].due if self._heap else None

    def send_due(self, now: float) -> None:
        """Start sending every callback that is due; must be called from the event loop."""
        while self._heap and self._heap[0].due <= now:
            sending = asyncio.get_running_loop().create_task(self._send(heapq.heappop(self._heap), now))
            self._under_way.add(sending)
            sending.add_done_callback(self._under_way.discard)

    def close(self) -> None:
        for sending in self._under_way:
            sending.cancel()
        self._pool.clear()

    def _push(self, delivery: PendingWebhook) -> None:
        self._added += 1
        delivery.number = self._added
        heapq.heappush(self._heap, delivery)

    async def _send(self, delivery: PendingWebhook, now: float) -> None:
        task = delivery.task
        self.counts["sent"] += 1
        task.webhook_attempts += 1
        body = json.dumps(describe(task, now=now, base=task.asked.base), separators=(",", ":")).encode()
        # every attempt carries its own timestamp: the receiver refuses callbacks older than 5 minutes
        timestamp = str(int(time.time()))
        signature = sign(delivery.secret, webhook_id=task.id, timestamp=timestamp, body=body)
        headers = {
            "content-type": "application/json",
            "webhook-id": task.id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v3,{signature}",
        }
        post = partial(self._post, task.asked.webhook or "", body=body, headers=headers)
        if await asyncio.get_running_loop().run_in_executor(self._executor, post):
            self.counts["delivered"] += 1
        elif delivery.attempt > self._settings.webhook_retries:
            self.counts["given_up"] += 1
        else:
            pause = self._settings.webhook_backoff * 2 ** (delivery.attempt - 1)
            delivery.attempt += 1
            delivery.due = time.time() + pause
            self._push(delivery)

    def _post(self, url: str, *, body: bytes, headers: dict[str, Any]) -> bool:
        timeout = urllib3.Timeout(total=self._settings.webhook_timeout)
        try:
            answer = self._pool.request("POST", url, body=body, headers=headers, timeout=timeout, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            logger.info("a callback failed: %s", type(error).__name__)
            return False
        return 200 <= answer.status < 300
