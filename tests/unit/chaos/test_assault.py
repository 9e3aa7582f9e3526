"""The order of a run: what is always on, faults that overlap, and the end of all of them."""

import time
from collections import Counter
from typing import Any

from chaos.assault import KILL_IN_PUSH, Assault, Moment
from chaos.faults import BACKUP, RESTORE
from chaos.plan import Fault, Plan, Push, Restore

ALWAYS = {"get_5xx": {"probability": 0.1}}
STRONG = {"probability": 0.9}


class Provider:
    """Remembers which rules were set and taken away."""

    def __init__(self) -> None:
        self.log: list[tuple[float, str, object]] = []
        self.began = time.monotonic()
        self.bought: list[int] = []

    def set_fault(self, name: str, **rule: Any) -> None:
        self.log.append((time.monotonic() - self.began, name, rule.get("probability")))

    def clear_fault(self, name: str) -> None:
        self.log.append((time.monotonic() - self.began, name, None))

    def tasks(self) -> list[int]:
        """Another one whenever somebody checks."""
        self.bought.append(0)
        return [*self.bought]

    def faults(self) -> dict[str, Any]:
        return {"get_5xx": {"fired": 2}}


class Process:
    """Remembers what it suffered."""

    is_frozen = False

    def __init__(self) -> None:
        self.log: list[str] = []

    def end(self) -> None:
        self.log.append("killed")

    def freeze(self) -> int:
        self.log.append("frozen")
        return 1

    def thaw(self, pid: int) -> None:
        self.log.append("thawed")


class Crowd:
    """A victim of one API and one worker, whose jobs all end at once."""

    is_pushing = False

    def __init__(self) -> None:
        self.processes = {"api": Process(), "main": Process()}
        self.pushed: list[int] = []

    def tend(self) -> None:
        """All of it lives."""

    def find(self, target: str) -> Process | None:
        return self.processes.get(target)

    def push(self, push: Push) -> None:
        self.pushed.append(push.number)

    def count_ended(self) -> int:
        return 2

    def end(self) -> None:
        for process in self.processes.values():
            process.end()

    def hasten(self) -> None:
        """Nothing waits."""

    def dump_stacks(self) -> None:
        raise AssertionError("something goes on")


class NoServers:
    """Nothing to strike."""

    kinds: frozenset[str] = frozenset()

    def strike(self, kind: str) -> None:
        raise AssertionError(kind)


def observe(moment: Moment) -> None:
    """Checks on."""


def run(*faults: Fault, pushes: tuple[Push, ...] = (), seconds: float = 0.5) -> tuple[Assault, Provider, Crowd]:
    provider, crowd = Provider(), Crowd()
    plan = Plan(1, seconds, pushes or (Push(0.0, 0, ("a", "b")),), tuple(sorted(faults)), ALWAYS, 2.0)
    assault = Assault(plan, crowd, simulator=provider, servers=NoServers(), watch=observe)  # type: ignore[arg-type]
    assault.run()
    assault.drain()
    return assault, provider, crowd


def test_a_fault_that_is_always_on_stays_on_until_the_plan_is_over() -> None:
    _, provider, _ = run(seconds=0.5)
    (_, *switched_on), (at, *switched_off) = provider.log
    assert (switched_on, switched_off) == (["get_5xx", 0.1], ["get_5xx", None])
    assert at >= 0.5


def test_a_permanent_fault_returns_once_stronger_ones_are_over() -> None:
    first, second = Fault(0.0, "get_5xx", 0.1, STRONG), Fault(0.05, "get_5xx", 0.2, STRONG)
    assault, provider, _ = run(first, second)
    assert [rule for _, _, rule in provider.log] == [0.1, 0.9, 0.1, None]
    assert assault.faults == Counter(get_5xx=2)
    assert assault.strikes["get_5xx"] == 2 * 4  # counted whenever a rule gives way


def test_faults_of_a_kind_that_follow_each_other_have_their_own_rules() -> None:
    first = Fault(0.0, "download_expired", 0.2, {"probability": 0.4})
    second = Fault(0.21, "download_expired", 0.1, {"probability": 0.7})
    _, provider, _ = run(first, second)
    assert [rule for _, name, rule in provider.log if name == "download_expired"] == [0.4, None, 0.7, None]


def test_only_existing_processes_are_killed_frozen_and_thawed() -> None:
    faults = Fault(0.0, "kill_main", 0), Fault(0.1, "freeze_main", 0.1), Fault(0.2, "kill_store", 0)
    assault, _, crowd = run(*faults, Fault(0.2, "redis_kill", 1))
    assert crowd.processes["main"].log == ["killed", "frozen", "thawed"]
    assert assault.faults == Counter(kill_main=1, freeze_main=1)


class Postgres:
    """Remembers what became of it, and how many had died by then."""

    kinds = frozenset({BACKUP, RESTORE})

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self.log: list[tuple[str, int]] = []

    def strike(self, kind: str) -> None:
        self.log.append((kind, sum(len(each.log) for each in self._crowd.processes.values())))


def test_the_database_is_restored_once_after_all_writers_were_killed() -> None:
    crowd, provider = Crowd(), Provider()
    plan = Plan(1, 0.5, (Push(0.0, 0, ("a", "b", "c", "d")),), (), {}, 2.0, Restore(0.5, 0.5))
    servers = Postgres(crowd)
    assault = Assault(plan, crowd, simulator=provider, servers=servers, watch=observe)  # type: ignore[arg-type]
    assault.run()
    assert servers.log == [(BACKUP, 0), (RESTORE, 2)]
    assert assault.faults == Counter({BACKUP: 1, RESTORE: 1})
    assert assault.strikes[RESTORE] >= 1  # purchases that the copy does not know


def test_the_api_is_killed_while_a_push_is_under_way() -> None:
    assault, _, crowd = run(pushes=(Push(0.0, 0, ("a",)), Push(0.1, 1, ("b",), kills_after=0.01)))
    assert crowd.pushed == [0, 1]
    assert crowd.processes["api"].log == ["killed"]
    assert assault.faults == Counter({KILL_IN_PUSH: 1})
