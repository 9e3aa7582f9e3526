"""The list of predictions: every task in the order of `created_at`, and pages of it, newest first."""

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter

from sandbox.wavespeed.state.tasks import Task

_CREATED = attrgetter("created_ns")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query for one page of the list. The window includes both ends; times are nanoseconds since 1970."""

    page: int
    page_size: int
    created_after_ns: int = 0
    created_before_ns: int = 2**63
    model: str | None = None
    status: str | None = None


class TaskListing:
    """Tasks by creation time."""

    def __init__(self) -> None:
        self._tasks: list[Task] = []

    def add(self, task: Task) -> None:
        insort(self._tasks, task, key=_CREATED)

    def read(self, query: Query, *, now: float) -> list[Task]:
        """The tasks of this page, newest first; pages are cut after filtering."""
        oldest = bisect_left(self._tasks, query.created_after_ns, key=_CREATED)
        end = bisect_right(self._tasks, query.created_before_ns, key=_CREATED)
        newest_first = (self._tasks[place] for place in range(end - 1, oldest - 1, -1))
        found = (
            task
            for task in newest_first
            if query.model in {None, task.asked.model.id}
            and (query.status is None or query.status == task.status_at(now))
        )
        skipped = (query.page - 1) * query.page_size
        return list(islice(found, skipped, skipped + query.page_size))
