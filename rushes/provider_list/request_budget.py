"""The budget of requests that watch: requests beyond the granted check become a debt.

The leader grants checks within the budget. Only the step that makes a check learns that it needs another page of the
list. The debt is a number in the account's row. The leader pays it before it grants the next check.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from models import transitions
from models.db.session import one_statement
from rushes.runtime import Runtime
from rushes.wavespeed import PredictionPage, WaveSpeedClient


class CountedLists:
    """The provider's list, with a count of the requests made."""

    def __init__(self, client: WaveSpeedClient) -> None:
        self._client = client
        self.requests = 0

    def list_predictions(self, **asked: Any) -> PredictionPage:
        """Like the client's method. Failed requests count, too."""
        self.requests += 1
        return self._client.list_predictions(**asked)


@contextmanager
def charged_lists(runtime: Runtime, account_id: UUID, *, granted: int) -> Iterator[CountedLists]:
    """Yield a list to read from. Requests beyond `granted` are recorded as owed at the end, even after an error."""
    lists = CountedLists(runtime.client)
    try:
        yield lists
    finally:
        if lists.requests > granted:
            with one_statement(runtime.sessions) as session:
                transitions.lists.owe_requests(session, account_id, count=lists.requests - granted)
