"""Reads that many callers share, and that delay none of them beyond its own limit."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Result = TypeVar("Result")


class SharedRead(Generic[Result]):
    """Reads in a thread of its own. Callers share a running read, and its result for `keep_seconds`.

    So a database that does not answer costs one thread and one connection, however many callers wait.
    """

    def __init__(self, read: Callable[[], Result], *, name: str, keep_seconds: float = 0.0) -> None:
        self._read = read
        self._name = name
        self._keep_seconds = keep_seconds
        self._lock = threading.Lock()
        self._pending: Future[Result] | None = None
        self._kept_until = 0.0

    def wait(self, *, seconds: float) -> Result:
        """Return what was read. Raises `TimeoutError` if it takes longer than `seconds`, else what the read raises."""
        return self._begin().result(seconds)

    async def ask(self, *, seconds: float) -> Result:
        """The same, from an event loop."""
        done, _ = await asyncio.wait({asyncio.wrap_future(self._begin())}, timeout=seconds)
        if not done:
            raise TimeoutError
        return done.pop().result()

    def _begin(self) -> "Future[Result]":
        with self._lock:
            if self._pending is None or (self._pending.done() and time.monotonic() >= self._kept_until):
                self._pending = Future()
                threading.Thread(target=self._run, args=(self._pending,), name=self._name, daemon=True).start()
            return self._pending

    def _run(self, pending: "Future[Result]") -> None:
        try:
            result = self._read()
        except Exception as error:  # noqa: BLE001 - passed on to the callers
            pending.set_exception(error)
        else:
            self._kept_until = time.monotonic() + self._keep_seconds
            pending.set_result(result)
