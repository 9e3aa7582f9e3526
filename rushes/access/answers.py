"""Requests that may be repeated: with the same key, each is carried out once and answered alike."""

from collections.abc import Callable
from datetime import timedelta

from sqlalchemy.exc import OperationalError

from models import transitions
from models.db.errors import is_lock_timeout
from models.db.session import Sessions, transaction
from models.transitions.access.answered import KeptAnswer, RequestKey
from rushes.errors import InProgress, InvalidInput, Problem

HEADER = "Idempotency-Key"
RETRY_AFTER = timedelta(seconds=2)


def answer_once(
    sessions: Sessions, request: RequestKey, make: Callable[[Sessions], tuple[KeptAnswer, KeptAnswer]]
) -> tuple[KeptAnswer, bool]:
    """Carry out a request unless it was before. Returns the answer, and whether it repeats an earlier one.

    `make` returns the answer and what to keep of it, and joins a transaction that also keeps the answer. So if the
    process dies or `make` raises, neither its work nor the key is stored. Raises `InvalidInput` if the key was used for
    another request, and `InProgress` if one with this key takes too long.
    """
    with transaction(sessions) as session:
        try:
            earlier = transitions.answered.reserve_key(session, request)
        except OperationalError as error:
            if not is_lock_timeout(error):
                raise
            message = "a request with this key is being carried out: repeat yours in a moment to get its answer"
            raise InProgress(message, retry_after=RETRY_AFTER) from error
        if earlier is None:
            answer, kept = make(session)
            transitions.answered.keep_answer(session, request, kept)
            return answer, False
    digest, answer = earlier
    if digest != request.digest:
        message = "was used for another request: use a new key for each request that is not a repetition"
        raise InvalidInput([Problem(HEADER, message)])
    return answer, True
