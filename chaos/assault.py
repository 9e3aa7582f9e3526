"""One run of a plan: inject its faults into a victim, stop them, then wait until every job has ended."""

import sched
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chaos.faults import BACKUP, DELIVER_FAULTS, PROCESS_FAULTS, RESTORE
from chaos.plan import Fault, Plan, Push, Restore
from chaos.servers import Servers
from chaos.victim import Member, Victim
from sandbox.wavespeed.handle import Simulator

TICK_SECONDS = 0.05
COUNT_SECONDS = 0.5
STALL_SECONDS = 330.0
"""A run gives up if no job ends for this long. No wait is longer, because waits for downloads are shortened once the
faults are over."""
PATIENT_STALL_SECONDS = 1_200.0
"""The limit for plans that keep those waits: if a web page came instead of a video, the next download may be ten
minutes away."""
HASTEN_SECONDS = 20.0
"""After the faults, the remaining waits are shortened this often: waiting for minutes would prove nothing more."""
RESTORE_PATIENCE_SECONDS = 60.0
KILL_IN_PUSH = "kill_api_in_push"


@dataclass(frozen=True, slots=True)
class Moment:
    """The progress of a run."""

    phase: str  # `faults`, then `quiet`
    seconds: float  # since the start
    of_seconds: float  # until all faults are over
    ended: int
    jobs: int
    faults: int


Watch = Callable[[Moment], None]
"""An observer of a run; may raise to end the run."""


class Assault:
    """Applies the plan to the victim, in one thread, so that faults occur in the plan's order."""

    def __init__(self, plan: Plan, victim: Victim, *, simulator: Simulator, servers: Servers, watch: Watch) -> None:
        self._plan = plan
        self._victim = victim
        self._simulator = simulator
        self._servers = servers
        self._watch = watch
        self._open: Counter[str] = Counter()  # how many injections of each fault of the provider are active now
        self._agenda = sched.scheduler(self._now)
        self._began = time.monotonic()
        self._counted_at = 0.0
        self._ended = 0
        self._restore = self._restore_in_time(plan.restore) if plan.restore else None
        self.faults: Counter[str] = Counter()
        self.strikes: Counter[str] = Counter()  # how often each fault of the provider struck

    def run(self) -> None:
        """Push the jobs, inject the faults and end them; returns when all faults are over and every job was pushed."""
        self._victim.tend()
        self._began = time.monotonic()
        for name, rule in self._plan.always.items():
            self._set_rule(name, rule)
        for push in self._plan.pushes:
            self._at(push.at, self._push, push)
        for fault in self._plan.faults:
            self._at(fault.at, self._break, fault)
        while not self._agenda.empty() or self._victim.is_pushing or self._now() < self._plan.seconds or self._restore:
            self._tick("faults")
            self._agenda.run(blocking=False)
            self._go_on_restoring()
        for name in self._plan.always:
            self._set_rule(name, None)

    def drain(self, *, stall_seconds: float | None = None) -> float:
        """Keep the victim alive until every job has ended or no more jobs end; returns the seconds it took."""
        patience = stall_seconds or (STALL_SECONDS if self._plan.hastens else PATIENT_STALL_SECONDS)
        began = moved_at = hastened_at = time.monotonic()
        before = -1
        while self._ended < len(self._plan.prompts):
            self._tick("quiet")
            if self._ended != before:
                before, moved_at = self._ended, time.monotonic()
            if self._plan.hastens and time.monotonic() > hastened_at + HASTEN_SECONDS:
                self._victim.hasten()
                hastened_at = time.monotonic()
            if time.monotonic() > moved_at + patience:
                self._victim.dump_stacks()
                break
        return time.monotonic() - began

    def _go_on_restoring(self) -> None:
        if self._restore is not None and next(self._restore, None) is None:
            self._restore = None

    def _restore_in_time(self, restore: Restore) -> Iterator[str]:
        """Copy the database once a share of the jobs was bought, and later restore the copy; yields while it waits.

        All processes that write are killed before the restore, as an operator would stop them. Afterwards, messages and
        webhooks may refer to changes that the copy lacks. Each purchase that the copy lacks counts as one strike.
        """
        known = 0
        for kind, share in ((BACKUP, restore.copied_at), (RESTORE, restore.returned_at)):
            wanted = known + share * (len(self._plan.prompts) - known)
            while self._victim.is_pushing or (self._count_bought() < wanted and self._now() < self._latest_restore):
                yield "waits"
            if kind == RESTORE:
                self._victim.end()
                self.strikes[RESTORE] = self._count_bought() - known
            self._servers.strike(kind)
            self.faults[kind] += 1
            known = self._count_bought()
        self._ended = 0  # until the next count

    @property
    def _latest_restore(self) -> float:
        """The time at which the database is restored even if buying has stopped."""
        return self._plan.seconds + RESTORE_PATIENCE_SECONDS

    def _count_bought(self) -> int:
        return len(self._simulator.tasks())

    def _tick(self, phase: str) -> None:
        self._victim.tend()
        if self._now() >= self._counted_at + COUNT_SECONDS:
            counted = self._victim.count_ended()
            self._ended = self._ended if counted is None else counted
            self._counted_at = self._now()
            jobs, faults = len(self._plan.prompts), self.faults.total()
            self._watch(Moment(phase, self._now(), self._plan.seconds, self._ended, jobs, faults))
        time.sleep(TICK_SECONDS)

    def _at(self, seconds: float, action: Callable[..., None], *arguments: object) -> None:
        self._agenda.enterabs(seconds, 0, action, arguments)

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _push(self, push: Push) -> None:
        self._victim.push(push)
        if push.kills_after is not None and (api := self._victim.find("api")) is not None:
            time.sleep(push.kills_after)  # kill it in the middle of the request
            api.end()
            self.faults[KILL_IN_PUSH] += 1

    def _break(self, fault: Fault) -> None:
        if fault.rule is not None:
            self._switch_on(fault, fault.rule)
        elif fault.kind in PROCESS_FAULTS | DELIVER_FAULTS:
            self._strike_process(fault)
        elif fault.kind in self._servers.kinds:
            self.faults[fault.kind] += 1
            if undo := self._servers.strike(fault.kind):
                self._at(self._now() + fault.seconds, undo)

    def _switch_on(self, fault: Fault, rule: Mapping[str, Any]) -> None:
        self.faults[fault.kind] += 1
        self._open[fault.name] += 1
        if self._open[fault.name] == 1:
            self._set_rule(fault.name, rule)
        # use the plan's time, so that a late start does not overlap the next fault of this kind
        self._at(fault.at + fault.seconds, self._switch_off, fault.name)

    def _switch_off(self, name: str) -> None:
        self._open[name] -= 1
        if self._open[name] == 0:
            self._set_rule(name, self._plan.always.get(name))

    def _set_rule(self, name: str, rule: Mapping[str, Any] | None) -> None:
        """Replace or remove the rule of a fault, and count how often the previous rule struck."""
        self.strikes[name] += self._simulator.faults().get(name, {"fired": 0})["fired"]
        if rule is None:
            self._simulator.clear_fault(name)
        else:
            self._simulator.set_fault(name, **rule)

    def _strike_process(self, fault: Fault) -> None:
        deed, _, target = fault.kind.partition("_")
        member = self._victim.find(target)
        if member is None or member.is_frozen:
            return
        self.faults[fault.kind] += 1
        if deed == "kill":
            member.end()
        else:
            self._freeze(member, fault.seconds)

    def _freeze(self, member: Member, seconds: float) -> None:
        pid = member.freeze()
        self._at(self._now() + seconds, member.thaw, pid)
