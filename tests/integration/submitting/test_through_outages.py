"""A provider that answers 5xx: the account waits if it asks for that, if a probe fails, and after two lost answers."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from models import transitions
from models.db.session import transaction
from rushes.account_status import Condition, find_account_status
from rushes.runtime import ACCOUNT, Runtime
from rushes.settings import Settings
from rushes.submitting.submit import SubmitNotSent, SubmitUnconfirmed, submit_prediction
from rushes.timing import SUBMIT_NOT_SENT
from rushes.wavespeed.answers import NotSent
from tests.support.rows import SECOND
from tests.support.runtimes import ask, change, claim_submits, push, wish
from tests.support.scripted_server import Peer, Script, ScriptedServer

SLOTS = 4


def answering_503(retry_after: str | None) -> Script:
    def script(peer: Peer) -> None:
        peer.read_request()
        headers = {"Retry_After": retry_after} if retry_after else {}
        peer.answer(503, b"<html>down for maintenance</html>", **headers)

    return script


@contextmanager
def runtime_at(script: Script, database_url: str, folder: Path) -> Iterator[Runtime]:
    with ScriptedServer(script) as server:
        settings = Settings(
            database_url=database_url,  # type: ignore[arg-type]
            data_dir=folder,
            wavespeed_api_key="wsk_1",  # type: ignore[arg-type]
            wavespeed_url=server.url,
        )
        runtime = Runtime.open(settings, threads=2, application="test")
        yield runtime
        runtime.close()


def open_account(runtime: Runtime) -> UUID:
    with transaction(runtime.sessions) as session:
        return transitions.accounts.ensure_account(session, ACCOUNT, slots=SLOTS, submits_per_minute=60)


def submit_without_answer(runtime: Runtime, account: UUID, *, count: int = 1) -> None:
    """`count` jobs are pushed and posted, and none is answered with a task."""
    push(runtime, *(wish(str(number)) for number in range(count)))
    for claimed in claim_submits(runtime, account, count=count):
        with pytest.raises(SubmitUnconfirmed):
            submit_prediction(runtime, claimed.prediction_id, claimed.claim)


def read_back_off(runtime: Runtime) -> tuple[Any, ...]:
    """Back-offs in a row, why, and for how much longer."""
    ((*reported,),) = ask(runtime, "SELECT back_offs, back_off_reason, back_off_until - now() FROM account")
    return tuple(reported)


def count_free(runtime: Runtime, account: UUID) -> int:
    with transaction(runtime.sessions) as session:
        room = transitions.admission.count_free_slots(session, account)
    assert room is not None
    return room.count_admissible(SLOTS)


def test_a_503_with_a_retry_after_holds_the_account_for_that_time(database_url: str, tmp_path: Path) -> None:
    with runtime_at(answering_503("600"), database_url, tmp_path) as runtime:
        account = open_account(runtime)
        submit_without_answer(runtime, account)
        back_offs, reason, left = read_back_off(runtime)
        assert (back_offs, reason) == (1, "unreachable")
        assert timedelta(minutes=9) < left < timedelta(minutes=11)
        assert count_free(runtime, account) == 0
        assert ask(runtime, "SELECT state FROM prediction") == [("unconfirmed",)]


def test_a_lost_answer_alone_holds_nothing(database_url: str, tmp_path: Path) -> None:
    with runtime_at(answering_503(None), database_url, tmp_path) as runtime:
        account = open_account(runtime)
        submit_without_answer(runtime, account)
        assert read_back_off(runtime) == (0, None, None)
        assert count_free(runtime, account) == SLOTS - 1


def test_the_second_lost_answer_in_a_row_holds_the_account(database_url: str, tmp_path: Path) -> None:
    with runtime_at(answering_503(None), database_url, tmp_path) as runtime:
        account = open_account(runtime)
        submit_without_answer(runtime, account, count=2)
        back_offs, reason, _ = read_back_off(runtime)
        assert (back_offs, reason) == (1, "unreachable")
        with transaction(runtime.sessions) as session:
            status = find_account_status(session, ACCOUNT)
        assert status.condition is Condition.PROVIDER_UNREACHABLE
        assert "503" in status.message


class SlowNetwork:
    """A client that is connected, and then comes too late to send anything."""

    connected = nullcontext

    def submit(self, *_: Any, **__: Any) -> None:
        raise NotSent("the name lookup took 9 s", is_late=True)


def test_the_second_slow_connection_in_a_row_holds_the_account(database_url: str, tmp_path: Path) -> None:
    with runtime_at(answering_503(None), database_url, tmp_path) as runtime:
        account = open_account(runtime)
        runtime.__dict__["client"] = SlowNetwork()
        push(runtime, wish("one"), wish("two"))
        for claimed, expected in zip(
            claim_submits(runtime, account, count=2), [(0, None), (1, "unreachable")], strict=True
        ):
            with pytest.raises(SubmitNotSent):
                submit_prediction(runtime, claimed.prediction_id, claimed.claim)
            assert read_back_off(runtime)[:2] == expected
        with transaction(runtime.sessions) as session:
            assert "the name lookup took 9 s" in find_account_status(session, ACCOUNT).message


def test_a_probe_that_ends_unconfirmed_is_not_followed_by_the_next_at_once(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.random", lambda: 0.9)
    with runtime_at(answering_503(None), database_url, tmp_path) as runtime:
        account = open_account(runtime)
        change(runtime, "account", back_offs=3, back_off_until=-SECOND)
        submit_without_answer(runtime, account)
        back_offs, reason, left = read_back_off(runtime)
        assert (back_offs, reason) == (4, "unreachable")
        ceiling = 8 * SUBMIT_NOT_SENT.base
        assert 0.5 * ceiling < left < ceiling
        assert count_free(runtime, account) == 0
