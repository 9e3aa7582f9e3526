"""What the simulator has counted since its start."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Counts:
    """What has happened since the start."""

    requests: Counter[str] = field(default_factory=Counter)
    answers: dict[str, Counter[str]] = field(default_factory=dict)
    """Per kind of request: how often each HTTP status, or `dropped`, `hung`, was the answer."""
    accepted: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    """Submissions that got an error instead of a task, by HTTP status."""
    ended: Counter[str] = field(default_factory=Counter)
    ignored_keys: Counter[str] = field(default_factory=Counter)
    """Input keys that no parameter has; each is logged when it is first seen."""
    completion_times: list[float] = field(default_factory=list)

    def count_answer(self, kind: str, answer: str) -> None:
        self.answers.setdefault(kind, Counter())[answer] += 1
