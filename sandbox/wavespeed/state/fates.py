"""The duration and the ending of a render, drawn when its task is accepted."""

import math
import random
from dataclasses import replace

from sandbox.wavespeed.settings import SimulatorSettings
from sandbox.wavespeed.state.faults import FaultRule, Faults, Subject
from sandbox.wavespeed.state.tasks import COMPLETED, Fate, failed


class Durations:
    """Log-normal render times: `median_seconds` and `sigma`, cut at `cap_seconds`, divided by `speed`."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._luck = random.Random(f"{settings.seed}:durations")  # noqa: S311 - not for secrets

    def draw(self) -> float:
        drawn = self._settings.median_seconds * math.exp(self._settings.sigma * self._luck.gauss(0, 1))
        return min(drawn, self._settings.cap_seconds) / self._settings.speed


_ENDINGS = {
    "task_moderated": failed(1200),
    "task_cancelled": Fate("cancelled", error="The task was cancelled.", has_video=False),
    "task_timeout": Fate("timeout", error="The task took too long and was stopped.", has_video=False),
    "task_deleted": Fate("deleted", has_video=False),
    "task_without_outputs": replace(COMPLETED, has_video=False),
}


def draw_fate(faults: Faults, subject: Subject) -> Fate:
    """How a task ends: completed, unless a fault strikes."""
    if rule := faults.strike("task_failed", subject):
        return _failed_by(rule)
    if rule := faults.strike("task_unknown_status", subject):
        return Fate(rule.text, has_video=False)
    return next((fate for name, fate in _ENDINGS.items() if faults.strike(name, subject)), COMPLETED)


def _failed_by(rule: FaultRule) -> Fate:
    fate = failed(rule.code)
    return replace(fate, error=rule.text) if rule.text else fate
