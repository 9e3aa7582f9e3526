"""Push jobs, wait for them, follow what happens to them, and fetch their videos."""

import contextlib
import gzip
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar, overload
from uuid import UUID

from rushes_client.connection import Connection, Json, make_once
from rushes_client.downloading import StoredFile, fetch
from rushes_client.errors import ApiAway, ClientError
from rushes_client.models import ENDED, Batch, Event, Job
from rushes_client.streaming import follow

PATIENCE_SECONDS = 300.0
"""How long a request is repeated while the API is away."""
PIECE = 5_000
"""Jobs in one request of a large push."""
AT_ONCE = 4
"""Files that are fetched at the same time."""
CHECK_SECONDS = 0.25

Found = TypeVar("Found")


class Rushes(Connection):
    """The API of Rushes. `patience` is how many seconds a request is repeated while the API is away.

    Each push carries an Idempotency-Key, so a repetition buys nothing twice. Raises `Declined` for what the API refuses
    and `ApiAway` once the patience is over.
    """

    patience: float = PATIENCE_SECONDS

    @classmethod
    def from_environment(cls) -> Self:
        """Use `RUSHES_URL`, `RUSHES_API_KEY` and `RUSHES_CA_FILE`."""
        url = os.environ.get("RUSHES_URL") or "http://127.0.0.1:8000"
        key, ca_file = os.environ.get("RUSHES_API_KEY") or None, os.environ.get("RUSHES_CA_FILE") or None
        return cls(url, key=key, ca_file=ca_file)

    def push(
        self,
        model: str,
        input: Mapping[str, Any],  # noqa: A002 - the API's name for it
        *,
        once: str | None = None,
        **more: Any,
    ) -> Job:
        """Push one job and return it once it is durable.

        `more` may hold `client_ref`, `metadata`, `priority`, `max_attempts` and `on_conflict`. With a key of your own
        (`once`) a repetition by another process buys nothing either.
        """
        body, once = {"model": model, "input": dict(input), **more}, once or make_once()
        return Job.model_validate(self._insist(lambda: self.post("jobs", body=body, once=once)))

    def push_many(
        self,
        jobs: Iterable[Mapping[str, Any]],
        *,
        name: str,
        finish_by: datetime | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> Batch:
        """Push a batch of jobs, each as the API takes it, in pieces. It may be a generator of any length.

        The same call again, also by another process, continues after the last job that is stored, and buys nothing
        twice. So the jobs must come in the same order each time. `defaults` hold what the jobs leave out.
        """
        opening: Json = {"finish_by": finish_by.isoformat()} if finish_by else {}
        opening |= {"defaults": dict(defaults)} if defaults else {}
        digest = hashlib.sha256(json.dumps([name, opening]).encode()).hexdigest()
        opening |= {"name": name, "digest": digest, "on_repeat": "same_name"}
        once = make_once()
        batch = self._insist(lambda: self.post("batches", body=opening, once=once))
        if batch["state"] == "open":
            batch = self._fill(batch, jobs)
        return Batch.model_validate(batch)

    def _fill(self, batch: Json, jobs: Iterable[Mapping[str, Any]]) -> Json:
        for piece in cut_pieces(jobs, start=batch["jobs"], size=PIECE):
            self._insist(partial(self.send_lines, batch["id"], piece.lines, first=piece.first))
        return self._insist(lambda: self.post("batches", batch["id"], "seal"))

    def send_lines(self, batch_id: str, lines: bytes, *, first: int) -> Json:
        """Add jobs as lines of JSON to an open batch. `first` is the number that the first of them gets.

        The key is made from that number: the jobs with these numbers are stored once, whoever sends them again.
        """
        headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
        # The same bytes each time: a repetition is recognised by them.
        content = gzip.compress(lines, compresslevel=6, mtime=0)
        return self.send("batches", batch_id, "jobs", content=content, headers=headers, once=f'"{batch_id}-{first}"')

    def get_job(self, job_id: UUID | str) -> Job:
        """Return a job by its id or `BATCH/NUMBER`."""
        parts = str(job_id).split("/")
        return Job.model_validate(self._insist(lambda: self.get("jobs", *parts)))

    def get_batch(self, name: str) -> Batch:
        """Return a batch by its name or id."""
        return Batch.model_validate(self._insist(lambda: self.get("batches", name)))

    def list_jobs(self, **chosen: Any) -> Iterator[Job]:
        """Yield jobs by the filters of `GET /v1/jobs`, such as `batch`, `state`, `client_ref` and `ended_after`."""
        return map(Job.model_validate, self.list_items("jobs", limit=None, **chosen))

    def find_cursor(self) -> int:
        """Return the cursor of now, for `events` to begin with."""
        return int(self._insist(lambda: self.get("events", after="latest", limit=1))["cursor"])

    def events(
        self, *, after: int | None = None, kinds: Sequence[str] = (), batch: str | None = None
    ) -> Iterator[Event]:
        """Yield what happens to your jobs, for ever, beginning after the event with the id `after`.

        Without `after` it begins with the oldest event. Store the id of the last event that you have handled: whoever
        continues from it misses nothing. `kinds` are names such as `job.succeeded` or `job.*`.
        """
        return (event for event in follow(self, after=after, kinds=kinds, batch=batch) if event is not None)

    def as_completed(self, what: Batch | Iterable[Job], *, timeout: float | None = None) -> Iterator[Job]:
        """Yield each job of a batch, or each of these jobs, when it has ended.

        Raises `TimeoutError` if some have not ended after `timeout` seconds.
        """
        cursor, batch = self.find_cursor(), what.name if isinstance(what, Batch) else None
        left = set()
        for job in list(self.list_jobs(batch=batch)) if isinstance(what, Batch) else map(self._renew, what):
            if job.has_ended:
                yield job
            else:
                left.add(job.id)
        if not left:
            return
        for event in self._follow_ends(cursor, batch, deadline=_find_deadline(timeout)):
            if event.job_id in left:
                left.remove(event.job_id)
                yield self.get_job(event.job_id)
            if not left:
                return

    def _follow_ends(self, cursor: int, batch: str | None, *, deadline: float) -> Iterator[Event]:
        """Yield the ends of jobs, and what happens to the batch as a whole. Raises `TimeoutError` at the deadline."""
        kinds = [*(f"job.{state}" for state in sorted(ENDED)), *(["batch.*"] if batch else [])]
        with contextlib.closing(follow(self, after=cursor, kinds=kinds, batch=batch, deadline=deadline)) as steps:
            for event in steps:
                if event is not None:
                    yield event
                if time.monotonic() >= deadline:
                    raise TimeoutError("some jobs have not ended in time")

    def _renew(self, job: Job) -> Job:
        return job if job.has_ended else self.get_job(job.id)

    @overload
    def wait(self, what: Job, *, timeout: float | None = None) -> Job: ...
    @overload
    def wait(self, what: Batch, *, timeout: float | None = None) -> Batch: ...
    def wait(self, what: Job | Batch, *, timeout: float | None = None) -> Job | Batch:
        """Wait until a job or every job of a batch has ended, and return it. Raises `TimeoutError`."""
        if isinstance(what, Job):
            return next(self.as_completed([what], timeout=timeout))
        deadline = _find_deadline(timeout)
        while True:
            cursor, found = self.find_cursor(), self.get_batch(what.name)
            if found.has_ended:
                return found
            ended: set[UUID] = set()
            for event in self._follow_ends(cursor, found.name, deadline=deadline):
                if event.job_id is not None:
                    ended.add(event.job_id)
                if event.job_id is None or len(ended) >= found.jobs - found.done:
                    break

    def download(self, what: Job | Batch, folder: Path | str) -> list[Path]:
        """Fetch the videos of a job or a batch into a folder and return their paths. Complete files are kept.

        Raises `ClientError` for a job without a video; such jobs of a batch are left out.
        """
        jobs = [self._renew(what)] if isinstance(what, Job) else list(self.list_jobs(batch=what.name))
        files = [
            StoredFile(str(job.id), "video", job.video.file_name, job.video.bytes, job.video.sha256)
            for job in jobs
            if job.video is not None and job.video.removed_at is None
        ]
        if isinstance(what, Job) and not files:
            raise ClientError(f"job {what.id} is {jobs[0].state} and has no video")
        Path(folder).mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return [path for path, _ in pool.map(lambda file: self._fetch(file, Path(folder)), files)]

    def _fetch(self, file: StoredFile, folder: Path) -> tuple[Path, bool]:
        return self._insist(lambda: fetch(self, file, folder))

    def _insist(self, call: Callable[[], Found]) -> Found:
        """Repeat a call while the API is away. A change must carry the same key each time."""
        deadline, pause = time.monotonic() + self.patience, CHECK_SECONDS
        while True:
            try:
                return call()
            except ApiAway as error:
                wait = error.retry_after or pause
                if time.monotonic() + wait > deadline:
                    raise
                time.sleep(wait)
                pause = min(2 * pause, 30.0)


class Piece(NamedTuple):
    """Jobs that are sent in one request: the numbers of the first and the last of them, and a line of JSON for each."""

    first: int
    last: int
    lines: bytes


def cut_pieces(jobs: Iterable[Mapping[str, Any]], *, start: int, size: int) -> Iterator[Piece]:
    """Yield the jobs after the first `start` in pieces of at most `size`."""
    lines = (f"{json.dumps(job, allow_nan=False)}\n" for job in islice(jobs, start, None))
    while piece := [*islice(lines, size)]:
        first, start = start + 1, start + len(piece)
        yield Piece(first, start, "".join(piece).encode())


def _find_deadline(timeout: float | None) -> float:
    return math.inf if timeout is None else time.monotonic() + timeout
