"""Signed callbacks to the client, sent when a task has completed or failed, and retried with growing pauses."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from sched import scheduler
from typing import Any

import urllib3

from sandbox.wavespeed.settings import SimulatorSettings
from sandbox.wavespeed.state.faults import Faults
from sandbox.wavespeed.state.tasks import Task, describe

logger = logging.getLogger(__name__)

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix of every secret
ANNOUNCED = frozenset({"completed", "failed"})
"""The provider documents no callback for any other ending."""
SENDING_THREADS = 16


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


class Outbox:
    """All pending callbacks, in memory only: a restart of the simulator loses them."""

    def __init__(self, settings: SimulatorSettings, faults: Faults, agenda: scheduler) -> None:
        self.secret = make_secret(settings.api_key)
        self.counts: Counter[str] = Counter()
        """Counts: announced, lost, sent (attempts), delivered, given_up."""
        self._settings = settings
        self._faults = faults
        self._agenda = agenda
        self._threads = ThreadPoolExecutor(SENDING_THREADS, thread_name_prefix="webhook")
        self._under_way: set[asyncio.Task[None]] = set()
        self._pool = urllib3.PoolManager(num_pools=64, maxsize=16, retries=False)

    def announce(self, task: Task, moment: float) -> None:
        """Schedule the callback for a task that has ended, unless the faults change it."""
        if task.asked.webhook is None or task.fate.status not in ANNOUNCED:
            return
        self.counts["announced"] += 1
        subject = task.asked.as_subject("webhook")
        if self._faults.strike("webhook_lost", subject):
            self.counts["lost"] += 1
            return
        late = self._faults.strike("webhook_late", subject)
        forged = self._faults.strike("webhook_forged", subject)
        secret = make_secret("somebody else") if forged else self.secret
        for _ in range(2 if self._faults.strike("webhook_duplicated", subject) else 1):
            due = moment + (late.delay if late else 0.0)
            self._agenda.enterabs(due, 0, self._start, (task, secret, 1, due))

    def close(self) -> None:
        for sending in self._under_way:
            sending.cancel()
        self._pool.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self, task: Task, secret: str, attempt: int, moment: float) -> None:
        """Runs in the event loop, like everything on the agenda."""
        sending = asyncio.get_running_loop().create_task(self._send(task, secret, attempt, moment))
        self._under_way.add(sending)
        sending.add_done_callback(self._under_way.discard)

    async def _send(self, task: Task, secret: str, attempt: int, moment: float) -> None:
        self.counts["sent"] += 1
        body = json.dumps(describe(task, now=moment, base=task.asked.base), separators=(",", ":")).encode()
        # every attempt carries its own timestamp: the receiver refuses callbacks older than 5 minutes
        timestamp = str(int(time.time()))
        signature = sign(secret, webhook_id=task.id, timestamp=timestamp, body=body)
        headers = {
            "content-type": "application/json",
            "webhook-id": task.id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v3,{signature}",
        }
        post = partial(self._post, task.asked.webhook or "", body=body, headers=headers)
        if await asyncio.get_running_loop().run_in_executor(self._threads, post):
            self.counts["delivered"] += 1
        elif attempt > self._settings.webhook_retries:
            self.counts["given_up"] += 1
        else:
            due = time.time() + self._settings.webhook_backoff * 2 ** (attempt - 1)
            self._agenda.enterabs(due, 0, self._start, (task, secret, attempt + 1, due))

    def _post(self, url: str, *, body: bytes, headers: dict[str, Any]) -> bool:
        timeout = urllib3.Timeout(total=self._settings.webhook_timeout)
        try:
            answer = self._pool.request("POST", url, body=body, headers=headers, timeout=timeout, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            logger.info("a callback failed: %s", type(error).__name__)
            return False
        return 200 <= answer.status < 300
