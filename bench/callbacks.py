"""`python -m bench callbacks`: 10,000 callbacks to a bad receiver, and how late those of a good one are meanwhile."""

import json
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import requests
from rich.console import Console
from standardwebhooks import Webhook

from bench.rushes_stack import find_headers, open_stack, order
from bench.tables import Table
from rushes.settings import Settings
from sandbox.receiver import ReceivedCall, Receiver, ReceiverReply

CALLBACKS = "callbacks"
ENDPOINTS = 10
JOBS, JOBS_QUICK = 250, 25
KINDS = ("job.reprioritized", "job.paused", "job.resumed")
CHANGES: tuple[dict[str, Any], ...] = (
    {"kind": "priority", "priority": 1},
    {"kind": "pause"},
    {"kind": "resume"},
    {"kind": "priority", "priority": 2},
)
"""What is done to each job, one event each."""
TIME_SCALE = 1 / 200
"""The first retry comes after 25 ms, the fifth after 36 s, and a callback is given up after 22 minutes."""
FAILS, HANGS = 0.5, 0.1
HANG_SECONDS = 1.5
"""A tenth of the time after which Rushes ends an attempt. The connection is then closed without an answer."""
MOST_FAILURES = 5
"""A callback fails at most this often, so that none is given up by chance."""
DOWN_FROM_SECONDS, DOWN_SECONDS = 10.0, 60.0
PROBE_SECONDS = 0.25
PATIENCE_SECONDS = 1_500.0
ALLOWED_P99_SECONDS = 2.0


@dataclass
class Verifier:
    """Verifies each callback by the public package, as it comes."""

    secrets: dict[str, str] = field(default_factory=dict)  # by path
    forged: list[str] = field(default_factory=list)

    def check(self, call: ReceivedCall) -> int:
        try:
            Webhook(self.secrets[call.path]).verify(call.body, dict(call.headers))
        except Exception as error:  # noqa: BLE001 - the package raises several
            self.forged.append(str(error))
        return 200


@dataclass
class BadReceiver:
    """Answers half with 500, hangs on a tenth, and is down for a minute."""

    verifier: Verifier
    chance: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 - not for secrets
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    down_from: float = float("inf")
    down_for: float = DOWN_SECONDS

    def answer(self, call: ReceivedCall) -> ReceiverReply:
        if self.down_from <= call.at < self.down_from + self.down_for:
            return ReceiverReply(0)
        self.verifier.check(call)
        key, luck = (call.path, call.webhook_id), self.chance.random()
        if self.failures[key] >= MOST_FAILURES or luck >= FAILS + HANGS:
            return ReceiverReply(200)
        self.failures[key] += 1
        return ReceiverReply(500) if luck < FAILS else ReceiverReply(0, hang=HANG_SECONDS)


class Api:
    """The stack's API."""

    def __init__(self, settings: Settings) -> None:
        self._url = f"{settings.url}/v1"
        self._session = requests.Session()
        self._session.headers.update(find_headers(settings))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer = self._session.post(f"{self._url}/{path}", json=body, timeout=60)
        answer.raise_for_status()
        return dict(answer.json())


class Prober(threading.Thread):
    """Cancels a new job four times a second: an event that only the good endpoint wants."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(daemon=True)
        self._api = Api(settings)
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(PROBE_SECONDS):
            job = self._api.post("jobs", order("a probe"))
            self._api.post(f"jobs/{job['id']}/cancel")

    def stop(self) -> None:
        self._over.set()
        self.join()


def measure_callbacks(*, quick: bool, console: Console) -> list[Table]:
    """Send them from a whole stack; the schedule of retries is scaled down."""
    jobs = JOBS_QUICK if quick else JOBS
    verifier = Verifier()
    bad = BadReceiver(verifier, down_for=DOWN_SECONDS / 10 if quick else DOWN_SECONDS)
    with (
        Receiver(bad.answer) as receiver,
        Receiver(verifier.check) as good,
        open_stack(url_allow="127.0.0.1", callback_time_scale=TIME_SCALE) as stack,
    ):
        api = Api(stack.settings)
        for number in range(ENDPOINTS):
            _add_endpoint(api, verifier, f"{receiver.url}/{number}", KINDS)
        _add_endpoint(api, verifier, f"{good.url}/good", ["job.cancelled"])
        prober = Prober(stack.settings)
        prober.start()
        began = time.monotonic()
        bad.down_from = began + (DOWN_FROM_SECONDS / 10 if quick else DOWN_FROM_SECONDS)
        _make_events(api, jobs)
        wanted = ENDPOINTS * jobs * len(CHANGES)
        seconds = _wait(receiver, wanted, began=began, rest=stack.rest, console=console)
        prober.stop()
        time.sleep(ALLOWED_P99_SECONDS)
    return [_make_table(receiver, good, wanted=wanted, forged=len(verifier.forged), seconds=seconds)]


def _add_endpoint(api: Api, verifier: Verifier, url: str, kinds: Sequence[str]) -> None:
    made = api.post("endpoints", {"url": url, "kinds": list(kinds)})
    verifier.secrets[f"/{url.rpartition('/')[2]}"] = made["secret"]


def _make_events(api: Api, jobs: int) -> None:
    api.post("batches", {"name": "bench", "jobs": [order(f"take {number}") for number in range(jobs)]})
    for change in CHANGES:
        api.post("actions", {"filter": {"batch": "bench"}, **change})


def _wait(receiver: Receiver, wanted: int, *, began: float, rest: Callable[[float], None], console: Console) -> float:
    """Wait until all have been taken. Returns how many seconds that took."""
    shown_at = began
    while len(_list_taken(receiver)) < wanted:
        rest(1.0)
        now = time.monotonic()
        if now > began + PATIENCE_SECONDS:
            break
        if now > shown_at + 15:
            taken, attempts = len(_list_taken(receiver)), len(receiver.calls)
            console.print(f"{now - began:.0f} s: {taken:,} of {wanted:,}, {attempts:,} attempts")
            shown_at = now
    return time.monotonic() - began


def _list_taken(receiver: Receiver) -> set[tuple[str, str]]:
    """The endpoints and ids of those that were taken, each once."""
    return {(each.path, each.webhook_id) for each in receiver.taken}


def _make_table(receiver: Receiver, good: Receiver, *, wanted: int, forged: int, seconds: float) -> Table:
    taken = _list_taken(receiver)
    delays = sorted(_measure_delay(each) for each in good.taken)
    p50, p99 = (delays[min(len(delays) - 1, int(len(delays) * share))] for share in (0.5, 0.99))
    rows = (
        ("callbacks taken", f"{len(taken):,}", f"{wanted:,}"),
        ("attempts", f"{len(receiver.calls):,}", ""),
        ("order violations", f"{_count_disorder(receiver)}", "0"),
        ("wrong signatures", f"{forged}", "0"),
        ("seconds", f"{seconds:.0f}", ""),
        ("attempts per second", f"{len(receiver.calls) / seconds:.0f}", ""),
        (f"good endpoint: p50 s of {len(delays)}", f"{p50:.2f}", ""),
        ("good endpoint: p99 s", f"{p99:.2f}", f"{ALLOWED_P99_SECONDS:.2f}"),
        ("good endpoint: longest s", f"{delays[-1]:.2f}", ""),
    )
    title = f"{CALLBACKS}: {ENDPOINTS} endpoints whose receiver fails, hangs and is down, next to a good one"
    return Table(title, ("figure", "measured", "wanted"), rows)


def _count_disorder(receiver: Receiver) -> int:
    """How many callbacks were first taken after a later one of the same job and endpoint."""
    last: defaultdict[tuple[str, str], int] = defaultdict(int)
    seen, wrong = set(), 0
    for call in receiver.taken:
        if (call.path, call.webhook_id) in seen:
            continue
        seen.add((call.path, call.webhook_id))
        data = json.loads(call.body)["data"]
        key = (call.path, data["job_id"])
        wrong += data["event_id"] < last[key]
        last[key] = max(last[key], data["event_id"])
    return wrong


def _measure_delay(call: ReceivedCall) -> float:
    """Seconds from the event to its arrival."""
    happened = datetime.fromisoformat(json.loads(call.body)["timestamp"]).timestamp()
    return time.time() - (time.monotonic() - call.at) - happened
