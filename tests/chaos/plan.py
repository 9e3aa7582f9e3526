"""What goes wrong and when, drawn from a seed: the same seed gives the same plan. Pure: no clock, no I/O."""

import random
from dataclasses import dataclass, field
from typing import Any

PROCESS_FAULTS: dict[str, tuple[float, float]] = {
    "kill_main": (0, 0),
    "kill_leader": (0, 0),
    "kill_store": (0, 0),
    "freeze_main": (6, 12),  # past the leader's lease of 5 s, and mostly past the submit lease of 8 s
    "freeze_leader": (6, 12),
    "freeze_store": (21, 23),  # past the store lease of 20 s
    "redis_restart": (0, 0),
    "redis_kill": (0.5, 3),
    "redis_flush": (0, 0),
    "redis_freeze": (2, 8),
    "postgres_restart": (0, 0),
    "postgres_kill": (0.5, 2),
    "postgres_backends": (0, 0),
}
"""Faults of our own processes and servers, each with the shortest and the longest duration in seconds."""

PROVIDER_FAULTS: dict[str, dict[str, Any]] = {
    "submit_drop": {"probability": 0.3},
    "submit_504": {"probability": 0.3},
    "submit_hang": {"probability": 0.3},
    "submit_late": {"probability": 0.3, "delay": 2.0},
    "submit_garbage": {"probability": 0.3},
    "submit_error_with_task": {"probability": 0.5},
    "submit_5xx": {"probability": 0.3},
    "submit_429": {"probability": 0.3, "retry_after": 1.0},
    "no_credit": {"probability": 0.3},
    "get_5xx": {"probability": 0.5},
    "get_429": {"probability": 0.5},
    "get_garbage": {"probability": 0.5},
    "get_hang": {"probability": 0.2, "delay": 4.0},
    "outage": {"status": 0},
    "slow_answer": {"probability": 0.5, "delay": 1.0},
    "task_failed": {"probability": 0.3},
    "task_moderated": {"probability": 0.1},
    "list_lag": {"probability": 0.6, "delay": 3.0},
    "list_without_inputs": {},
    "list_inputs_with_defaults": {},
    "download_cut": {"probability": 0.5},
    "download_5xx": {"probability": 0.5},
    "download_garbage": {"probability": 0.3},
    "download_hang": {"probability": 0.2, "delay": 5.0},
}
"""Faults of the provider, each with its rule; they last 3 to 8 seconds."""

ALWAYS: dict[str, dict[str, Any]] = {
    "submit_drop": {"probability": 0.04},
    "submit_504": {"probability": 0.03},
    "submit_hang": {"probability": 0.03},
    "list_lag": {"probability": 0.6, "delay": 3.0},
    "submit_5xx": {"probability": 0.02},
    "get_5xx": {"probability": 0.03},
    "get_garbage": {"probability": 0.03},
    "task_failed": {"probability": 0.04},
    "download_cut": {"probability": 0.1},
    "download_garbage": {"probability": 0.04},
    "download_5xx": {"probability": 0.05},
    "slow_answer": {"probability": 0.3, "delay": 0.5, "kind": "submit"},  # so that some die in the middle of a POST
}
"""On from the first second to the last, save while a stronger one of the same kind strikes."""

LONGEST_LIST_LAG = 3.0


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One fault: when it begins (seconds from the start), its kind, how long it lasts and the provider's rule."""

    at: float
    kind: str
    seconds: float
    rule: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def is_providers(self) -> bool:
        return self.kind in PROVIDER_FAULTS


@dataclass(frozen=True, slots=True)
class Plan:
    """A run: jobs are pushed in parts, faults begin at their times, and all is quiet after `seconds`."""

    seed: int
    seconds: float
    pushes: tuple[tuple[float, int], ...]  # when, and how many jobs
    faults: tuple[Fault, ...]


def draw_plan(seed: int, *, jobs: int) -> Plan:
    """A plan for so many jobs: about as long as they render, with a fault every second."""
    luck = random.Random(f"chaos:{seed}")
    seconds = 12 + jobs * 0.3
    return Plan(seed, seconds, _draw_pushes(luck, jobs, seconds), tuple(sorted(_draw_faults(luck, seconds))))


def _draw_pushes(luck: random.Random, jobs: int, seconds: float) -> tuple[tuple[float, int], ...]:
    parts = max(1, min(6, jobs // 10))
    sizes = [jobs // parts + (1 if part < jobs % parts else 0) for part in range(parts)]
    return tuple((0.0 if part == 0 else luck.uniform(0, seconds * 0.7), size) for part, size in enumerate(sizes))


def _draw_faults(luck: random.Random, seconds: float) -> list[Fault]:
    """Of our own a fault every three seconds, of the provider's one every second and a half."""
    own = _deal(luck, [*PROCESS_FAULTS], seconds, every=3.0)
    return own + _deal(luck, [*PROVIDER_FAULTS], seconds, every=1.5)


def _deal(luck: random.Random, kinds: list[str], seconds: float, *, every: float) -> list[Fault]:
    """Dealt as from a pack of cards, so that each kind comes about equally often."""
    faults: list[Fault] = []
    hand: list[str] = []
    at = 1.0
    while at < seconds:
        hand = hand or luck.sample(kinds, len(kinds))
        kind = hand.pop()
        if not (kind == "freeze_store" and at + 10 > seconds):  # a long freeze at the end is only a wait
            faults.append(_draw_fault(luck, kind, at))
        at += luck.uniform(0.3, 1.7) * every
    return faults


def _draw_fault(luck: random.Random, kind: str, at: float) -> Fault:
    if kind in PROVIDER_FAULTS:
        return Fault(at, kind, luck.uniform(3, 8), PROVIDER_FAULTS[kind])
    return Fault(at, kind, luck.uniform(*PROCESS_FAULTS[kind]))
