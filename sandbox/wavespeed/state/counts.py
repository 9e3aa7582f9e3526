"""The simulator's counters."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Counts:
    """Counters since the start of the simulator."""

    requests: Counter[str] = field(default_factory=Counter)
    answers: dict[str, Counter[str]] = field(default_factory=dict)
    """For each kind of request: how often each HTTP status, or `dropped` or `hung`, was the answer."""
    accepted: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    """Submissions answered with an error instead of a task, by HTTP status."""
    ended: Counter[str] = field(default_factory=Counter)
    ignored_keys: Counter[str] = field(default_factory=Counter)
    """Input keys that match no parameter; each is logged when it first appears."""

    def count_answer(self, kind: str, answer: str) -> None:
        self.answers.setdefault(kind, Counter())[answer] += 1
