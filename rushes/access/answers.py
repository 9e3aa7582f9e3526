"""Requests that may be repeated: with the same key, each is carried out once and answered alike."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Condition

from sqlalchemy.exc import OperationalError

from models import transitions
from models.db.errors import is_lock_failure
from models.db.session import Sessions, transaction
from models.transitions.access.answered import KeptAnswer, RequestKey
from rushes.errors import InProgress, InvalidInput, Problem

HEADER = "Idempotency-Key"
RETRY_AFTER = timedelta(seconds=2)
WAITING_TWINS, TWIN_WAITS = 4, timedelta(seconds=5)
"""Each waiting twin keeps one of the process's threads, but none of its few connections."""
_IN_PROGRESS = "a request with this key is being carried out: repeat yours in a moment to get its answer"


class _KeysInUse:
    """The keys of the requests that this process carries out now."""

    def __init__(self) -> None:
        self._keys: set[RequestKey] = set()
        self._waiting = 0
        self._freed = Condition()

    @contextmanager
    def use(self, request: RequestKey) -> Iterator[None]:
        """Use the key alone, after a twin. Raises `InProgress` if the twin takes long, or if many requests wait."""
        key = request._replace(digest="")
        with self._freed:
            if key in self._keys and not self._wait_for(key):
                raise InProgress(_IN_PROGRESS, retry_after=RETRY_AFTER)
            self._keys.add(key)
        try:
            yield
        finally:
            with self._freed:
                self._keys.remove(key)
                self._freed.notify_all()

    def _wait_for(self, key: RequestKey) -> bool:
        if self._waiting >= WAITING_TWINS:
            return False
        self._waiting += 1
        try:
            return self._freed.wait_for(lambda: key not in self._keys, TWIN_WAITS.total_seconds())
        finally:
            self._waiting -= 1


_in_use = _KeysInUse()


def answer_once(
    sessions: Sessions, request: RequestKey, make: Callable[[Sessions], tuple[KeptAnswer, KeptAnswer]]
) -> tuple[KeptAnswer, bool]:
    """Carry out a request unless it was before. Returns the answer, and whether it repeats an earlier one.

    `make` returns the answer and what to keep of it, and joins a transaction that also keeps the answer. So if the
    process dies or `make` raises, neither its work nor the key is stored. Raises `InvalidInput` if the key was used for
    another request, and `InProgress` if one with this key takes too long.
    """
    with _in_use.use(request), transaction(sessions) as session:
        try:
            earlier = transitions.answered.reserve_key(session, request)
        except OperationalError as error:
            if not is_lock_failure(error):
                raise
            raise InProgress(_IN_PROGRESS, retry_after=RETRY_AFTER) from error
        if earlier is None:
            answer, kept = make(session)
            transitions.answered.keep_answer(session, request, kept)
            return answer, False
    digest, answer = earlier
    if digest != request.digest:
        message = "was used for another request: use a new key for each request that is not a repetition"
        raise InvalidInput([Problem(HEADER, message)])
    return answer, True
