"""Pushing batches through an API that dies: repeated until the batch is there, and never there twice."""

import queue
import threading
from collections import Counter
from typing import Any

from chaos.plan import Push
from cli.api_client import AnswerLost, ApiClient, Declined
from stack.errors import CommandError, ServiceAway

TAKEN = 409
PUSH_SECONDS = 10.0
PAUSE_SECONDS = 0.2
MODEL = "ltx-2-fast"


class Pusher:
    """A client with a thread of its own. A batch's name is what makes its push safe to repeat: taken means stored."""

    def __init__(self, url: str, *, prefix: str) -> None:
        self._url = url
        self._prefix = prefix
        self._waiting: queue.Queue[Push | None] = queue.Queue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rushes-chaos-pusher", daemon=True)
        self.counts: Counter[str] = Counter()
        """answers_lost, repeated, stored_before: of pushes."""
        self.failure: CommandError | None = None

    @property
    def is_pushing(self) -> bool:
        """Whether a batch is not stored yet. Raises what the API refused for good."""
        if self.failure is not None:
            raise self.failure
        return self._waiting.unfinished_tasks > 0

    def push(self, push: Push) -> None:
        """Push it as soon as those before are there; returns at once."""
        if not self._thread.is_alive():
            self._thread.start()
        self._waiting.put(push)

    def close(self) -> None:
        """Give up what is not there yet."""
        self._closed.set()
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        with ApiClient(self._url) as client:
            while (push := self._waiting.get()) is not None and not self._closed.is_set():
                try:
                    self._push(client, push)
                except CommandError as error:
                    self.failure = error
                self._waiting.task_done()

    def _push(self, client: ApiClient, push: Push) -> None:
        name = f"{self._prefix}-{push.number}"
        body: dict[str, Any] = {
            "name": name,
            "jobs": [{"model": MODEL, "input": {"prompt": prompt}} for prompt in push.prompts],
        }
        while not self._try(client, body):
            self.counts["repeated"] += 1
            if self._closed.wait(PAUSE_SECONDS):
                return

    def _try(self, client: ApiClient, body: dict[str, Any]) -> bool:
        """Whether the batch is there now. Raises `Declined` where it never will be."""
        try:
            client.post("batches", body=body, seconds=PUSH_SECONDS)
        except AnswerLost:
            self.counts["answers_lost"] += 1
            return False
        except ServiceAway:
            return False
        except Declined as declined:
            if declined.status == TAKEN:
                self.counts["stored_before"] += 1
                return True
            if declined.status < 500:
                raise
            return False
        return True
