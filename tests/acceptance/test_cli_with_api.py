"""The commands against the real API on a real database, without a worker."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from cli.app import main
from sandbox.servers import EmbeddedPostgres
from sandbox.servers.ports import PortHold
from stack.ports import find_free_port
from stack.processes import api_command, run_as_module
from tests.support.access import KEY
from tests.support.cli_process import ROOT, clean_environment, run_rushes
from tests.support.cli_stub import UUID

EXAMPLES = ROOT / "examples"


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[str]:
    """The API's URL."""
    port = find_free_port("127.0.0.1", 0)
    hold = PortHold()
    hold.take(port)
    url = f"http://127.0.0.1:{port}"
    environment = clean_environment({"RUSHES_DATABASE_URL": database_url, "RUSHES_DATA_DIR": str(tmp_path / "data")})
    with (tmp_path / "api.log").open("wb") as log:
        command = run_as_module(api_command(host="127.0.0.1", port=port))
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        wait_for_api(url, tmp_path / "api.log")
        yield url
    finally:
        process.terminate()
        process.wait(60)
        hold.release()


def wait_for_api(url: str, log: Path) -> None:
    with requests.Session() as session:
        retries = requests.adapters.Retry(total=None, connect=200, backoff_factor=0.1, backoff_max=0.5)
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retries))
        assert session.get(f"{url}/readyz", timeout=60).ok, log.read_text()


def test_every_command_agrees_with_the_api(
    api: str,
    postgres: EmbeddedPostgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUSHES_URL", api)
    monkeypatch.setenv("RUSHES_API_KEY", KEY)

    def run(*words: str, code: int = 0) -> str:
        ended = main(list(words))
        out, err = capsys.readouterr()
        assert ended == code, out + err
        return out if "--json" in words else out + err

    estimated = json.loads(run("estimate", str(EXAMPLES / "prompts.jsonl"), "--json"))
    assert (estimated["jobs"], estimated["cost"]) == (24, "8.8600")
    pushed = json.loads(run("submit", str(EXAMPLES / "prompts.jsonl"), "-b", "pilot", "--priority", "3", "--json"))
    assert (pushed["name"], pushed["jobs"], pushed["states"]["queued"]) == ("pilot", 24, 24)
    assert pushed["cost"]["estimated"] == estimated["cost"]
    assert "a batch named 'pilot' exists already" in run("submit", str(EXAMPLES / "prompts.csv"), "-b", "pilot", code=2)
    assert "batch  prompts-20" in run(
        "submit", str(EXAMPLES / "prompts.txt"), "-m", "ltx-2-fast", "--max-attempts", "1"
    )
    assert "0 of 24 ended: 24 queued" in run("batch", "show", "pilot")
    assert len(run("batch", "list").splitlines()) == 3
    jobs = json.loads(run("job", "list", "--batch", "pilot", "--model", "ltx-2-retake", "--json"))["items"]
    assert [job["number"] for job in jobs] == [24, 23, 22]
    chosen = jobs[0]["id"]
    assert "no dispatcher is at work" in run("job", "show", chosen)
    assert f"job {chosen} is cancelled" in run("job", "cancel", chosen)
    assert "error: " in run("job", "cancel", chosen, code=2)
    assert f"job {chosen} is queued" in run("job", "retry", chosen)
    kinds = [event["kind"] for event in json.loads(run("job", "show", chosen, "--json"))["events"]]
    assert kinds[0] == "job.pushed"
    assert len(kinds) == 3
    assert "ltx-2-retake" in run("catalog")
    assert "there is no job" in run("job", "show", UUID, code=2)
    assert "error: " in run("job", "show", "nonsense", code=2)
    assert "error: " in run("batch", "show", "no-such-batch", code=2)

    postgres.stop()
    monkeypatch.setattr("cli.pieces.PAUSES_SECONDS", ())
    said = run("submit", str(EXAMPLES / "prompts.csv"), code=3)
    assert "\nerror: " in said
    assert "hint: run the same command again" in said


def test_the_doctor_says_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    ended = run_rushes(
        "doctor",
        "--json",
        folder=tmp_path,
        RUSHES_DATABASE_URL="postgresql://me:hidden@127.0.0.1:9/rushes",
        RUSHES_REDIS_URL="redis://:hidden@127.0.0.1:9/0",
        RUSHES_WAVESPEED_URL="http://127.0.0.1:9",
        WAVESPEED_API_KEY="hidden",
        RUSHES_URL="http://127.0.0.1:9",
        RUSHES_ARTIFACTS_URL="file:///proc/nowhere",
    )
    assert ended.returncode == 1
    checks = {check["name"]: check for check in json.loads(ended.stdout)["checks"]}
    assert {name: check["status"] for name, check in checks.items()} == {
        "settings": "ok",
        "database": "failed",
        "redis": "failed",
        "provider": "failed",
        "disk": "failed",
        "api": "failed",
    }
    assert all(check["advice"] for name, check in checks.items() if name != "settings")
    assert "hidden" not in ended.stdout + ended.stderr


def test_the_doctor_names_a_setting_that_is_wrong(tmp_path: Path) -> None:
    ended = run_rushes("doctor", folder=tmp_path, RUSHES_SLOTS="many")
    assert ended.returncode == 1
    assert "RUSHES_SLOTS" in ended.stdout


def test_the_doctor_reports_missing_migrations_and_missing_workers(
    postgres: EmbeddedPostgres, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    def diagnose(url: str) -> dict[str, str]:
        ended = run_rushes("doctor", "--json", folder=tmp_path, RUSHES_DATABASE_URL=url, RUSHES_REDIS_URL=redis_url)
        return {check["name"]: check["status"] for check in json.loads(ended.stdout)["checks"]}

    empty = diagnose(postgres.url)
    assert (empty["database"], empty["migrations"], empty["redis"]) == ("ok", "failed", "ok")
    assert "workers" not in empty
    idle = diagnose(database_url)
    assert (idle["migrations"], idle["dispatcher"], idle["workers"]) == ("ok", "failed", "failed")
    assert idle["provider"] == "warning"
