"""The simulator as a process: starting, stopping, dying, and coming back with its journal."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import pytest
import requests

from sandbox.wavespeed.handle import PROJECT, Simulator, SimulatorFailed
from tests.support.simulator_client import PRO, Api, wait_until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_prints_its_url_serves_and_ends_well(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sandbox.wavespeed", "--port", "0", "--api-key", "k", "--speed", "1000"]
    with subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={"TMPDIR": str(tmp_path)}
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = json.loads(process.stdout.readline())["url"]
        assert url.startswith("http://127.0.0.1:")
        headers = {"Authorization": "Bearer k"}
        task = requests.post(f"{url}/api/v3/{PRO}", headers=headers, json={"prompt": "a cat"}, timeout=60).json()[
            "data"
        ]
        video = f"{url}/output/{task['id']}.mp4"
        wait_until(lambda: requests.get(video, timeout=60).ok, "the video")
        process.send_signal(number)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""
    assert list(tmp_path.iterdir()) == []


def test_stopping_does_not_wait_for_requests_that_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.wavespeed.handle.STOP_SECONDS", 120.0)  # after which it would be killed
    with Simulator(faults={"get_hang": 1}) as simulator, ThreadPoolExecutor(1) as threads:
        hanging = threads.submit(Api(simulator).get, "/balance", timeout=300)
        wait_until(lambda: simulator.stats()["requests"].get("balance") == 1, "the request")
        began = time.monotonic()
        simulator.stop()
        assert time.monotonic() - began < 60
        with pytest.raises(requests.ConnectionError):
            hanging.result()


def test_a_killed_simulator_leaves_nothing_behind() -> None:
    with tempfile.TemporaryDirectory() as folder, patch.object(tempfile, "tempdir", folder):
        simulator = Simulator()
        simulator.start()
        assert list(Path(folder).iterdir()) != []
        simulator.kill()
        assert list(Path(folder).iterdir()) == []


def test_a_taken_port_is_an_error_that_names_it() -> None:
    with Simulator() as simulator:
        port = simulator.url.rpartition(":")[2]
        with pytest.raises(SimulatorFailed, match="ddress already in use"), Simulator(port=port):
            pass


def test_a_wrong_option_is_an_error_that_names_it() -> None:
    with pytest.raises(SimulatorFailed, match="unrecognized arguments: --colour=red"), Simulator(colour="red"):
        pass


def test_a_refused_order_is_an_error_that_tells_why() -> None:
    with Simulator() as simulator, pytest.raises(SimulatorFailed, match="unknown fault 'nonsense'"):
        simulator.set_fault("nonsense")


def test_faults_of_the_command_line_are_active_from_the_start() -> None:
    with Simulator(faults={"get_5xx": {"status": 502, "count": 1}}) as simulator:
        assert simulator.faults() == {"get_5xx": {"status": 502, "count": 1, "fired": 0}}
        assert [Api(simulator).get("/balance").status_code for _ in range(2)] == [502, 200]


def test_after_a_kill_the_journal_brings_back_tasks_and_money(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    simulator = Simulator(journal=journal, speed=500, faults={"task_slow": {"delay": 3_600, "prompt": "endless"}})
    with simulator:
        api = Api(simulator)
        finished = api.wait(api.buy()["id"])
        running = [api.buy(prompt="endless")["id"] for _ in range(3)]
        before, balance = simulator.tasks(), simulator.stats()["balance"]
        first_url = simulator.url
        simulator.kill()
        simulator.start()
        api = Api(simulator)
        assert simulator.url != first_url
        kept = ("id", "created_at", "ended", "price", "money")
        assert [[task[name] for name in kept] for task in simulator.tasks()] == [
            [task[name] for name in kept] for task in before
        ]
        assert simulator.stats()["balance"] == balance
        again = api.get_task(finished["id"])
        assert again["status"] == "completed"
        assert requests.get(again["outputs"][0], timeout=60).ok
        assert [api.get_task(each)["status"] for each in running] == ["processing"] * 3
        assert len(api.list()) == 4


def test_a_damaged_journal_stops_the_start(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.write_text("nonsense\n")
    with pytest.raises(SimulatorFailed, match="line 1 of the journal"), Simulator(journal=journal):
        pass


def test_large_videos_are_sent_at_the_rate_of_a_line() -> None:
    with Simulator(speed=1000, video_bytes=2_000_000, download_rate=4_000_000) as simulator:
        api = Api(simulator)
        video = api.wait(api.buy()["id"])["outputs"][0]
        requests.get(video, timeout=60)  # the first one is encoded
        began = time.monotonic()
        answer = requests.get(video, timeout=60)
        assert time.monotonic() - began >= 0.4
    assert len(answer.content) == int(answer.headers["content-length"]) == 2_000_000
