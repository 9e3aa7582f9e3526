"""The list of predictions: every task in the order of `created_at`, and pages of it, newest first."""

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass

from sandbox.wavespeed.state.tasks import Task


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
    """Tasks by creation time. A deleted task is no longer listed."""

    def __init__(self) -> None:
        self._order: list[tuple[int, str]] = []
        self._tasks: dict[str, Task] = {}

    def add(self, task: Task) -> None:
        insort(self._order, (task.created_ns, task.id))
        self._tasks[task.id] = task

    def remove(self, task: Task) -> None:
        position = bisect_left(self._order, (task.created_ns, task.id))
        if position < len(self._order) and self._order[position][1] == task.id:
            del self._order[position]
            del self._tasks[task.id]

    def read(self, query: Query, *, now: float) -> list[Task]:
        """The tasks of this page, newest first; pages are cut after filtering."""
        low = bisect_left(self._order, (query.created_after_ns, ""))
        high = bisect_right(self._order, (query.created_before_ns, "~"))
        skip = (query.page - 1) * query.page_size
        if query.model is None and query.status is None:
            window = self._order[max(low, high - skip - query.page_size) : max(low, high - skip)]
            return [self._tasks[task_id] for _, task_id in reversed(window)]
        found: list[Task] = []
        for position in range(high - 1, low - 1, -1):
            task = self._tasks[self._order[position][1]]
            if query.model is not None and query.model != task.asked.model.id:
                continue
            if query.status is not None and query.status != task.status_at(now):
                continue
            found.append(task)
            if len(found) == skip + query.page_size:
                break
        return found[skip:]
