"""Push batches through an API that dies: repeat each push until the batch is stored, and never store it twice."""

import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from chaos.plan import Push
from cli.api_client import AnswerLost, ApiClient, Declined
from stack.errors import ServiceAway

TAKEN = 409
PUSH_SECONDS = 10.0
PAUSE_SECONDS = 0.2
MODEL = "ltx-2-fast"


class Pusher:
    """A client with its own thread. The batch's name makes a push safe to repeat: a name in use means it is stored."""

    def __init__(self, url: str, *, prefix: str) -> None:
        self._url = url
        self._prefix = prefix
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rushes-chaos-pusher")
        self._pushes: list[Future[None]] = []
        self._closed = threading.Event()
        self.counts: Counter[str] = Counter()
        """Counts of pushes: answers_lost, repeated, stored_before."""

    @property
    def is_pushing(self) -> bool:
        """Whether a batch is not stored yet. Raises the error if the API refused a push for good."""
        for each in [each for each in self._pushes if each.done()]:
            each.result()
            self._pushes.remove(each)
        return bool(self._pushes)

    def push(self, push: Push) -> None:
        """Push it as soon as the earlier batches are stored; returns at once."""
        self._pushes.append(self._thread.submit(self._push, push))

    def close(self) -> None:
        """Give up the batches that are not stored yet."""
        self._closed.set()
        self._thread.shutdown(cancel_futures=True)

    def _push(self, push: Push) -> None:
        name = f"{self._prefix}-{push.number}"
        body: dict[str, Any] = {
            "name": name,
            "jobs": [{"model": MODEL, "input": {"prompt": prompt}} for prompt in push.prompts],
        }
        with ApiClient(self._url) as client:
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
