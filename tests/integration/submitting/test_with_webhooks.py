"""Every submission carries an address of its own once a public URL is set; nothing else about it changes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from models import queries, transitions
from models.db.session import transaction
from rushes.runtime import ACCOUNT, Runtime
from rushes.settings import Settings
from rushes.submitting.submit import SubmitRefused, SubmitUnconfirmed, submit_prediction
from rushes.wavespeed.callback_urls import HOOK_PATH, read_token
from tests.support import rows
from tests.support.scripted_provider import TASK, envelope
from tests.support.scripted_server import Peer, Received, ScriptedServer, answering

INPUT = {"prompt": "a fox", "duration": 6, "generate_audio": True}


@contextmanager
def submitted(
    database_url: str, tmp_path: Path, script: Any, **settings: Any
) -> Iterator[tuple[Runtime, Any, Received]]:
    """One submission; the runtime, its row afterwards, and what the provider received."""
    with ScriptedServer(script) as server:
        chosen = Settings(
            database_url=database_url,  # type: ignore[arg-type]
            wavespeed_api_key="wsk-of-a-test",  # type: ignore[arg-type]
            wavespeed_url=server.url,
            data_dir=tmp_path,
            **settings,
        )
        runtime = Runtime.open(chosen, threads=2, application="test")
        with transaction(runtime.sessions) as session:
            account = transitions.accounts.ensure_account(session, ACCOUNT, slots=5, submits_per_minute=60)
            rows.add_job(session, input=INPUT)
            transitions.admission.count_free_slots(session, account)
            transitions.admission.admit_jobs(session, account, count=1)
            (claimed,) = transitions.admission.claim_submits(session, account, count=1, lease=30 * rows.SECOND)
        reported: list[str] = []
        try:
            reported.append(submit_prediction(runtime, claimed.prediction_id, claimed.claim))
        except (SubmitRefused, SubmitUnconfirmed) as error:
            reported.append(str(error))
        with transaction(runtime.sessions) as session:
            row: Any = dict(rows.read(session, "prediction", claimed.prediction_id)) | {"reported": reported[0]}
            row["events"] = str(rows.list_events(session))
        yield runtime, row, server.requests[0]
        runtime.close()


def token_of(request: Received) -> str:
    (address,) = parse_qs(urlsplit(request.target).query)["webhook"]
    assert address.startswith(f"https://rushes.example/farm{HOOK_PATH}")
    return address.rpartition("/")[2]


def test_a_submission_carries_the_token_of_its_prediction_and_job(database_url: str, tmp_path: Path) -> None:
    accepted = answering((200, envelope(TASK)))
    with submitted(database_url, tmp_path, accepted, public_url="https://rushes.example/farm/") as (
        runtime,
        row,
        request,
    ):
        with transaction(runtime.sessions) as session:
            secret = queries.webhooks.find_hook_secret(session, ACCOUNT)
        assert secret
        assert read_token(token_of(request), secret=secret) == (row["id"], row["job_id"])
        assert (row["state"], row["hook_asked"]) == ("rendering", True)
        assert request.json == INPUT
        assert token_of(request) not in row["reported"] + row["events"]


def test_a_submission_without_a_public_url_has_no_webhook_address(database_url: str, tmp_path: Path) -> None:
    with submitted(database_url, tmp_path, answering((200, envelope(TASK)))) as (_, row, request):
        assert (urlsplit(request.target).query, row["hook_asked"]) == ("", False)


def refuse_with_the_address(peer: Peer) -> None:
    request = peer.read_request()
    assert request is not None
    (address,) = parse_qs(urlsplit(request.target).query)["webhook"]
    peer.answer(400, envelope(None, 400, f"bad webhook {address}"))


def cut_the_answer(peer: Peer) -> None:
    peer.read_request()
    peer.reset()


@pytest.mark.parametrize("script", [refuse_with_the_address, cut_the_answer])
def test_the_token_is_in_no_error_and_no_row(database_url: str, tmp_path: Path, script: Any) -> None:
    with submitted(database_url, tmp_path, script, public_url="https://rushes.example/farm") as (_, row, request):
        assert row["state"] in {"refused", "unconfirmed"}
        assert token_of(request) not in str(row)
