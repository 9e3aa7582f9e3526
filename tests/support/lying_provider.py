"""A provider in the client's place: it loses answers, accepts late, hides what it has, and is asked by nobody else."""

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from rushes.wavespeed.answers import InputRefused, NotSent, PredictionNotFound, RateLimited, SubmitOutcomeUnknown
from rushes.wavespeed.callback_urls import HOOK_PATH
from rushes.wavespeed.predictions import PredictionPage, PredictionStatus, ProviderPrediction
from rushes.webhooks import Webhook
from sandbox.wavespeed.webhooks import sign
from tests.support.rows import VIDEO_MODEL

WEBHOOK_SECRET = "whsec_of_the_account"
OUTPUT = "http://x/y.mp4"


class Died(BaseException):
    """The worker was killed at this line."""


@dataclass
class Task:
    """A purchase at the provider."""

    id: str
    values: dict[str, Any]
    created_at: datetime
    webhook: str | None
    status: PredictionStatus = PredictionStatus.PROCESSING
    hidden_hours: int = 0  # until the list shows it

    @property
    def prompt(self) -> str:
        return str(self.values["prompt"])


@dataclass
class LyingProvider:
    """`answer` is how the next submission ends."""

    now: Callable[[], datetime]
    tasks: dict[str, Task] = field(default_factory=dict)
    answer: str = "accept"
    connected = staticmethod(nullcontext)

    def submit(
        self, video_model_id: str, values: dict[str, Any], *, webhook: str | None = None, **_: Any
    ) -> ProviderPrediction:
        match self.answer:
            case "never":
                raise SubmitOutcomeUnknown("no answer")
            case "not sent":
                raise NotSent("refused connection")
            case "refuse the job":
                raise InputRefused("no such duration")
            case "refuse the account":
                raise RateLimited("slower")
            case "die before":
                raise Died
        task = Task(uuid4().hex, values, self.now(), webhook)
        self.tasks[task.id] = task
        if self.answer == "lost":
            raise SubmitOutcomeUnknown("the connection was cut")
        if self.answer == "die after":
            raise Died
        return self.show(task)

    def get_prediction(self, provider_id: str) -> ProviderPrediction:
        if provider_id not in self.tasks:
            raise PredictionNotFound(provider_id)
        return self.show(self.tasks[provider_id])

    def list_predictions(
        self, *, created_after: datetime, created_before: datetime | None = None, **_: Any
    ) -> PredictionPage:
        shown = [
            each
            for each in self.tasks.values()
            if not each.hidden_hours
            and each.created_at >= created_after
            and (created_before is None or each.created_at <= created_before)
        ]
        return PredictionPage(tuple(self.show(each) for each in reversed(shown)), unreadable=0, is_last=True)

    def show(self, task: Task) -> ProviderPrediction:
        done = task.status is PredictionStatus.COMPLETED
        return ProviderPrediction(
            id=task.id,
            status=task.status,
            video_model_id=VIDEO_MODEL,
            outputs=(OUTPUT,) if done else (),
            error_code=5000 if task.status is PredictionStatus.FAILED else None,
            created_at=task.created_at,
            inputs=task.values,
        )

    def make_webhook(self, task: Task, *, secret: str = WEBHOOK_SECRET) -> Webhook:
        """What it sends once this task, which was given an address, is over."""
        assert task.webhook is not None
        done = task.status is PredictionStatus.COMPLETED
        sent = {
            "id": task.id,
            "model": VIDEO_MODEL,
            "status": task.status.value,
            "outputs": [OUTPUT] if done else [],
            "created_at": task.created_at.isoformat(),
        }
        body, stamp = json.dumps(sent).encode(), str(int(time.time()))
        signature = "v3," + sign(secret, webhook_id="msg", timestamp=stamp, body=body)
        headers = {"webhook-id": "msg", "webhook-timestamp": stamp, "webhook-signature": signature}
        return Webhook(task.webhook.rpartition(HOOK_PATH)[2], headers, body)
