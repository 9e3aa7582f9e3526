"""The API under test: a real uvicorn in a thread, and a client that holds every answer to the OpenAPI document."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from jsonschema import Draft202012Validator, FormatChecker

from api.app import create_app
from models.db.session import Sessions
from rushes.settings import Settings
from tests.support.access import KEY, bearing

Json = dict[str, Any]

PROBLEM = "application/problem+json"
PROMPT = "a red fox in the snow"
STOP_SECONDS = 10
"""A stream that a failed test leaves open does not keep the server."""
FRAMEWORK_STATUSES = {404, 405, 500}  # of addresses and methods that no route has, and of bugs


@dataclass(frozen=True)
class Api:
    """A running API, a client for it, and its insides for what a client cannot see."""

    client: httpx.Client
    app: FastAPI

    @property
    def sessions(self) -> Sessions:
        sessions: Sessions = self.app.state.runtime.sessions
        return sessions

    def push(self, **changes: Any) -> Json:
        """Push a job and return it."""
        return self.client.post("/v1/jobs", json=new_job(**changes)).raise_for_status().json()

    def push_batch(self, name: str, jobs: list[Json]) -> Json:
        """Push a batch and return it."""
        return self.client.post("/v1/batches", json={"name": name, "jobs": jobs}).raise_for_status().json()


def new_job(**changes: Any) -> Json:
    """A job that is fine; `input` is added to a prompt."""
    given = {"prompt": PROMPT, **changes.pop("input", {})}
    return {"model": "ltx-2-pro", "input": given, **changes}


@contextmanager
def serve_api(database_url: str, data_dir: Path, **settings: Any) -> Iterator[Api]:
    """An API on a free port for as long as the block lasts."""
    app = create_app(Settings(database_url=database_url, data_dir=data_dir, **settings))
    listener = socket.create_server(("127.0.0.1", 0))
    options: dict[str, Any] = {"log_config": None, "access_log": False, "proxy_headers": False}
    server = uvicorn.Server(uvicorn.Config(app, **options, timeout_graceful_shutdown=STOP_SECONDS))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        _wait_until_started(server)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        hold = {"response": [Contract(app.openapi()).check]}
        with httpx.Client(base_url=url, timeout=60, trust_env=False, event_hooks=hold, headers=bearing(KEY)) as client:
            yield Api(client, app)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def _wait_until_started(server: uvicorn.Server, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not server.started:
        assert time.monotonic() < deadline, "the API did not start"
        time.sleep(0.005)


class Contract:
    """The OpenAPI document as a judge of answers."""

    def __init__(self, document: Json) -> None:
        self._document = document
        self._routes = [
            (re.compile(re.sub(r"\{\w+\}", "[^/]+", path.replace("{job_id}", "{job_id}(?:/[0-9]+)?"))), methods)
            for path, methods in document["paths"].items()
        ]

    def check(self, response: httpx.Response) -> None:
        """Raises AssertionError or jsonschema's ValidationError for an answer that is not documented so."""
        response.read()
        method = response.request.method.lower()
        documented = self._find_answers(method, response.request.url.path)
        answer = (documented or {}).get(str(response.status_code))
        media_type = response.headers.get("content-type", "").partition(";")[0]
        if response.status_code >= 400 and response.url.path != "/readyz" and method != "head":
            assert media_type == PROBLEM, response.text
            self.validate({"$ref": "#/components/schemas/ProblemDetails"}, response.json())
            assert answer or response.status_code in FRAMEWORK_STATUSES, f"undocumented: {response.text}"
        elif documented and method != "head" and response.content:
            assert answer, f"undocumented: {response.status_code} {response.text}"
            if media_type == "application/json":
                self.validate(answer["content"][media_type]["schema"], response.json())

    def validate(self, schema: Json, value: Any) -> None:
        """Hold a value to a schema of this document."""
        whole = {**schema, "components": self._document["components"]}
        Draft202012Validator(whole, format_checker=FormatChecker()).validate(value)

    def _find_answers(self, method: str, path: str) -> Json | None:
        for pattern, methods in self._routes:
            if pattern.fullmatch(path) and method in methods:
                answers: Json = methods[method]["responses"]
                return answers
        return None


def fields_of(response: httpx.Response) -> dict[str, str]:
    """The fields that a refusal names, with its messages."""
    return {each["field"]: each["message"] for each in response.json()["errors"]}
