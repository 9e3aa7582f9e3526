"""The loads that are measured, by name, and the standard set."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from bench.storing import RATIO

Overflow = Literal["queue", "refuse"]

SDK, HALF_SECOND, CELERY, RUSHES, WEBHOOKS = "sdk", "half-second", "celery", "rushes", "rushes-webhooks"
CONTESTANTS = {
    SDK: "the official Python SDK in a thread pool",
    HALF_SECOND: "a thread per job that asks every 0.5 s",
    CELERY: "a plain Celery task that submits and polls",
    RUSHES: "Rushes, by checks alone",
    WEBHOOKS: "Rushes with webhooks, 5 % of them lost",
}
OURS = (RUSHES, WEBHOOKS)

PROMISES: dict[tuple[str, str], dict[str, str]] = {
    ("watching-100", "queue"): {
        "watching_requests": "<= 1.0, with webhooks <= 0.3",
        "mean_delay": "<= 0.35 s, with webhooks <= 0.1 s",
        "slot_share": ">= 99.5 %",
    },
    ("watching-100", "refuse"): {"slot_share": ">= 98.5 %"},
    ("slots-3", "queue"): {"watching_requests": "<= 8", "mean_delay": "<= 1 s"},
    ("slots-3000", "queue"): {"slot_share": ">= 99 %", "cores": "<= 2"},
    ("slots-3000", "refuse"): {"slot_share": ">= 98 %", "cores": "<= 2"},
    ("in-flight-10000", "queue"): {"memory worker": "< 1,024 MB with the store worker"},
    ("batch-946", "queue"): {"most_unfinished": "<= 100", "API errors": "0"},
    ("storing-small", "queue"): {"cpu store worker": "<= 12 ms"},
    ("storing-large", "queue"): {RATIO: "<= 1.25"},
    ("instant", "queue"): {"known_rate": ">= 60", "cpu worker": "<= 15 ms"},
}
"""The promises for Rushes under a load, by figure."""

DOWNLOAD_RATE = 100_000_000
"""Bytes per second of one download of such a file: a line of one gigabit."""

PUSHING = "pushing"
"""Not a load on the provider: the rate at which jobs are accepted over HTTP."""

SINGLE_POLLS = "single-polls"
"""Not a load either: single polls compared with the exact optimum, simulated without servers."""

OVERHEAD_SECONDS = 15.0
"""Time to start and stop the processes of a contest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A number of renders on an account with `slots`. Render times are log-normal; times are in seconds."""

    name: str
    about: str
    slots: int
    median: float
    renders: int
    sigma: float = 0.5
    submits_per_minute: int = 6_000
    overflow: Overflow = "queue"
    contestants: tuple[str, ...] = tuple(CONTESTANTS)
    celery_poll: float = 5.0
    """Seconds between two checks of the plain Celery task; the provider asks for this interval."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of Rushes in addition to those that follow from the load; all others have their defaults."""
    video_bytes: int = 0
    """Above 0: every video has this size and a detailed picture, and storing is measured too."""
    hold: float = 0.0
    """Above 0: the load is held and measured for this long after the last submission, not rendered to the end."""

    @property
    def cap(self) -> float:
        """The longest render time."""
        return max(600.0, 10 * self.median)

    @property
    def seconds(self) -> float:
        """The approximate duration of one contest."""
        filling = self.renders / self.submits_per_minute * 60
        if self.hold:
            return OVERHEAD_SECONDS + filling + self.hold
        mean = self.median * math.exp(self.sigma**2 / 2)
        slowest = self.median * math.exp(self.sigma * 2.5)
        return OVERHEAD_SECONDS + max(filling, self.renders / self.slots * mean) + slowest

    def with_overflow(self, overflow: Overflow) -> Self:
        """The same load at a provider that queues or refuses renders beyond the slots.

        If it refuses them, the budget of requests is the default one, because that depends on it.
        """
        settings = dict(self.settings)
        if overflow == "refuse":
            settings.pop("watch_requests_per_second", None)
        return replace(self, overflow=overflow, settings=settings)


_LOADS = (
    Load(
        name="watching-100",
        about="1,000 renders of about 20 s on 100 slots",
        slots=100,
        median=20,
        renders=1_000,
        settings={"watch_requests_per_second": 4.5},
    ),
    Load(
        name="watching-100-short",
        about="500 renders of about 10 s on 100 slots",
        slots=100,
        median=10,
        renders=500,
    ),
    Load(
        name="slots-3",
        about="30 renders of about 20 s on 3 slots",
        slots=3,
        median=20,
        renders=30,
    ),
    Load(
        name="slots-3-short",
        about="12 renders of about 20 s on 3 slots",
        slots=3,
        median=20,
        renders=12,
        contestants=(RUSHES,),
    ),
    Load(
        name="batch-946",
        about="946 renders of about 8 s on 100 slots, none overcommitted",
        slots=100,
        median=8,
        renders=946,
        contestants=(RUSHES,),
        settings={"overcommit": 0},
    ),
    Load(
        name="slots-3000",
        about="9,000 renders of about 60 s on 3,000 slots",
        slots=3_000,
        median=60,
        renders=9_000,
        contestants=OURS,
    ),
    Load(
        name="in-flight-10000",
        about="10,000 renders in flight at the same time, held for two minutes",
        slots=10_000,
        median=3_600,
        renders=10_000,
        hold=120,
        contestants=(RUSHES,),
    ),
    Load(
        name="storing-small",
        about="files of 0.5 MB, of which 50 complete per second like on 3,000 slots with renders of 60 s",
        slots=560,
        median=10,
        renders=2_500,
        contestants=(RUSHES,),
        video_bytes=500_000,
    ),
    Load(
        name="storing-large",
        about="files of 20 MB, of which 5 complete per second; each download has 100 MB per second",
        slots=56,
        median=10,
        renders=150,
        contestants=(RUSHES,),
        video_bytes=20_000_000,
    ),
    Load(
        name="instant",
        about="1,000 renders of 0.02 s on 100 slots: what the machinery itself can do",
        slots=100,
        median=0.02,
        renders=1_000,
        submits_per_minute=60_000,
        contestants=(RUSHES,),
        celery_poll=0.1,
        settings={"poll_shortest_seconds": 0.1},
    ),
)
LOADS = {load.name: load for load in _LOADS}

_QUICK_SLOTS = {
    "watching-100": 20,
    "watching-100-short": 10,
    "batch-946": 20,
    "slots-3000": 60,
    "in-flight-10000": 200,
    "storing-small": 20,
    "storing-large": 10,
}
_QUICK_RENDERS = {
    "watching-100": 100,
    "watching-100-short": 20,
    "slots-3": 9,
    "slots-3-short": 6,
    "batch-946": 94,
    "slots-3000": 180,
    "in-flight-10000": 200,
    "instant": 100,
    "storing-small": 100,
    "storing-large": 20,
}

STANDARD = (SINGLE_POLLS, PUSHING, "instant", "watching-100-short", "slots-3-short")
"""The set that is measured by default: within 15 minutes on two cores."""

STORING = ("storing-small", "storing-large")

FULL = (
    *(SINGLE_POLLS, PUSHING, "instant", *STORING),
    *("batch-946", "watching-100", "slots-3", "slots-3000", "in-flight-10000"),
)
SETS = {"standard": STANDARD, "storing": STORING, "full": FULL}


def quicken(load: Load) -> Load:
    """A tenth of the load, to check that it works; its figures say nothing about speed."""
    changes: dict[str, Any] = {
        "name": f"{load.name}-quick",
        "slots": _QUICK_SLOTS.get(load.name, load.slots),
        "renders": _QUICK_RENDERS[load.name],
    }
    if load.median >= 1 and not load.hold:
        changes |= {"median": 2, "celery_poll": 0.5, "settings": {"poll_shortest_seconds": 0.5}}
    if load.hold:
        changes["hold"] = 5
    quick = replace(load, **changes)
    return replace(quick, about=f"{quick.renders} renders of about {quick.median:g} s on {quick.slots} slots")


def list_names(words: list[str]) -> list[str]:
    """Expand names of loads and sets to names of loads. Raises `KeyError` with an unknown name."""
    names: list[str] = []
    for word in words:
        for name in SETS.get(word, (word,)):
            if name not in (PUSHING, SINGLE_POLLS, *LOADS):
                raise KeyError(word)
            if name not in names:
                names.append(name)
    return names
