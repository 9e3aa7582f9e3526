"""The example programs with the Python client, against a running stack."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from rushes_client import Declined, Rushes
from sandbox.servers.ports import free_port
from tests.support.cli_process import QUICK, start_rushes
from tests.support.simulator_client import wait_until

PROGRAMS = Path(__file__).resolve().parents[2] / "examples" / "programs"
PROMPTS = [f"a lighthouse in storm {number}" for number in range(12)]


class Farm(NamedTuple):
    """A stack that is up, and how programs reach it."""

    environment: dict[str, str]

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, PROGRAMS / program, *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, check=False)

    def start(self, program: str, *words: str, **more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-u", PROGRAMS / program, *words]
        return subprocess.Popen(command, env=self.environment | more, stdout=subprocess.PIPE, text=True)

    @contextlib.contextmanager
    def open_client(self) -> Iterator[Rushes]:
        with Rushes(self.environment["RUSHES_URL"], key=self.environment["RUSHES_API_KEY"]) as rushes:
            yield rushes


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    folder = tmp_path_factory.mktemp("programs")
    ports = ("--port", "0", "--flower-port", "0", "--simulator-port", "0")
    # The receiver of callbacks listens on loopback.
    with start_rushes("up", *ports, folder=folder, RUSHES_URL_ALLOW="127.0.0.1", **QUICK) as rushes:
        rushes.wait_for("ready; Ctrl-C stops everything")
        url = next(line.split()[1] for line in rushes.lines if line.startswith("API "))
        key = next(folder.rglob("api.key")).read_text().strip()
        yield Farm({**os.environ, "RUSHES_URL": url, "RUSHES_API_KEY": key})


def has_video(rushes: Rushes, batch: str) -> bool:
    with contextlib.suppress(Declined):  # it is not there yet
        return any(job.video for job in rushes.list_jobs(batch=batch))
    return False


def test_a_nightly_batch_that_is_killed_continues_when_it_is_run_again(farm: Farm, tmp_path: Path) -> None:
    prompts, videos = tmp_path / "prompts.txt", tmp_path / "videos"
    prompts.write_text("\n\n".join(PROMPTS))
    words = (str(prompts), str(videos), "nightly-test")
    killed = farm.start("nightly_batch.py", *words)
    with farm.open_client() as rushes:
        wait_until(lambda: has_video(rushes, "nightly-test"), "a video")
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        again = farm.run("nightly_batch.py", *words)
        assert (again.returncode, again.stderr) == (0, "nightly-test: 12 jobs\n")
        assert sorted(path.name for path in videos.iterdir()) == [f"shot-{number:04}.mp4" for number in range(1, 24, 2)]
        assert len(list(rushes.list_jobs(batch="nightly-test"))) == 12


def test_prompts_of_a_thread_pool_are_bought_once_however_often_it_runs(farm: Farm, tmp_path: Path) -> None:
    first = farm.run("from_thread_pool.py", str(tmp_path), *PROMPTS[:4])
    second = farm.run("from_thread_pool.py", str(tmp_path), *PROMPTS[:5])
    assert (first.returncode, second.returncode, first.stderr, second.stderr) == (0, 0, "", "")
    assert {line.split("\t")[0] for line in second.stdout.splitlines()} == set(PROMPTS[:5])
    with farm.open_client() as rushes:
        assert sum(job.batch is None for job in rushes.list_jobs()) == 5


def test_a_service_with_callbacks_fetches_each_video_once(farm: Farm, tmp_path: Path) -> None:
    port, videos = free_port(), tmp_path / "videos"
    with farm.open_client() as rushes:
        endpoint = rushes.post("endpoints", body={"url": f"http://127.0.0.1:{port}/", "kinds": ["job.*"]})
        service = farm.start("callback_service.py", str(port), str(videos), ENDPOINT_SECRET=endpoint["secret"])
        try:
            jobs = [rushes.push("ltx-2-fast", {"prompt": prompt}) for prompt in PROMPTS[:3]]
            assert service.stdout is not None
            fetched = {Path(service.stdout.readline().strip()) for _ in jobs}
            files = [rushes.get_job(job.id).video for job in jobs]
            assert {path.name for path in fetched} == {file.file_name for file in files if file is not None}
            assert set(videos.iterdir()) == fetched
        finally:
            service.kill()
            service.communicate()
