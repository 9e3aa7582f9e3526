"""What the tests of the simulator talk to it with: plain HTTP, and a place that receives its callbacks."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import requests

from sandbox.wavespeed.handle import Simulator
from tests.support.http_server import serve_http

PRO = "lightricks/ltx-2-pro/text-to-video"
FAST = "lightricks/ltx-2-fast/text-to-video"
RETAKE = "lightricks/ltx-2-retake"
TERMINAL = ("completed", "failed", "cancelled", "timeout", "deleted")


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """The first true value of the condition; fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited {seconds} s in vain: {what}")


class Api:
    """The API of one simulator with the right key."""

    def __init__(self, simulator: Simulator) -> None:
        self.url = simulator.url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {simulator.api_key}"

    def post(self, path: str, body: object = None, **options: Any) -> requests.Response:
        return self.session.post(f"{self.url}/api/v3{path}", json={} if body is None else body, timeout=60, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(f"{self.url}/api/v3{path}", **{"timeout": 60, **options})

    def submit(self, model: str = PRO, *, query: dict[str, str] | None = None, **inputs: Any) -> requests.Response:
        return self.post(f"/{model}", {"prompt": "a cat on a wall", **inputs}, params=query)

    def buy(self, model: str = PRO, *, query: dict[str, str] | None = None, **inputs: Any) -> dict[str, Any]:
        """Submit, and return the task object of a good answer."""
        answer = self.submit(model, query=query, **inputs)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def get_task(self, task_id: str) -> dict[str, Any]:
        answer = self.get(f"/predictions/{task_id}/result")
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def wait(self, task_id: str) -> dict[str, Any]:
        """The task once it has a terminal status."""
        return wait_until(
            lambda: task if (task := self.get_task(task_id))["status"] in TERMINAL else None, f"the end of {task_id}"
        )

    def list(self, **query: Any) -> list[dict[str, Any]]:
        answer = self.post("/predictions", {"page": 1, "page_size": 100, **query})
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]["items"]


@dataclass
class Callback:
    headers: dict[str, str]
    body: bytes
    arrived: float = field(default_factory=time.time)


@dataclass
class Receiver:
    """What has arrived, and with which statuses to answer: those in turn, then 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    callbacks: list[Callback] = field(default_factory=list)

    def wait_for(self, count: int) -> list[Callback]:
        wait_until(lambda: len(self.callbacks) >= count, f"{count} callbacks")
        return self.callbacks


@contextmanager
def receiving_callbacks() -> Iterator[Receiver]:
    """A server for callbacks on a free port."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.callbacks.append(Callback({key.lower(): value for key, value in self.headers.items()}, body))
            self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
            self.send_header("content-length", "0")
            self.end_headers()

    with serve_http(Handler) as url:
        receiver.url = f"{url}/hook"
        yield receiver
