"""How many ends webhooks report in time, and whether they tell the truth, as the rows have it."""

from collections.abc import Iterable
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from models import queries
from models.queries.watching.webhooks import Agreement, ReportedEnds, WebhookStats
from tests.support import rows
from tests.support.rows import NOW, SECOND


@pytest.fixture
def account_id(scratch: Session) -> UUID:
    return rows.add_account(scratch)


def add_ends(session: Session, account_id: UUID, delays: Iterable[float | None], *, state: str = "completed") -> None:
    """Renders that ended, the youngest first. Each webhook came this many seconds after we knew, or never."""
    for number, delay in enumerate(delays):
        ended_at = -(10 + number) * SECOND
        rows.add_render(
            session,
            state,
            account_id=account_id,
            hook_asked=True,
            ended_at=ended_at,
            hooked_at=None if delay is None else ended_at + delay * SECOND,
            hook_outcome=None if delay is None else "completed",
        )


def test_a_share_is_not_reported_from_fewer_than_five_ends(scratch: Session, account_id: UUID) -> None:
    assert queries.webhooks.measure_webhook_delivery(scratch, account_id) == ReportedEnds(0, 0)
    add_ends(scratch, account_id, [0] * 4)
    assert queries.webhooks.measure_webhook_delivery(scratch, account_id).share is None
    add_ends(scratch, account_id, [0])
    assert queries.webhooks.measure_webhook_delivery(scratch, account_id).share == 1.0


def test_a_few_deliveries_are_believed_a_little_and_none_is_ever_certain() -> None:
    beliefs = [ReportedEnds(ended, ended).belief for ended in (0, 1, 5, 200)]
    assert beliefs == [0.5, 0.75, pytest.approx(0.917, abs=0.001), pytest.approx(0.998, abs=0.001)]
    assert ReportedEnds(0, 200).belief == pytest.approx(0.002, abs=0.001)


def test_a_webhook_counts_up_to_five_seconds_after_we_knew(scratch: Session, account_id: UUID) -> None:
    add_ends(scratch, account_id, [-3, 0, 4.9, 5, 5.1, 9, None, None])
    assert queries.webhooks.measure_webhook_delivery(scratch, account_id).share == 0.5


def test_deliveries_that_stop_are_noticed_sooner_than_they_are_forgotten(scratch: Session, account_id: UUID) -> None:
    add_ends(scratch, account_id, [None] * 20 + [0] * 180)
    assert queries.webhooks.measure_webhook_delivery(scratch, account_id).share == 0.5


def test_deliveries_that_begin_again_are_believed_slowly(scratch: Session, account_id: UUID) -> None:
    add_ends(scratch, account_id, [0] * 50 + [None] * 150 + [0] * 50)
    assert queries.webhooks.measure_webhook_delivery(scratch, account_id).share == 0.25


def test_ends_count_only_if_a_webhook_could_have_reported_them(scratch: Session, account_id: UUID) -> None:
    add_ends(scratch, account_id, [0] * 5)
    add_ends(scratch, account_id, [None] * 5, state="timeout")
    add_ends(scratch, rows.add_account(scratch), [None] * 5)
    for _ in range(5):
        rows.add_render(scratch, "completed", account_id=account_id, ended_at=-9 * SECOND)  # posted without an address
        rows.add_render(scratch, "completed", account_id=account_id, ended_at=NOW, hook_asked=True)  # it may still come
    assert queries.webhooks.measure_webhook_delivery(scratch, account_id).share == 1.0


def test_agreement_counts_what_both_reported(scratch: Session, account_id: UUID) -> None:
    reported = [("completed", "completed"), ("completed", "failed"), ("failed", "failed"), ("lost", "completed")]
    for state, outcome in reported:
        rows.add_render(scratch, state, account_id=account_id, hook_outcome=outcome, hooked_at=NOW)
    rows.add_render(scratch, "completed", account_id=account_id)
    rows.add_render(scratch, "rendering", account_id=account_id, hook_outcome="failed", hooked_at=NOW)
    rows.add_render(
        scratch, "completed", account_id=account_id, hook_outcome="completed", hooked_at=NOW, ended_by_hook=True
    )
    assert queries.webhooks.measure_webhook_agreement(scratch, account_id) == Agreement(agreed=2, disagreed=1)


def test_agreement_is_measured_by_the_latest_200(scratch: Session, account_id: UUID) -> None:
    add_ends(scratch, account_id, [0] * 205)
    assert queries.webhooks.measure_webhook_agreement(scratch, account_id) == Agreement(agreed=200, disagreed=0)


def test_the_share_of_webhooks_is_described_in_words(scratch: Session, account_id: UUID) -> None:
    assert queries.webhooks.find_webhook_stats(scratch, account_id) == WebhookStats(0, None, None)
    add_ends(scratch, account_id, [None, 0])
    reported = queries.webhooks.find_webhook_stats(scratch, account_id)
    assert (reported.asked, reported.share, reported.last_seconds) == (2, None, pytest.approx(11, abs=1))
    add_ends(scratch, account_id, [None, None])
    assert queries.webhooks.find_webhook_stats(scratch, account_id)._replace(last_seconds=None) == WebhookStats(
        4, None, None
    )
    add_ends(scratch, account_id, [0])
    assert queries.webhooks.find_webhook_stats(scratch, account_id).share == 0.4
