"""The API behind proxies: its links, and whose headers it believes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.api_server import Api, serve_api

FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7", "X-Forwarded-User": "mara"}
BASE = "https://render.example.com/rushes"


Serve = Callable[..., Api]


@pytest.fixture
def serve(database_url: str, tmp_path: Path) -> Iterator[Serve]:
    """Starts an API with these settings."""
    with ExitStack() as exits:
        yield lambda **settings: exits.enter_context(serve_api(database_url, tmp_path, **settings))


def push(api: Api, **changes: str) -> dict[str, str]:
    headers = FORWARDED | changes
    pushed = api.client.post("/v1/jobs", json={"model": "ltx-2-fast", "input": {"prompt": "a fox"}}, headers=headers)
    job = f"/v1/jobs/{pushed.json()['id']}"
    assert api.client.post(f"{job}/cancel", headers=headers).status_code == 202
    history = api.client.get(f"{job}/events").json()["items"]
    return {"location": pushed.headers["location"], "by": history[-1]["detail"]["by"]}


def test_without_settings_links_have_the_requests_own_address(serve: Serve) -> None:
    api = serve()
    seen = push(api)
    assert seen["location"].startswith(str(api.client.base_url.join("/v1/jobs/")))
    assert seen["by"] == "default/tests"


@pytest.mark.parametrize("proxies", ["127.0.0.1", "10.0.0.7, 127.0.0.0/8"])
def test_a_trusted_proxy_names_the_scheme_and_the_person(serve: Serve, proxies: str) -> None:
    seen = push(serve(trusted_proxies=proxies))
    assert seen["location"].startswith("https://127.0.0.1:")
    assert seen["by"] == "mara with default/tests"


def test_a_long_name_of_a_person_leaves_the_key_s_name_whole(serve: Serve) -> None:
    seen = push(serve(trusted_proxies="127.0.0.1"), **{"X-Forwarded-User": "m" * 500})
    assert seen["by"] == "m" * 60 + " with default/tests"


def test_an_untrusted_proxy_is_not_believed(serve: Serve) -> None:
    seen = push(serve(trusted_proxies="10.0.0.0/8"))
    assert seen["location"].startswith("http://127.0.0.1:")
    assert seen["by"] == "default/tests"


def test_every_link_begins_with_the_base(serve: Serve) -> None:
    api = serve(api_base=f"{BASE}/")
    assert push(api)["location"].startswith(f"{BASE}/v1/jobs/")
    batch = {"name": "night", "jobs": [{"model": "ltx-2-fast", "input": {"prompt": "a fox"}}]}
    assert api.client.post("/v1/batches", json=batch).headers["location"] == f"{BASE}/v1/batches/night"
    assert api.client.get("/openapi.json").json()["servers"] == [{"url": BASE}]


def test_the_docs_name_their_parts_relative_to_themselves(serve: Serve) -> None:
    page = serve(api_base=BASE).client.get("/docs").text
    assert "docs/assets/swagger-ui-bundle.js" in page
    assert '"/docs/assets' not in page
    assert "'/openapi.json'" not in page
