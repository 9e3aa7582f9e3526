"""The list of another account decides nothing: what it does not show may be paid for under the right key."""

import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from models import queries, transitions
from models.session import transaction
from models.transitions.jobs import NewJob
from rushes.reconciling import reconcile_account
from rushes.runtime import Runtime
from rushes.settings import Settings
from rushes.watching import look_at_prediction
from sandbox.wavespeed import Simulator

LEASE = timedelta(seconds=60)
MODEL = "lightricks/ltx-2-fast/text-to-video"


@pytest.fixture
def ours(database_url: str, tmp_path: Path) -> Iterator[Runtime]:
    """With the key of the right account."""
    yield from open_runtime(database_url, tmp_path)


@pytest.fixture
def foreign(ours: Runtime, database_url: str, tmp_path: Path) -> Iterator[Runtime]:
    """The same rows, with the key of another account."""
    yield from open_runtime(database_url, tmp_path)


def open_runtime(database_url: str, folder: Path) -> Iterator[Runtime]:
    with Simulator(median=600) as simulator:
        settings = Settings(
            database_url=database_url,
            data_dir=folder,
            wavespeed_api_key=simulator.api_key,
            wavespeed_url=simulator.url,
        )
        opened = Runtime.open(settings, threads=2, application="test")
        yield opened
        opened.close()


@pytest.fixture
def account(ours: Runtime) -> UUID:
    with transaction(ours.sessions) as session:
        return transitions.ensure_account(session, "default", slots=9, submits_per_minute=600)


def begin(runtime: Runtime, account: UUID, prompt: str) -> UUID:
    """A submission whose `posted_at` is written."""
    with transaction(runtime.sessions) as session:
        transitions.insert_jobs(session, [NewJob(MODEL, {"prompt": prompt}, Decimal("0.24"), 0, 3)])
    with transaction(runtime.sessions) as session:
        transitions.admit_jobs(session, account, count=1)
        (claimed,) = transitions.claim_submits(session, account, count=1, lease=LEASE)
    with transaction(runtime.sessions) as session:
        assert transitions.begin_submit(session, claimed.prediction_id, claimed.claim, lease=LEASE) is not None
    return claimed.prediction_id


def render(runtime: Runtime, account: UUID, prompt: str) -> UUID:
    """A submission that the provider has accepted."""
    prediction_id = begin(runtime, account, prompt)
    answer = runtime.client.submit(MODEL, {"prompt": prompt}, send_before=time.monotonic() + 10)
    with transaction(runtime.sessions) as session:
        transitions.accept_prediction(
            session,
            prediction_id,
            provider_id=answer.id,
            provider_created_at=answer.created_at,
            watch_window=LEASE,
        )
    return prediction_id


def doubt(runtime: Runtime, account: UUID, prompt: str) -> UUID:
    prediction_id = begin(runtime, account, prompt)
    with transaction(runtime.sessions) as session:
        transitions.doubt_submit(session, prediction_id, 1, message="test")
    return prediction_id


def run(runtime: Runtime, statement: str) -> None:
    with transaction(runtime.sessions) as session:
        session.execute(text(statement))


def age(runtime: Runtime) -> None:
    """Everything happened ten minutes earlier, by our clock; the provider's is ten minutes ahead from now on."""
    past = "interval '10 minutes'"
    run(runtime, f"UPDATE prediction SET posted_at = posted_at - {past}, accepted_at = accepted_at - {past}")  # noqa: S608


def make_pass(runtime: Runtime, account: UUID) -> str:
    run(runtime, "UPDATE account SET reconcile_until = NULL, orphans_swept_at = NULL")
    run(runtime, "UPDATE prediction SET due_at = now() WHERE state = 'unconfirmed'")
    with transaction(runtime.sessions) as session:
        claim = transitions.claim_reconcile(session, account, lease=LEASE)
    assert claim is not None
    return reconcile_account(runtime, account, claim)


def state_of(runtime: Runtime, prediction_id: UUID) -> str:
    with transaction(runtime.sessions) as session:
        query = text("SELECT state FROM prediction WHERE id = :id")
        return str(session.execute(query, {"id": prediction_id}).scalar_one())


def count_foreign(runtime: Runtime) -> int:
    with transaction(runtime.sessions) as session:
        return queries.find_health(session).foreign


def look(runtime: Runtime, prediction_id: UUID) -> str:
    run(
        runtime,
        "UPDATE prediction SET odd_since = now() - interval '5 minutes', accepted_at = accepted_at - :ago".replace(
            ":ago", "interval '2 minutes'"
        ),
    )
    return look_at_prediction(runtime, prediction_id, 1)


def test_a_doubt_is_not_absent_for_the_list_of_another_account(ours: Runtime, foreign: Runtime, account: UUID) -> None:
    render(ours, account, "before")
    lost = doubt(ours, account, "lost")
    age(ours)
    foreign.client.submit(MODEL, {"prompt": "a stranger's"}, send_before=time.monotonic() + 10)
    with capture_logs() as logs:
        told = make_pass(foreign, account)
    assert told.endswith("absent 0, waiting 1, for a person 0, surplus 0, new orphans 0")
    assert [each["log_level"] for each in logs if each["event"] == "account.foreign_list"] == ["error"]
    assert (state_of(ours, lost), count_foreign(ours)) == ("unconfirmed", 1)
    with transaction(ours.sessions) as session:
        lag, swept = session.execute(text("SELECT list_lag_seconds, orphans_swept_at FROM account")).one()
    assert (lag, swept) == (0, None)

    assert "absent 1, waiting 0" in make_pass(ours, account)
    assert (state_of(ours, lost), count_foreign(ours)) == ("absent", 0)


def test_a_doubt_is_not_absent_although_later_ones_are_accepted_under_the_other_key(
    ours: Runtime, foreign: Runtime, account: UUID
) -> None:
    render(ours, account, "before")
    lost = doubt(ours, account, "lost")
    for number in range(6):
        render(foreign, account, f"after {number}")
    age(ours)
    assert "absent 0, waiting 1" in make_pass(foreign, account)
    assert state_of(ours, lost) == "unconfirmed"


def test_a_first_doubt_before_anything_was_accepted_is_absent(ours: Runtime, foreign: Runtime, account: UUID) -> None:
    lost = doubt(ours, account, "lost")
    age(ours)
    assert "absent 1" in make_pass(foreign, account)
    assert state_of(ours, lost) == "absent"


@pytest.mark.parametrize("earlier", [True, False])
def test_a_render_is_not_lost_for_the_list_of_another_account(
    ours: Runtime, foreign: Runtime, account: UUID, *, earlier: bool
) -> None:
    first, second = render(ours, account, "first"), render(ours, account, "second")
    watched = second if earlier else first
    with capture_logs() as logs:
        told = [look(foreign, watched) for _ in range(2)]
    assert all("is this the key of another account?" in each for each in told)
    assert [each["log_level"] for each in logs if each["event"] == "account.foreign_list"] == ["error"]
    assert (state_of(ours, watched), count_foreign(ours)) == ("rendering", 1)

    assert look(ours, watched).startswith(("created", "processing"))
    assert count_foreign(ours) == 0


def test_a_render_is_not_lost_although_later_ones_are_accepted_under_the_other_key(
    ours: Runtime, foreign: Runtime, account: UUID
) -> None:
    render(ours, account, "first")
    watched = render(ours, account, "second")
    render(foreign, account, "later")
    assert "another account" in look(foreign, watched)
    assert state_of(ours, watched) == "rendering"


def test_a_render_that_the_list_of_our_own_account_does_not_show_is_lost(ours: Runtime, account: UUID) -> None:
    render(ours, account, "before")
    gone = render(ours, account, "gone")
    run(ours, f"UPDATE prediction SET provider_id = 'gone' WHERE id = '{gone}'")  # noqa: S608
    assert look(ours, gone).startswith("lost")
    assert state_of(ours, gone) == "lost"


def test_witnesses_that_were_accepted_long_before_are_looked_for_where_they_are(ours: Runtime, account: UUID) -> None:
    render(ours, account, "before")
    gone = render(ours, account, "gone")
    hours = "interval '3 hours'"
    run(
        ours,
        f"UPDATE prediction SET provider_id = 'gone', provider_created_at = provider_created_at + {hours}"  # noqa: S608
        f" WHERE id = '{gone}'",
    )
    assert look(ours, gone).startswith("lost")
