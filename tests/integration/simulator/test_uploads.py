"""The simulator's uploads, fact by fact: a form, or a ticket and a PUT without a key."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.wavespeed.handle import Simulator
from tests.support.simulator_client import Api, wait_until

I2V = "lightricks/ltx-2-fast/image-to-video"
CONTENT = os.urandom(20_000) + b"\r\n\n\r--x\r\n"


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    with Simulator(speed=400, submits_per_minute=10_000) as running:
        yield running


def send_form(simulator: Simulator, part: tuple[str, bytes] | tuple[str, bytes, str]) -> requests.Response:
    return requests.post(
        f"{simulator.url}/api/v3/media/upload/binary",
        files={"file": part},
        headers={"Authorization": f"Bearer {simulator.api_key}"},
        timeout=30,
    )


def ask_ticket(simulator: Simulator, **body: Any) -> requests.Response:
    return requests.post(
        f"{simulator.url}/api/v3/media/uploads",
        json={"filename": "a.png", "size": len(CONTENT)} | body,
        headers={"Authorization": f"Bearer {simulator.api_key}"},
        timeout=30,
    )


def test_a_part_without_a_content_type_is_stored_as_it_came(simulator: Simulator) -> None:
    data = send_form(simulator, ("a.png", CONTENT)).json()["data"]
    assert {name: data[name] for name in ("type", "filename", "size")} == {
        "type": "image",
        "filename": "a.png",
        "size": len(CONTENT),
    }
    assert requests.get(data["download_url"], timeout=30).content == CONTENT


def test_a_part_with_a_content_type_needs_no_known_ending(simulator: Simulator) -> None:
    assert send_form(simulator, ("clip", CONTENT, "video/mp4")).json()["data"]["type"] == "video"
    assert send_form(simulator, ("notes.txt", CONTENT)).status_code == 400


def test_a_ticket_takes_its_file_with_its_headers_and_without_a_key(simulator: Simulator) -> None:
    data = ask_ticket(simulator, content_type="image/png").json()["data"]
    place = data["upload"]
    assert place["method"] == "PUT"
    key = {"Authorization": f"Bearer {simulator.api_key}"}
    for headers in ({}, place["headers"] | key, {"Content-Type": "image/jpeg"}):
        assert requests.put(place["url"], CONTENT, headers=headers, timeout=30).status_code == 403
    assert requests.put(place["url"], CONTENT + b"x", headers=place["headers"], timeout=30).status_code == 400
    assert requests.get(data["download_url"], timeout=30).status_code == 404
    assert requests.put(place["url"], CONTENT, headers=place["headers"], timeout=30).ok
    assert requests.get(data["download_url"], timeout=30).content == CONTENT


def test_a_file_above_300_mb_is_refused_with_413(simulator: Simulator) -> None:
    answer = ask_ticket(simulator, size=300_000_001)
    assert (answer.status_code, answer.json()["code"]) == (413, 413)


def test_an_upload_needs_the_key(simulator: Simulator) -> None:
    assert requests.post(f"{simulator.url}/api/v3/media/uploads", json={}, timeout=30).status_code == 401


def render(api: Api, image: str) -> dict[str, Any]:
    """A render of this image, once it is over."""
    answer = api.post(f"/{I2V}", {"image": image, "prompt": "a"}).json()["data"]
    found: dict[str, Any] = {}

    def is_over() -> bool:
        found.update(api.get(f"/predictions/{answer['id']}/result").json()["data"])
        return found["status"] in {"completed", "failed"}

    wait_until(is_over, "the render ends")
    return found


def test_a_render_of_an_upload_that_does_not_exist_fails_with_1402(simulator: Simulator, api: Api) -> None:
    kept = send_form(simulator, ("a.png", CONTENT)).json()["data"]["download_url"]
    assert render(api, kept)["status"] == "completed"
    lost = render(api, f"{simulator.url}/media/{'0' * 32}/a.png")
    assert (lost["status"], lost["code"]) == ("failed", 1402)


def test_an_upload_outlives_a_restart_but_not_seven_days(tmp_path: Path) -> None:
    with Simulator(journal=tmp_path / "journal", speed=400) as first:
        address = send_form(first, ("a.png", CONTENT)).json()["data"]["download_url"].removeprefix(first.url)
    with Simulator(journal=tmp_path / "journal", speed=400, retention=7 * 86_400) as second:
        assert requests.get(second.url + address, timeout=30).content == CONTENT
        (file,) = (tmp_path / "media").iterdir()
        old = file.stat().st_mtime - 7 * 86_400 - 60
        os.utime(file, (old, old))
        assert requests.get(second.url + address, timeout=30).status_code == 404
        assert render(Api(second), second.url + address)["code"] == 1402
