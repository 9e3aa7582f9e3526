"""One accepted submission, its ending, which is drawn when it is accepted, and the task object that is shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

from rushes.catalog import VideoModel
from sandbox.wavespeed.state.faults import Faults, Subject
from sandbox.wavespeed.state.timestamps import shorten, to_ns

PICK_UP_SECONDS = 0.2
"""A task that has started still shows `created` for this long, but for at most a tenth of its render time."""

KEPT = frozenset({"completed", "deleted"})
REFUNDED = frozenset({"failed", "cancelled", "timeout"})
"""Endings that are refunded. The provider promises it for failures and time-outs and does not mention others."""

ERROR_TEXTS = {
    1200: "Content flagged as potentially sensitive. Please try different prompts or inputs.",
    1402: "The media at the given URL could not be fetched.",
    5000: "Internal error while the model was running. Please try again later.",
    5003: "The model is temporarily unavailable. Please try again later.",
    5004: "The model took too long to answer.",
}


@dataclass(frozen=True, slots=True)
class Fate:
    """How a task ends: its final status, error code (0 is none) and text, and whether it has a video."""

    status: str = "completed"
    code: int = 0
    error: str = ""
    has_video: bool = True


COMPLETED = Fate()


def failed(code: int) -> Fate:
    return Fate("failed", code, ERROR_TEXTS.get(code, f"The task failed with code {code}."), has_video=False)


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
        fate = failed(rule.code)
        return replace(fate, error=rule.text) if rule.text else fate
    if rule := faults.strike("task_unknown_status", subject):
        return Fate(rule.text, has_video=False)
    return next((fate for name, fate in _ENDINGS.items() if faults.strike(name, subject)), COMPLETED)


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """A validated request for a render. `base` is the address that the request used; URLs in answers start with it."""

    model: VideoModel
    given: dict[str, Any]
    """The inputs as sent, without keys unknown to the model."""
    base: str
    webhook: str | None = None

    @property
    def values(self) -> dict[str, Any]:
        """The input that is rendered and billed: in the order of the schema, with defaults for missing values."""
        return fill_in(self.model, self.given)

    @property
    def prompt(self) -> str:
        return str(self.given.get("prompt", ""))

    def as_subject(self, kind: str = "") -> Subject:
        """The target of faults that strike a request of this kind."""
        return Subject(kind, self.prompt)

    @property
    def price(self) -> Decimal:
        return self.model.price(self.values)


@dataclass(slots=True, eq=False)
class Task:
    """An accepted submission. Times are seconds since 1970; `created_ns` is exactly the time shown in `created_at`."""

    id: str
    asked: TaskRequest
    accepted: float
    duration: float
    fate: Fate = COMPLETED
    unknown_status: str = ""
    """Shown instead of `processing`, to simulate an unknown status."""
    started: float | None = None
    ended: float | None = None
    price: Decimal = field(init=False)
    created_ns: int = field(init=False)
    created_at: str = field(init=False)

    def __post_init__(self) -> None:
        self.price = self.asked.price
        self.created_ns, self.created_at = shorten(to_ns(self.accepted), int(self.id[:8], 16) % 10)

    @property
    def seconds(self) -> float:
        """Length of its video."""
        return float(self.asked.model.output_seconds(self.asked.values))

    @property
    def has_video(self) -> bool:
        return self.ended is not None and self.fate.has_video

    @property
    def money(self) -> Literal["held", "kept", "refunded"]:
        """What the provider does with the price: it holds it until the task ends, and after an unknown ending."""
        if self.ended is None or self.fate.status not in KEPT | REFUNDED:
            return "held"
        return "kept" if self.fate.status in KEPT else "refunded"

    def status_at(self, now: float) -> str:
        if self.ended is not None:
            return self.fate.status
        if self.started is None or now < self.started + min(PICK_UP_SECONDS, self.duration / 10):
            return "created"
        return self.unknown_status or "processing"


def fill_in(model: VideoModel, given: Mapping[str, Any]) -> dict[str, Any]:
    """An input with the defaults of its model."""
    spelled = {each.name: given.get(each.name, each.default) for each in model.parameters}
    return {name: value for name, value in spelled.items() if value is not None}


def output_path(task_id: str) -> str:
    """Path of the video on the simulated content delivery network."""
    return f"/output/{task_id}.mp4"


def describe(task: Task, *, now: float, base: str) -> dict[str, Any]:
    """The task object of submit answers, results, lists and webhooks: empty arrays and `error: ""` while it runs.

    As at the provider, there is no progress and no start or end time; `code` appears only with failures.
    """
    over = task.ended is not None
    elapsed_ms = int(((task.ended or now) - (task.started or now)) * 1_000) if over else 0
    shown: dict[str, Any] = {
        "id": task.id,
        "model": task.asked.model.id,
        "outputs": [base + output_path(task.id)] if task.has_video else [],
        "urls": {"get": f"{base}/api/v3/predictions/{task.id}/result"},
        "has_nsfw_contents": [False] if task.has_video else [],
        "status": task.status_at(now),
        "created_at": task.created_at,
        "error": task.fate.error if over else "",
        "executionTime": elapsed_ms,
        "timings": {"inference": int(elapsed_ms * 0.97)},
    }
    if over and task.fate.code:
        shown["code"] = task.fate.code
    return shown
