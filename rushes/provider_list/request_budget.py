"""The budget of requests that watch: what a step asks beyond the check that it was granted is owed to it.

The leader grants checks within the budget; only the step that makes one learns that it takes another page of the list.
What is owed is a number in the account's row, which the leader pays before it grants the next check.
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
    """The provider's list, with a count of what was asked of it."""

    def __init__(self, client: WaveSpeedClient) -> None:
        self._client = client
        self.requests = 0

    def list_predictions(self, **asked: Any) -> PredictionPage:
        """As the client's, failed requests counted too."""
        self.requests += 1
        return self._client.list_predictions(**asked)


@contextmanager
def charged_lists(runtime: Runtime, account_id: UUID, *, granted: int) -> Iterator[CountedLists]:
    """A list to read from, with so many requests granted already: those beyond are owed at the end, come what may."""
    lists = CountedLists(runtime.client)
    try:
        yield lists
    finally:
        if lists.requests > granted:
            with one_statement(runtime.sessions) as session:
                transitions.lists.owe_requests(session, account_id, count=lists.requests - granted)
