"""The usual way with Celery: one task per video, which submits it, polls until it is done and downloads it.

    python -m bench.peers.plain_celery --url http://127.0.0.1:9000 --key KEY --broker redis://127.0.0.1:6379/0 \\
        --folder videos --concurrency 100

It follows the guides of Celery and of the provider: late acknowledgement, so that a task survives its worker;
`autoretry_for` with back-off and jitter for every network error; GETs that are retried in place, so that a failing
check does not restart the task; timeouts on every request, a limit on the whole wait, and a file that appears complete
or not at all. Its design limits it: a waiting render holds a thread, and only that thread knows the prediction's id, so
a task that starts again (its worker died, its POST got no answer) buys again.

For `celery -A bench.peers.plain_celery worker`, the environment sets the same options: the fields of `Options`, as
`PLAIN_URL` and so on. `push_jobs` sends work. A finished video is `{job}.mp4` in the folder; `sightings` holds the
time at which its end was known.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import requests
from celery import Celery, Task
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from bench.peers.sightings import note_sighting

QUEUE = "plain"
RENDER = "plain.render"
DEFAULT_MODEL = "lightricks/ltx-2-fast/text-to-video"
DOWNLOAD_ATTEMPTS = 4
ENDED = ("completed", "failed", "cancelled", "timeout", "deleted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a worker; times are in seconds."""

    url: str = "http://127.0.0.1:9000"
    key: str = ""
    broker: str = "redis://127.0.0.1:6379/0"
    folder: str = "."
    concurrency: int = 8
    poll_seconds: float = 5.0
    """Time between two checks. The provider asks for 5 or more; its own client uses 1."""
    submit_seconds: float = 60.0
    """The longest wait for the answer to a submission."""
    wait_seconds: float = 1_800.0
    """The longest wait for one render."""
    visibility_seconds: int = 3_600
    """Time after which Redis gives a dead worker's tasks to others; a task that takes longer runs twice."""
    retry_seconds: int = 60
    """The longest pause between two attempts of a task."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Options":
        """The defaults, overridden by the `PLAIN_...` variables."""
        kinds = {name: type(default) for name, default in asdict(cls()).items()}
        given = {name: environment.get(f"PLAIN_{name.upper()}") for name in kinds}
        return cls(**{name: kinds[name](value) for name, value in given.items() if value is not None})

    def to_environment(self) -> dict[str, str]:
        """The variables from which `from_environment` reads the same options."""
        return {f"PLAIN_{name.upper()}": str(value) for name, value in asdict(self).items()}


class VideoMissing(Exception):
    """The provider reports that the render ended without a video. Not retried: it may have been charged."""


class RenderTooLong(Exception):
    """No outcome within the longest wait. Not retried: the render may still be running."""


def create_app(options: Options) -> Celery:
    """Celery set up as its guide recommends for long tasks that must not get lost."""
    app = Celery("plain", broker=options.broker)
    app.conf.update(
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_transport_options={"visibility_timeout": options.visibility_seconds},
        broker_connection_retry_on_startup=True,
    )
    return app


options = Options.from_environment(os.environ)
app = create_app(options)


@app.task(
    bind=True,
    name=RENDER,
    autoretry_for=(requests.RequestException,),
    retry_backoff=True,
    retry_backoff_max=options.retry_seconds,
    retry_jitter=True,
    max_retries=20,
)
def render(self: Task[Any, Any], job: str, prompt: str, model: str = DEFAULT_MODEL) -> None:
    """Render one prompt into `{job}.mp4`."""
    with open_session(options.key) as session:
        prediction = submit(session, model, prompt)
        answer = wait_for(session, prediction)
        note_sighting(Path(options.folder), job=job, prediction=prediction, status=answer["status"])
        if answer["status"] != "completed":
            raise VideoMissing(f"{prediction} {answer['status']}: {answer['error']}")
        download(session, answer["outputs"][0], Path(options.folder) / f"{job}.mp4")


def open_session(key: str) -> requests.Session:
    """A session that retries GETs, but never a POST, on network and server errors."""
    session = requests.Session()
    session.trust_env = False
    session.headers["Authorization"] = f"Bearer {key}"
    retry = Retry(total=5, backoff_factor=1, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=["GET"])
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def submit(session: requests.Session, model: str, prompt: str) -> str:
    """Buy one render and return the prediction's id."""
    answer = session.post(
        f"{options.url}/api/v3/{model}", json={"prompt": prompt}, timeout=(10, options.submit_seconds)
    )
    answer.raise_for_status()
    return str(answer.json()["data"]["id"])


def wait_for(session: requests.Session, prediction: str) -> dict[str, Any]:
    """Poll every few seconds until the provider has an outcome."""
    deadline = time.monotonic() + options.wait_seconds
    while time.monotonic() < deadline:
        time.sleep(options.poll_seconds)
        answer = session.get(f"{options.url}/api/v3/predictions/{prediction}/result", timeout=(10, 30))
        answer.raise_for_status()
        data: dict[str, Any] = answer.json()["data"]
        if data["status"] in ENDED:
            return data
    raise RenderTooLong(f"{prediction}: no outcome within {options.wait_seconds:g} s")


def download(session: requests.Session, url: str, path: Path) -> None:
    """Download the video, again if it is cut off; the file appears when it is complete."""
    unfinished = path.with_suffix(".part")
    for attempt in range(1, DOWNLOAD_ATTEMPTS + 1):
        try:
            fetch(session, url, unfinished)
            break
        except requests.RequestException:
            if attempt == DOWNLOAD_ATTEMPTS:
                raise
            time.sleep(2**attempt)
    unfinished.replace(path)


def fetch(session: requests.Session, url: str, path: Path) -> None:
    """One attempt at a download. The key is not sent to the content delivery network."""
    answer = session.get(url, stream=True, timeout=(10, 30), headers={"Authorization": None})
    with answer, path.open("wb") as file:
        answer.raise_for_status()
        for chunk in answer.iter_content(2**16):
            file.write(chunk)


def push_jobs(broker: str, prompts: Mapping[str, str]) -> None:
    """Queue one task per job: its name and its prompt."""
    with Celery("pusher", broker=broker) as pusher, pusher.producer_or_acquire() as producer:
        for job, prompt in prompts.items():
            pusher.send_task(RENDER, (job, prompt), queue=QUEUE, producer=producer)


def run_worker(chosen: Options) -> NoReturn:
    """Become a Celery worker with these options, under the same process id."""
    words = ["-m", "celery", "-A", "bench.peers.plain_celery", "worker", "--pool", "threads"]
    words += ["-c", str(chosen.concurrency), "-Q", QUEUE, "--without-gossip", "--without-mingle", "-l", "WARNING"]
    os.execve(sys.executable, [sys.executable, *words], os.environ | chosen.to_environment())  # noqa: S606 - no shell


def read_options(arguments: list[str] | None = None) -> Options:
    """The options of a command line, which override those of the environment."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.plain_celery")
    for name, value in asdict(options).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    return Options(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    run_worker(read_options())
