"""Push batches through an API that dies: repeat each push until the batch is stored, and never store it twice."""

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
    """A client with its own thread. The batch's name makes a push safe to repeat: a name in use means it is stored."""

    def __init__(self, url: str, *, prefix: str) -> None:
        self._url = url
        self._prefix = prefix
        self._waiting: queue.Queue[Push | None] = queue.Queue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rushes-chaos-pusher", daemon=True)
        self.counts: Counter[str] = Counter()
        """Counts of pushes: answers_lost, repeated, stored_before."""
        self.failure: CommandError | None = None

    @property
    def is_pushing(self) -> bool:
        """Whether a batch is not stored yet. Raises the error if the API refused a push for good."""
        if self.failure is not None:
            raise self.failure
        return self._waiting.unfinished_tasks > 0

    def push(self, push: Push) -> None:
        """Push it as soon as the earlier batches are stored; returns at once."""
        if not self._thread.is_alive():
            self._thread.start()
        self._waiting.put(push)

    def close(self) -> None:
        """Give up the batches that are not stored yet."""
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
        """Whether the batch is stored now. Raises `Declined` if it never will be."""
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
