"""The scenario `callbacks`: a receiver that wants every event of a run's jobs, and what it has missed in the end."""

import json
import random
import time
from collections import defaultdict
from typing import Self

from chaos.farm import Farm
from chaos.queries import list_job_events
from cli.api import open_api
from models.db.errors import DatabaseAway
from models.db.session import transaction
from rushes.monitoring.audit import Finding
from rushes.settings import Settings
from sandbox.receiver import ReceivedCall, Receiver, ReceiverReply

FAILS, HANGS_UP = 0.1, 0.02
PATIENCE_SECONDS = 180.0
"""A callback whose worker was killed is sent again after 45 s."""
PAUSE_SECONDS = 0.2
EXAMPLES = 5


class CallbackCheck:
    """Answers some callbacks with 500, and hangs up on some, while it is entered."""

    def __init__(self, *, seed: int) -> None:
        self._chance = random.Random(f"callbacks:{seed}")  # noqa: S311 - not for secrets
        self._receiver = Receiver(self._answer)

    def __enter__(self) -> Self:
        self._receiver.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._receiver.__exit__(*error)

    def subscribe(self, settings: Settings) -> None:
        """Ask for every event of the jobs that are pushed from now on."""
        with open_api(settings) as client:
            client.post("endpoints", body={"url": self._receiver.url, "kinds": ["job.*"]})

    def wait(self, farm: Farm) -> None:
        """Keep the farm alive until every event has arrived, or no longer than `PATIENCE_SECONDS`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._find_missing(farm) and time.monotonic() < deadline:
            farm.tend()
            time.sleep(PAUSE_SECONDS)

    def list_findings(self, farm: Farm) -> list[Finding]:
        """What has not arrived, or not in the order of its job."""
        missing, disorder = sorted(self._find_missing(farm)), self._find_disorder()
        return [
            _describe("callbacks_arrive", "an event of a job has not arrived at the endpoint", missing),
            _describe("callbacks_in_order", "a callback arrived after a later one of its job", disorder),
        ]

    def _answer(self, _: ReceivedCall) -> ReceiverReply:
        luck = self._chance.random()
        return ReceiverReply(500 if luck < FAILS else 0 if luck < FAILS + HANGS_UP else 200)

    def _find_missing(self, farm: Farm) -> set[int]:
        try:
            with transaction(farm.sessions) as session:
                wanted = list_job_events(session)
        except DatabaseAway:
            return {0}
        return wanted - {_read(call)[1] for call in self._receiver.taken}

    def _find_disorder(self) -> list[int]:
        last: defaultdict[str, int] = defaultdict(int)
        seen: set[int] = set()
        wrong = []
        for call in self._receiver.taken:
            job, event_id = _read(call)
            if event_id not in seen and event_id < last[job]:
                wrong.append(event_id)
            seen.add(event_id)
            last[job] = max(last[job], event_id)
        return wrong


def _read(call: ReceivedCall) -> tuple[str, int]:
    """The job and the event of a callback."""
    data = json.loads(call.body)["data"]
    return data["job_id"], data["event_id"]


def _describe(name: str, sentence: str, events: list[int]) -> Finding:
    return Finding(name, sentence, len(events), tuple(f"event {each}" for each in events[:EXAMPLES]))
