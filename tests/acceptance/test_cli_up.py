"""`rushes up` as a person uses it: everything comes up, is found, comes back, and goes away."""

import contextlib
import json
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import requests

from rushes.settings import SERVICES_FILE
from tests.support.cli_process import QUICK, Rushes, find_left, run_rushes, start_rushes
from tests.support.platforms import only_where_deaths_are_signalled
from tests.support.servers import every_connection
from tests.support.simulator_client import wait_until

ANY_PORT = ("--port", "0", "--flower-port", "0", "--simulator-port", "0")
READY = "ready; Ctrl-C stops everything"


class Up(NamedTuple):
    """A stack that is up, and where its data is."""

    rushes: Rushes
    folder: Path

    def url_of(self, name: str) -> str:
        return next(line.split()[1] for line in self.rushes.lines if line.startswith(f"{name} "))

    def find_process(self, words: str) -> psutil.Process:
        children = psutil.Process(self.rushes.process.pid).children()
        for child in children:
            with contextlib.suppress(psutil.Error):  # another one may end at this moment
                if words in " ".join(child.cmdline()):
                    return child
        raise AssertionError(f"no process of {words}")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One stack for this file, whose first choice of a port was taken; the last test that uses it stops it."""
    folder = tmp_path_factory.mktemp("up")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        more = QUICK | {"RUSHES_FLOWER_URL_PREFIX": "/ops/flower"}
        with start_rushes("up", "--workers", "2", "--port", port, *ANY_PORT[2:], folder=folder, **more) as rushes:
            rushes.wait_for(READY)
            rushes.wait_for(f"port {port} is in use: the API listens at ")
            yield Up(rushes, folder)


def test_the_stack_says_where_it_listens_and_that_nothing_is_spent(up: Up) -> None:
    up.rushes.wait_for("no WAVESPEED_API_KEY: rendering with the simulator, nothing is spent")
    assert requests.get(f"{up.url_of('API')}/readyz", timeout=60).status_code == 200
    assert requests.get(up.url_of("docs"), timeout=60).status_code == 200
    assert up.url_of("videos") == (up.folder / ".rushes" / "artifacts").as_uri()


def test_flower_wants_the_password_that_only_the_owner_may_read(up: Up) -> None:
    password = up.folder / ".rushes" / "flower.password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert up.url_of("Flower").endswith("/ops/flower/")
    url = up.url_of("Flower") + "api/workers"
    assert requests.get(url, timeout=60).status_code == 401
    assert requests.get(url, auth=("operator", password.read_text().strip()), timeout=60).status_code == 200


def test_other_commands_in_the_folder_find_the_stack_and_render_with_it(up: Up) -> None:
    (up.folder / "prompts.txt").write_text("a fox in the snow\na hen at noon\n")
    ended = run_rushes("submit", "prompts.txt", "-m", "ltx-2-fast", "-b", "pilot", "--wait", folder=up.folder)
    assert ended.returncode == 0, ended.stderr
    assert "2 of 2 ended: 2 succeeded" in ended.stdout
    videos = sorted((up.folder / ".rushes" / "artifacts" / "pilot").glob("*.mp4"))
    assert [path.name for path in videos] == ["1-a-fox-in-the-snow.mp4", "2-a-hen-at-noon.mp4"]
    listed = json.loads(run_rushes("job", "list", "--batch", "pilot", "--json", folder=up.folder).stdout)["items"]
    shown = run_rushes("job", "show", listed[-1]["id"], folder=up.folder).stdout
    assert ["file", videos[0].as_uri()] in [line.split() for line in shown.splitlines()]
    assert "prediction.posted" in shown
    answered = "/v1/hooks/wavespeed/{token}"
    log = up.folder / ".rushes" / "logs" / "api.log"
    up.rushes.wait_until(
        lambda: any(answered in line and "204" in line for line in log.read_text().splitlines()),
        what="the API has taken a webhook from the simulator",
    )


def test_commands_from_another_folder_show_the_server_s_paths(up: Up, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a fox in the snow\n")
    data = up.folder / ".rushes"
    there = {"RUSHES_URL": up.url_of("API"), "RUSHES_API_KEY": (data / "api.key").read_text().strip()}
    words = ("submit", "prompts.txt", "-m", "ltx-2-fast", "-b", "away", "--wait")
    shown = [run_rushes(*words, folder=tmp_path, **there) for words in (words, ("job", "show", "away/1"))]
    shown.append(run_rushes("doctor", folder=tmp_path, RUSHES_DATA_DIR=str(data)))
    assert [ended.returncode for ended in shown] == [0, 0, 0], shown
    assert f"{data}/artifacts/away\n" in shown[0].stdout
    assert f"{data.as_uri()}/artifacts/away/1-a-fox-in-the-snow.mp4\n" in shown[1].stdout
    assert f"the data folder is {data}\n" in shown[2].stdout
    assert not any(str(tmp_path) in ended.stdout + ended.stderr for ended in shown)


def test_the_doctor_finds_nothing_wrong_and_tells_no_secret(up: Up) -> None:
    ended = run_rushes("doctor", "--json", folder=up.folder)
    found = json.loads(ended.stdout)
    assert {check["name"]: check["status"] for check in found["checks"] if check["status"] == "failed"} == {}
    assert (ended.returncode, found["ok"]) == (0, True)
    services = (up.folder / ".rushes" / SERVICES_FILE).read_text()
    secrets = [part.split(":")[1] for part in services.split("@")[:-1] for part in [part.rsplit("//", 1)[1]]]
    assert len(secrets) == 2
    for secret in (*secrets, "simulator'"):
        assert secret not in ended.stdout + ended.stderr


def test_doctor_and_audit_connect_when_every_connection_is_taken(up: Up) -> None:
    services = (up.folder / ".rushes" / SERVICES_FILE).read_text()
    url = next(line.split("'")[1] for line in services.splitlines() if line.startswith("RUSHES_DATABASE_URL="))
    with contextlib.ExitStack() as taken:

        def find_checks() -> dict[str, dict[str, str]] | None:
            taken.enter_context(every_connection(url))  # again: the stack may have closed some meanwhile
            found = json.loads(run_rushes("doctor", "--json", folder=up.folder).stdout)
            checks = {check["name"]: check for check in found["checks"]}
            is_full = "has no free connection for the API and the workers" in checks["database"]["message"]
            return checks if is_full else None

        checks = wait_until(find_checks, "doctor meets a full database", seconds=90)
        assert run_rushes("audit", folder=up.folder).returncode == 0
    assert checks["migrations"]["status"] == checks["dispatcher"]["status"] == checks["workers"]["status"] == "ok"


def test_the_file_of_servers_is_readable_by_the_owner_alone(up: Up) -> None:
    assert stat.S_IMODE((up.folder / ".rushes" / SERVICES_FILE).stat().st_mode) == 0o600


def test_a_second_stack_in_the_same_folder_is_refused_and_harms_nothing(up: Up) -> None:
    ended = run_rushes("up", *ANY_PORT, folder=up.folder)
    assert ended.returncode == 1
    assert f"a stack runs in .rushes already (process {up.rushes.process.pid})" in ended.stderr
    assert "hint: stop that one first, or set RUSHES_DATA_DIR to another folder" in ended.stderr
    assert requests.get(f"{up.url_of('API')}/readyz", timeout=60).status_code == 200


@pytest.mark.parametrize(("words", "name"), [("main1@", "worker-main1"), ("valkey-server", "Valkey")])
def test_a_killed_process_comes_back_and_that_is_said(up: Up, words: str, name: str) -> None:
    killed = up.find_process(words)
    killed.kill()
    up.rushes.wait_for(f"{name} ended (")
    up.rushes.wait_for(f"{name} is started again")
    assert up.find_process(words).pid != killed.pid


def test_ctrl_c_stops_everything_and_exits_with_0(up: Up) -> None:
    assert len(find_left(up.folder)) >= 8
    up.rushes.interrupt()
    assert up.rushes.wait() == 0
    assert up.rushes.lines[-2:] == ["stopping", "stopped"]
    assert find_left(up.folder) == []
    assert not (up.folder / ".rushes" / SERVICES_FILE).exists()


def test_a_start_that_fails_stops_what_it_had_started_and_says_why(tmp_path: Path) -> None:
    journal = tmp_path / ".rushes" / "simulator" / "journal"
    journal.mkdir(parents=True)
    ended = run_rushes("up", *ANY_PORT, folder=tmp_path, **QUICK)
    assert ended.returncode == 1
    assert "error: simulator ended (exit code 1) before the stack was ready; the last lines of " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "hint: the lines above say why" in ended.stderr
    assert find_left(tmp_path) == []
    assert not (tmp_path / ".rushes" / SERVICES_FILE).exists()


def test_a_database_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    ended = run_rushes(
        "up", *ANY_PORT, folder=tmp_path, RUSHES_DATABASE_URL="postgresql://me:hidden@127.0.0.1:9/rushes", **QUICK
    )
    assert ended.returncode == 3
    assert "error: the database at 127.0.0.1:9 cannot be reached" in ended.stderr
    assert "hidden" not in ended.stderr
    assert find_left(tmp_path) == []


@only_where_deaths_are_signalled
def test_no_process_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    with start_rushes("up", *ANY_PORT, folder=tmp_path, **QUICK) as rushes:
        rushes.wait_for(READY)
        rushes.process.send_signal(signal.SIGKILL)
        rushes.wait_until(lambda: find_left(tmp_path) == [], what="everything is gone")


def test_processes_of_the_api_share_a_port_and_one_may_die(tmp_path: Path) -> None:
    with start_rushes("up", "--api-processes", "2", *ANY_PORT, folder=tmp_path) as rushes:
        rushes.wait_for(READY)
        running = Up(rushes, tmp_path)
        url = running.url_of("API")
        running.find_process("api.serve").kill()
        rushes.wait_for(" ended (killed by SIGKILL)")
        for _ in range(20):
            assert requests.get(f"{url}/healthz", timeout=30).ok
        rushes.wait_for("is started again")
        rushes.interrupt()
        assert rushes.wait() == 0
    assert find_left(tmp_path) == []
