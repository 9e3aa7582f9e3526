"""docker-compose.yml and the Dockerfile run what the code runs."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from check_jsonschema.schema_loader.main import BuiltinSchemaLoader

from rushes.settings import Settings
from stack.processes import (
    api_command,
    deliver_worker_command,
    flower_command,
    step_worker_command,
    store_worker_command,
)

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("migrate", "api", "worker", "store", "deliver", "flower")


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_the_deployment_is_a_compose_file() -> None:
    schema = BuiltinSchemaLoader("vendor.compose-spec").get_validator  # the schema that ships with check-jsonschema
    assert schema is not None
    jsonschema.Draft7Validator(load_compose_schema()).validate(json.loads(json.dumps(COMPOSE)))


def load_compose_schema() -> dict[str, Any]:
    import check_jsonschema  # noqa: PLC0415 - only its data is wanted

    found = list(Path(check_jsonschema.__file__).parent.rglob("compose-spec.json"))
    assert len(found) == 1, found
    schema: dict[str, Any] = json.loads(found[0].read_text())
    return schema


def test_the_compose_file_has_the_required_services() -> None:
    assert set(SERVICES) == {"postgres", "redis", "database-user", *OURS}


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("worker", step_worker_command(Settings())),
        ("store", store_worker_command(Settings())),
        ("deliver", deliver_worker_command(Settings())),
    ],
)
def test_workers_run_as_the_supervisor_runs_them(service: str, expected: list[str]) -> None:
    command = SERVICES[service]["command"]
    for name in ("--pool", "-Q"):
        assert option(command, name) == option(expected, name)
    assert command[:4] == expected[:4]
    assert {"--without-gossip", "--without-mingle"} <= set(command) & set(expected)


def test_the_api_and_flower_run_as_the_supervisor_runs_them() -> None:
    assert SERVICES["api"]["command"] == api_command(host="0.0.0.0", port=8000)  # noqa: S104 - inside a container
    assert SERVICES["flower"]["command"] == flower_command(address="0.0.0.0", port=5555)  # noqa: S104


def test_every_queue_has_a_consumer() -> None:
    consumed = {
        queue for name in ("worker", "store", "deliver") for queue in option(SERVICES[name]["command"], "-Q").split(",")
    }
    source = (ROOT / "workers" / "app.py").read_text()
    declared = re.search(r"^QUEUES = \((.*?)\)", source, re.MULTILINE | re.DOTALL)
    assert declared is not None
    assert consumed == set(re.findall(r'"(\w+)"', declared.group(1)))


@pytest.mark.parametrize("service", OURS)
def test_our_services_have_no_rights(service: str) -> None:
    described = SERVICES[service]
    assert not described["user"].startswith("0")
    assert described["cap_drop"] == ["ALL"]
    assert described["read_only"] is True


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_service_has_limits_and_all_that_last_a_health_check(service: str) -> None:
    assert SERVICES[service]["deploy"]["resources"]["limits"].keys() >= {"cpus", "memory"}
    assert ("healthcheck" in SERVICES[service]) is (service not in {"migrate", "database-user"})


def test_secrets_come_by_the_environment_and_must_be_given() -> None:
    for name in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "WAVESPEED_API_KEY", "RUSHES_FLOWER_PASSWORD"):
        assert set(re.findall(rf"\$\{{{name}[^}}]*\}}", TEXT)) == {f"${{{name}:?set it in .env}}"}


def test_redis_keeps_what_it_has_and_evicts_nothing() -> None:
    command = shlex.join(SERVICES["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_ports_are_open_on_loopback_alone() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_variable_that_compose_sets_is_a_setting() -> None:
    names = {name for name in SERVICES["api"]["environment"] if name.startswith("RUSHES_")}
    assert names <= {f"RUSHES_{field.upper()}" for field in Settings.model_fields}


NO_SETTINGS = {"HTTPS_PROXY", "NO_PROXY", "FLOWER_BASIC_AUTH", "FLOWER_URL_PREFIX", "TMPDIR"}
ELSEWHERE = {
    "RUSHES_DATABASE_DIRECT_URL",  # compose has no pooler
    "RUSHES_DATA_DIR",  # of `rushes up`, and so is the next
    "RUSHES_ARTIFACTS_URL",
    "RUSHES_SUBMIT_THREADS",  # here, `--concurrency` of the worker, and so are the next
    "RUSHES_WATCH_THREADS",
    "RUSHES_DELIVER_THREADS",
    "RUSHES_CALLBACK_TIME_SCALE",  # of tests
    "RUSHES_FLOWER_USER",
    "RUSHES_FLOWER_PASSWORD",
    "RUSHES_FLOWER_URL_PREFIX",
    "RUSHES_URL",  # of the command line, and so are the next
    "RUSHES_API_HEADERS",
    "RUSHES_API_KEY",
    "RUSHES_CONFIRM_ABOVE",
}


@pytest.mark.parametrize("service", OURS)
def test_every_documented_setting_reaches_every_container(service: str) -> None:
    documented = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE))
    environment = SERVICES[service]["environment"]
    assert documented - ELSEWHERE == environment.keys() - ELSEWHERE - NO_SETTINGS
    given_as_it_is = {
        name: value
        for name, value in environment.items()
        if value in {f"${{{name}:-}}", f"${{{name}:?set it in .env}}"}
    }
    assert environment.keys() - given_as_it_is.keys() <= {
        "RUSHES_DATABASE_URL",
        "RUSHES_DATABASE_OPERATOR",
        "RUSHES_DATABASE_PASSWORD",
        "RUSHES_REDIS_URL",
        "RUSHES_REDIS_PASSWORD",
        "FLOWER_BASIC_AUTH",
        "FLOWER_URL_PREFIX",
        "TMPDIR",
    }


def test_the_image_runs_as_a_user_without_rights_and_ships_what_it_needs() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    user = next(index for index, line in enumerate(lines) if line.startswith("USER "))
    assert lines[user] != "USER root"
    assert not any(line.startswith("USER root") for line in lines[user:])
    shipped = {line.split()[1].strip("./") for line in lines if line.startswith("COPY ")}
    assert {"alembic.ini", "alembic", "api", "cli", "models", "rushes", "workers"} <= shipped
    ignored = (ROOT / ".dockerignore").read_text()
    assert all(f"!{name}" in ignored for name in shipped)


def test_the_image_has_the_command_for_the_first_key() -> None:
    """It has neither the simulator nor chaos."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "from cli.main import run; run()" in dockerfile
    copied = set(re.findall(r"^COPY (\w+) ", dockerfile, re.MULTILINE))
    probe = "import sys, cli.app, cli.commands.key_bootstrap; print(*{each.partition('.')[0] for each in sys.modules})"
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert {"sandbox", "chaos"} & set(ran.stdout.split()) == set()
    assert {"api", "cli", "models", "rushes", "stack"} <= copied
