"""Outputs that nothing decodes: kept, shown and downloaded through API and CLI, and accepted by a later probe."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from cli.app import main
from models import Prediction, transitions
from models.db.session import transaction
from rushes.artifacts import probe as video
from rushes.runtime import Runtime
from rushes.storing.failures import StoreDelayed, StoreFailed
from rushes.storing.store import store_output
from tests.support import rows
from tests.support.access import KEY
from tests.support.api_server import Api, serve_api
from tests.support.output_host import OutputHost
from tests.support.runtimes import LEASE, change, finish_actions
from tests.support.videos import make_video

JOBS = 20


@pytest.fixture
def api(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    with serve_api(database_url, tmp_path) as served:
        monkeypatch.setenv("RUSHES_URL", str(served.client.base_url))
        monkeypatch.setenv("RUSHES_API_KEY", KEY)
        yield served


@pytest.fixture
def batch(runtime: Runtime, host: OutputHost, tmp_path: Path) -> dict[UUID, bytes]:
    """The jobs of the batch `pilot`, each with the bytes of its output."""
    film = make_video(tmp_path / "film.mp4", audio=False).read_bytes()
    with transaction(runtime.sessions) as session:
        account = rows.add_account(session)
        batch = rows.insert(session, "batch", name="pilot", job_count=JOBS)
        outputs = {}
        for number in range(1, JOBS + 1):
            job = rows.add_job(session, "storing", batch_id=batch, number=number)
            outputs[job] = film + (12).to_bytes(4) + b"free" + number.to_bytes(4)  # a box, so that no two are equal
            address = host.offer(f"{number}.mp4", outputs[job])
            rows.add_prediction(session, job, account, "completed", outputs=[address])
    return outputs


def store_all(runtime: Runtime) -> list[str]:
    """Every store step that waits, now; how each ended."""
    change(runtime, "prediction", Prediction.due_at.is_not(None), due_at=rows.NOW)
    with transaction(runtime.sessions) as session:
        claimed = transitions.claims.claim_stores(session, count=50, lease=LEASE)
    ended = []
    for each in claimed:
        try:
            store_output(runtime, each.prediction_id, each.claim, must_stop=lambda: False)
            ended.append("stored")
        except (StoreDelayed, StoreFailed) as error:
            ended.append(type(error).__name__)
    return ended


@contextmanager
def acting(runtime: Runtime) -> Iterator[None]:
    """Actions are carried out, as the leader does."""
    over = threading.Event()

    def act() -> None:
        while not over.wait(0.05):
            finish_actions(runtime.sessions)

    with ThreadPoolExecutor(1) as leader:
        done = leader.submit(act)
        try:
            yield
        finally:
            over.set()
        done.result(timeout=60)


def call(*words: str) -> None:
    assert main(list(words)) == 0


def test_twenty_unreadable_outputs_are_kept_and_accepted_by_a_later_probe(
    runtime: Runtime,
    host: OutputHost,
    api: Api,
    batch: dict[UUID, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(video, "CONTAINERS", "gif")  # a probe that has not learned MP4 yet
        assert store_all(runtime) == ["StoreDelayed"] * JOBS
        assert store_all(runtime) == ["StoreFailed"] * JOBS
        assert store_all(runtime) == []
    assert host.downloads.total() == 2 * JOBS

    for job_id, body in batch.items():
        shown = api.client.get(f"/v1/jobs/{job_id}").json()
        assert (shown["state"], shown["error"]["code"], shown["video"]) == ("failed", "output_unverified", None)
        fetched = api.client.get(shown["unverified"]["url"])
        assert fetched.content == body
        assert fetched.headers["content-type"] == "application/octet-stream"
        assert fetched.headers["content-disposition"].startswith("attachment")

    kept = tmp_path / "kept"
    call("batch", "download", "pilot", str(kept), "--unverified")
    assert sorted(path.read_bytes() for path in kept.glob("*.unverified")) == sorted(batch.values())
    first = next(iter(batch))
    call("job", "download", str(first), "--to", str(tmp_path / "one"))
    assert [path.read_bytes() for path in (tmp_path / "one").iterdir()] == [batch[first]]
    call("job", "show", str(first))
    said = capsys.readouterr().out
    assert f"{host.url}/1.mp4" in said
    assert "/unverified" in said

    with acting(runtime):
        call("job", "recheck", "--batch", "pilot", "--code", "output_unverified")
    assert "20 of 20 jobs probed again" in capsys.readouterr().out
    assert store_all(runtime) == ["stored"] * JOBS
    assert host.downloads.total() == 2 * JOBS
    assert api.client.get("/v1/batches/pilot").json()["states"]["succeeded"] == JOBS
    videos = tmp_path / "videos"
    call("batch", "download", "pilot", str(videos))
    assert sorted(path.read_bytes() for path in videos.glob("*.mp4")) == sorted(batch.values())


@pytest.mark.parametrize(
    ("path", "body", "status", "reported"),
    [
        (f"/v1/jobs/{UUID(int=7)}/recheck", None, 404, "there is no job"),
    ],
)
def test_a_recheck_that_cannot_be_says_why(api: Api, path: str, body: object, status: int, reported: str) -> None:
    answer = api.client.post(path, json=body)
    assert answer.status_code == status
    assert reported in answer.text


def test_a_recheck_needs_jobs_or_a_filter(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["job", "recheck"]) == 2
    assert main(["job", "recheck", str(UUID(int=7)), "--batch", "pilot"]) == 2
    assert "give either job ids, or --batch and/or --code" in capsys.readouterr().err


def test_a_job_without_a_file_is_named_by_its_download(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = api.push()["id"]
    assert main(["job", "download", job_id, "--to", str(tmp_path)]) != 0
    assert f"job {job_id} is queued: there is no file" in capsys.readouterr().err
