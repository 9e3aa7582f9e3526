"""The document keeps its word."""

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from rushes.settings import Settings
from tests.support.api_server import PROBLEM, Contract, Json


@cache
def document() -> Json:
    """Of an API whose database does not exist: nothing connects before the first request."""
    return create_app(Settings(database_url="postgresql://127.0.0.1:1/none", data_dir=Path("nowhere"))).openapi()


def operations() -> list[Any]:
    found = [
        pytest.param(path, route, id=f"{method} {path}")
        for path, methods in document()["paths"].items()
        for method, route in methods.items()
    ]
    assert len(found) == 64
    return found


def examples_of(content: Json) -> Iterator[tuple[Json, Any]]:
    for media in content.values():
        if "example" in media:
            yield media["schema"], media["example"]
        for named in media.get("examples", {}).values():
            yield media["schema"], named["value"]


@pytest.mark.parametrize(("path", "route"), operations())
def test_every_route_is_described(path: str, route: Json) -> None:
    assert route["summary"]
    assert route["description"]
    assert route["tags"]
    assert all(each["description"] for each in route.get("parameters", []))
    assert len(route.get("parameters", [])) >= path.count("{")


@pytest.mark.parametrize(("path", "route"), operations())
def test_every_json_body_has_examples_that_keep_its_schema(path: str, route: Json) -> None:
    contents = [answer["content"] for answer in route["responses"].values() if "content" in answer]
    contents += [route["requestBody"]["content"]] if "requestBody" in route else []
    for content in contents:
        examples = list(examples_of(content))
        assert examples or not any("json" in kind for kind in content), f"{path}: {content}"
        for schema, example in examples:
            Contract(document()).validate(schema, example)


@pytest.mark.parametrize(("path", "route"), operations())
def test_every_error_is_a_problem(path: str, route: Json) -> None:
    errors = {status: answer for status, answer in route["responses"].items() if status >= "400"}
    if path == "/readyz":
        errors.pop("503")  # is an answer there, in the same shape as 200
    for status, answer in errors.items():
        assert list(answer["content"]) == [PROBLEM], status
        assert answer["content"][PROBLEM]["schema"] == {"$ref": "#/components/schemas/ProblemDetails"}
        assert str(answer["content"][PROBLEM]["example"]["status"]) == status


def test_every_shape_that_is_referred_to_is_there() -> None:
    names = set(re.findall(r"#/components/schemas/(\w+)", str(document())))
    assert names == set(document()["components"]["schemas"])


def test_the_api_needs_neither_celery_nor_redis() -> None:
    probe = "import sys, api.app; print(*sorted({'celery', 'kombu', 'redis'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""
