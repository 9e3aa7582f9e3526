"""Who gets in: the key of the account to the API, this machine alone to the control API."""

import asyncio

import pytest
from starlette.types import Message

from sandbox.wavespeed.http.server import create_app
from sandbox.wavespeed.settings import SimulatorSettings


def get(path: str, *, client: str = "127.0.0.1", key: str = "first") -> int:
    """The status of a GET with this key from this address."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "root_path": "",
        "query_string": b"",
        "scheme": "http",
        "server": ("192.0.2.1", 80),
        "client": (client, 5_000),
        "headers": [(b"authorization", f"Bearer {key}".encode())],
    }
    asyncio.run(create_app(SimulatorSettings(api_key="first"))(scope, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize("client", ["10.1.2.3", "2001:db8::1"])
@pytest.mark.parametrize("path", ["/sim/stats", "/sim/tasks", "/sim/faults"])
def test_other_machines_are_refused(client: str, path: str) -> None:
    assert get(path, client=client) == 403


@pytest.mark.parametrize("client", ["127.0.0.1", "::1"])
def test_this_machine_is_not_refused(client: str) -> None:
    assert get("/sim/stats", client=client) == 200


def test_other_machines_reach_the_api_itself() -> None:
    assert get("/api/v3/balance", client="10.1.2.3") == 200


@pytest.mark.parametrize(("key", "status"), [("first", 200), ("firs", 401), ("", 401), ("schlüssel", 401)])
def test_the_key_of_the_account_and_no_other_is_good(key: str, status: int) -> None:
    assert get("/api/v3/balance", key=key) == status
    assert get("/sim/stats", key=key) == 200
