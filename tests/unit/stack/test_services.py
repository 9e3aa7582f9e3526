"""Processes under supervision, with real ones: small, quick, and gone at the end of each test."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rushes.errors import Unavailable
from sandbox.servers.folder import open_log, tail_log
from stack.services import ProcessService, describe_code
from stack.supervisor import Supervisor
from tests.support.platforms import only_where_deaths_are_signalled

ROOT = Path(__file__).resolve().parents[3]
READY = "import sys; print('ready', flush=True); "
SLEEP = f"{READY}import time; time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
WITH_CHILD = f"import subprocess; child = subprocess.Popen(['sleep', '600']); print(child.pid, flush=True); {SLEEP}"

SUPERVISE = """
import os, pathlib, sys, time
from stack.services import ProcessService
words, log = [sys.executable, "-c", sys.argv[1]], pathlib.Path(sys.argv[2])
service = ProcessService(name="x", words=words, environment=os.environ, log=log)
service.start()
print(service.pid, flush=True)
time.sleep(600)
"""


def wait_until(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[[str], ProcessService]]:
    services = []

    def start(code: str) -> ProcessService:
        service = ProcessService(
            name="child",
            words=[sys.executable, "-c", code],
            environment={"PATH": os.environ["PATH"], "COLOUR": "blue"},
            log=tmp_path / "logs" / "child.log",
            patience_seconds=5,
        )
        services.append(service)
        service.start()
        return service

    yield start
    for service in services:
        service.end()


def wait_ready(service: ProcessService) -> int:
    wait_until(lambda: "ready" in service.log.read_text())
    assert service.pid is not None
    return service.pid


def test_a_process_has_the_given_environment_and_no_other(launch: Callable[[str], ProcessService]) -> None:
    service = launch("import os; print(sorted(os.environ)); print(os.getcwd())")
    wait_until(lambda: service.find_ending() is not None)
    names, folder = service.log.read_text().splitlines()
    assert "COLOUR" in names
    assert "HOME" not in names
    assert folder == str(ROOT)


def test_a_process_has_a_session_of_its_own_that_ctrl_c_does_not_reach(
    launch: Callable[[str], ProcessService],
) -> None:
    pid = wait_ready(launch(SLEEP))
    assert os.getsid(pid) == pid


def test_the_process_id_is_that_of_the_command(launch: Callable[[str], ProcessService]) -> None:
    pid = wait_ready(launch(SLEEP))
    assert psutil.Process(pid).cmdline()[:2] == [sys.executable, "-c"]


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("pass", "exit code 0"),
    ],
)
def test_the_end_of_a_process_is_described_in_words(
    launch: Callable[[str], ProcessService], code: str, ending: str
) -> None:
    service = launch(code)
    wait_until(lambda: service.find_ending() is not None)
    assert service.find_ending() == ending
    assert service.pid is None


def test_a_request_to_stop_sends_sigterm(launch: Callable[[str], ProcessService]) -> None:
    service = launch(SLEEP)
    wait_ready(service)
    service.ask_to_stop()
    wait_until(lambda: service.find_ending() is not None)
    assert service.find_ending() == "killed by SIGTERM"


def test_a_process_that_is_ended_takes_its_children_with_it(launch: Callable[[str], ProcessService]) -> None:
    service = launch(WITH_CHILD)
    wait_ready(service)
    grandchild = int(service.log.read_text().split()[0])
    service.end()
    wait_until(lambda: is_gone(grandchild))
    assert service.find_ending() == "killed by SIGKILL"


@only_where_deaths_are_signalled
def test_a_process_dies_with_its_supervisor_even_if_it_ignores_sigterm(tmp_path: Path) -> None:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, STUBBORN, str(tmp_path / "child.log")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        wait_until(lambda: "ready" in (tmp_path / "child.log").read_text())
        supervisor.kill()
        wait_until(lambda: is_gone(pid))


def test_a_program_that_is_not_there_ends_with_a_log_that_says_so(tmp_path: Path) -> None:
    service = ProcessService(name="x", words=["/no/such/program"], environment={}, log=tmp_path / "x.log")
    service.start()
    wait_until(lambda: service.find_ending() is not None)
    assert service.find_ending() == "exit code 1"
    assert "/no/such/program" in tail_log(service.log)


def test_a_log_that_cannot_be_written_is_a_failed_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    service = ProcessService(name="x", words=["true"], environment={}, log=tmp_path / "file" / "x.log")
    with pytest.raises(Unavailable, match="x cannot be started"):
        service.start()


def test_a_supervisor_brings_a_killed_process_back_and_stops_it_for_good(
    launch: Callable[[str], ProcessService],
) -> None:
    said: list[str] = []
    service = launch(SLEEP)
    first = wait_ready(service)
    supervisor = Supervisor(said.append)
    supervisor.start(service)  # a second process of the same plan: the one that is kept
    os.kill(first, signal.SIGKILL)
    second = service.pid
    assert second is not None
    os.kill(second, signal.SIGKILL)

    def is_back() -> bool:
        supervisor.tend()
        return service.pid not in (None, second)

    wait_until(is_back)
    assert said == ["child ended (killed by SIGKILL); it is started again in 1 s", "child is started again"]
    third = service.pid
    assert third is not None
    supervisor.stop()
    assert is_gone(third)
    supervisor.tend()
    assert service.pid is None


def test_a_stubborn_process_is_killed_when_its_patience_is_over(tmp_path: Path) -> None:
    said: list[str] = []
    supervisor = Supervisor(said.append)
    service = ProcessService(
        name="mule",
        words=[sys.executable, "-c", STUBBORN],
        environment=os.environ,
        log=tmp_path / "mule.log",
        patience_seconds=0.1,
    )
    supervisor.start(service)
    pid = wait_ready(service)
    supervisor.stop()
    assert is_gone(pid)
    assert said == ["mule did not stop in 0.1 s and is killed"]


@pytest.mark.parametrize(
    ("code", "words"), [(0, "exit code 0"), (-15, "killed by SIGTERM"), (-99, "killed by signal 99")]
)
def test_codes_have_words(code: int, words: str) -> None:
    assert describe_code(code) == words


def test_a_log_is_appended_to_is_private_and_is_set_aside_when_it_is_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "logs" / "x.log"
    for _ in range(2):
        with open_log(path) as log:
            log.write(b"line\n")
    assert path.read_text() == "line\nline\n"
    assert path.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr("sandbox.servers.folder.LOG_LIMIT_BYTES", 5)
    open_log(path).close()
    assert path.read_text() == ""
    assert path.with_name("x.log.1").read_text() == "line\nline\n"


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    assert tail_log(path) == "  (nothing was logged)"
    path.write_text("".join(f"{n}\n" for n in range(100_000)))
    assert tail_log(path).splitlines()[0] == "  99985"
    assert tail_log(path).splitlines()[-1] == "  99999"
