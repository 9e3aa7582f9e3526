"""Admission: slots, pace, the probing of a backed off or limited account, and who goes first."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from models import Prediction, PredictionState, transitions
from models.db.session import Sessions, transaction
from models.lifecycle import LIVE, SLOT_WINDOWS, Reason
from models.tables.base import new_id
from models.transitions.admission import PROBE_PAUSE, RATE_WINDOW, AccountRoom
from tests.support import rows
from tests.support.rows import MINUTE, NOW, SECOND, Render

LEASE = timedelta(seconds=15)
QUEUE_ROOM = 1_000


def room_of(session: Session, account_id: UUID) -> AccountRoom:
    room = transitions.admission.count_free_slots(session, account_id)
    assert room is not None
    return room


def admit(session: Session, account_id: UUID, *, queue_room: int = QUEUE_ROOM) -> list[Render]:
    """One turn of the dispatcher; what it would publish."""
    room = room_of(session, account_id)
    if admissible := room.count_admissible(queue_room):
        transitions.admission.admit_jobs(session, account_id, count=admissible, spend_left=room.spend_left)
    claimed = transitions.admission.claim_submits(session, account_id, count=min(queue_room, room.submits), lease=LEASE)
    return [Render(account_id, each.job_id, each.prediction_id, each.claim) for each in claimed]


def finish(session: Session, render: Render) -> None:
    """The render is accepted and completes at once."""
    assert transitions.submitting.begin_submit(session, render.prediction_id, render.claim, lease=LEASE)
    transitions.submitting.accept_prediction(
        session,
        render.prediction_id,
        provider_id=str(render.prediction_id),
        provider_created_at=None,
        watch_window=MINUTE,
    )
    assert transitions.renders.complete_prediction(session, render.prediction_id, render.claim, outputs=["x"])


def age_places(session: Session, by: timedelta) -> None:
    """Let time pass for every place taken in the rate limit."""
    rows.change(session, "prediction", not_before=Prediction.not_before - by)


def test_an_unknown_account_has_no_room(scratch: Session) -> None:
    assert transitions.admission.count_free_slots(scratch, new_id()) is None


def test_as_many_jobs_are_admitted_as_there_are_slots(scratch: Session) -> None:
    account = rows.add_account(scratch, slots=3)
    jobs = [rows.add_job(scratch) for _ in range(5)]
    admitted = admit(scratch, account)
    assert [each.job_id for each in admitted] == jobs[:3]
    assert admit(scratch, account) == []
    finish(scratch, admitted[1])
    assert [each.job_id for each in admit(scratch, account)] == [jobs[3]]
    assert room_of(scratch, account).free == 0


@pytest.mark.parametrize("state", sorted(PredictionState))
def test_only_live_predictions_hold_a_slot(scratch: Session, state: str) -> None:
    render = rows.add_render(scratch, state, account_id=rows.add_account(scratch, slots=5))
    assert room_of(scratch, render.account_id).free == (4 if state in LIVE else 5)


def test_slots_of_other_accounts_count_for_themselves(scratch: Session) -> None:
    account, other = rows.add_account(scratch, slots=2), rows.add_account(scratch, slots=2)
    rows.add_render(scratch, "rendering", account_id=other)
    assert (room_of(scratch, account).free, room_of(scratch, other).free) == (2, 1)


def test_an_account_may_submit_beyond_its_slots(scratch: Session) -> None:
    account = rows.add_account(scratch, slots=2, overcommit=1)
    for _ in range(5):
        rows.add_job(scratch)
    assert len(admit(scratch, account)) == 3


def test_a_lowered_limit_admits_nothing_until_there_is_room(scratch: Session) -> None:
    account = rows.add_account(scratch, slots=1)
    for _ in range(3):
        rows.add_render(scratch, "rendering", account_id=account)
    assert room_of(scratch, account).free == 0


def test_no_more_messages_are_made_than_the_queue_takes(scratch: Session) -> None:
    account = rows.add_account(scratch)
    for _ in range(5):
        rows.add_job(scratch)
    assert len(admit(scratch, account, queue_room=2)) == 2
    assert rows.count(scratch, "job", state="queued") == 3


def test_a_post_that_hangs_keeps_no_other_slot_idle(scratch: Session) -> None:
    account = rows.add_account(scratch, slots=2, submits_per_minute=2)
    rows.add_job(scratch)
    (hanging,) = admit(scratch, account)
    assert transitions.submitting.begin_submit(scratch, hanging.prediction_id, hanging.claim, lease=LEASE)
    rows.add_job(scratch)
    assert len(admit(scratch, account)) == 1


def test_a_submission_that_waits_for_a_place_is_not_overtaken(scratch: Session) -> None:
    account = rows.add_account(scratch, slots=5, submits_per_minute=2)
    for _ in range(2):
        rows.add_render(scratch, "submitting", account_id=account, not_before=None, due_at=-SECOND)
    rows.add_job(scratch)
    assert room_of(scratch, account).count_admissible(QUEUE_ROOM) == 0
    assert len(admit(scratch, account)) == 2


def test_rate_slots_are_free_again_after_a_minute_and_its_allowances(scratch: Session) -> None:
    account = rows.add_account(scratch, submits_per_minute=4)
    for _ in range(20):
        rows.add_job(scratch)
    admitted = admit(scratch, account)
    assert len(admitted) == 4
    for render in admitted[:3]:
        finish(scratch, render)
    refused = admitted[3]
    assert transitions.submitting.begin_submit(scratch, refused.prediction_id, refused.claim, lease=LEASE)
    transitions.submitting.refuse_submit(
        scratch, refused.prediction_id, refused.claim, reason=Reason("rate", "slow"), fails_job=False
    )
    age_places(scratch, RATE_WINDOW - SECOND)
    assert admit(scratch, account) == []  # refused ones included
    age_places(scratch, SECOND)
    assert len(admit(scratch, account)) == 4


def test_the_rate_limit_slides(scratch: Session) -> None:
    account = rows.add_account(scratch, submits_per_minute=3)
    for _ in range(20):
        rows.add_job(scratch)
    taken = []
    for _ in range(9):
        admitted = admit(scratch, account, queue_room=1)
        for render in admitted:
            finish(scratch, render)
        taken.append(len(admitted))
        age_places(scratch, RATE_WINDOW / 4)
    assert taken == [1, 1, 1, 0, 1, 1, 1, 0, 1]


def test_a_place_that_was_given_back_is_taken_by_another(scratch: Session) -> None:
    account = rows.add_account(scratch, submits_per_minute=1)
    rows.add_job(scratch)
    (render,) = admit(scratch, account)
    assert room_of(scratch, account).rate_slots == 0
    assert transitions.submitting.hand_back_submit(scratch, render.prediction_id, render.claim)
    assert room_of(scratch, account).rate_slots == 1


def test_a_lost_message_is_published_again_in_a_place_of_its_own(scratch: Session) -> None:
    account = rows.add_account(scratch, submits_per_minute=1)
    rows.add_job(scratch)
    (render,) = admit(scratch, account)
    rows.change(scratch, "prediction", render.prediction_id, due_at=-SECOND)
    assert admit(scratch, account) == []
    age_places(scratch, RATE_WINDOW)
    (again,) = admit(scratch, account)
    assert again == render._replace(claim=render.claim + 1)
    assert transitions.submitting.begin_submit(scratch, render.prediction_id, render.claim, lease=LEASE) is None


def test_a_backed_off_account_takes_nothing(scratch: Session) -> None:
    account = rows.add_account(scratch)
    rows.add_job(scratch)
    transitions.accounts.back_off_account(scratch, account, delay=MINUTE, reason="credit", detail="no money left")
    room = room_of(scratch, account)
    assert (room.free, room.submits) == (0, 0)
    assert admit(scratch, account) == []
    assert rows.kinds(scratch, account_id=account) == ["account.backed_off"]


def test_an_account_whose_back_off_has_passed_is_probed_by_one(scratch: Session) -> None:
    account = rows.add_account(scratch, back_offs=2, back_off_until=-SECOND)
    for _ in range(5):
        rows.add_job(scratch)
    (probe,) = admit(scratch, account)
    assert admit(scratch, account) == []
    assert transitions.submitting.begin_submit(scratch, probe.prediction_id, probe.claim, lease=LEASE)
    assert admit(scratch, account) == []
    transitions.accounts.clear_back_off(scratch, account)
    assert len(admit(scratch, account)) == 4
    assert rows.kinds(scratch, account_id=account)[-5] == "account.recovered"


def test_one_of_many_submissions_handed_back_by_a_back_off_probes(scratch: Session) -> None:
    account = rows.add_account(scratch, back_offs=1, back_off_until=-SECOND)
    for _ in range(5):
        rows.add_render(scratch, "submitting", account_id=account, not_before=None, due_at=-SECOND)
    (probe,) = admit(scratch, account)
    assert admit(scratch, account) == []
    assert transitions.submitting.begin_submit(scratch, probe.prediction_id, probe.claim, lease=LEASE)
    assert admit(scratch, account) == []
    refused = Reason("rate", "slow down")
    transitions.submitting.refuse_submit(scratch, probe.prediction_id, probe.claim, reason=refused, fails_job=False)
    assert len(admit(scratch, account)) == 1


def test_a_probe_whose_message_was_lost_is_published_again(scratch: Session) -> None:
    account = rows.add_account(scratch, back_offs=1, back_off_until=-SECOND)
    rows.add_render(scratch, "submitting", account_id=account, due_at=-SECOND)
    assert len(admit(scratch, account)) == 1


def test_refusals_during_a_back_off_are_one_back_off(scratch: Session) -> None:
    account = rows.add_account(scratch)
    for delay in (30, 10, 60):
        transitions.accounts.back_off_account(scratch, account, delay=delay * SECOND, reason="rate", detail="slow down")
    row = rows.read(scratch, "account", account)
    assert row["back_offs"] == transitions.accounts.count_back_offs(scratch, account) == 1
    assert row["back_off_until"] - scratch.execute(text("SELECT now()")).scalar_one() == MINUTE
    rows.change(scratch, "account", account, back_off_until=-SECOND)
    transitions.accounts.back_off_account(scratch, account, delay=MINUTE, reason="rate", detail="slow down")
    assert transitions.accounts.count_back_offs(scratch, account) == 2


def test_a_limit_by_concurrency_is_learned_probed_and_forgotten(scratch: Session) -> None:
    account = rows.add_account(scratch, slots=10)
    for _ in range(4):
        rows.add_render(scratch, "rendering", account_id=account)
    transitions.accounts.limit_slots(scratch, account)
    assert room_of(scratch, account).free == 0
    rows.change(scratch, "account", account, limited_at=-PROBE_PAUSE - SECOND)
    assert room_of(scratch, account).free == 1
    rows.add_render(scratch, "rendering", account_id=account)
    assert transitions.accounts.raise_slots(scratch, account)
    assert rows.read(scratch, "account", account)["effective_slots"] == 5
    for _ in range(5):
        rows.add_render(scratch, "rendering", account_id=account)
    assert transitions.accounts.raise_slots(scratch, account)
    assert rows.read(scratch, "account", account)["effective_slots"] is None
    assert not transitions.accounts.raise_slots(scratch, account)


def test_overcommit_ends_with_a_limit_and_returns_when_the_limit_is_old(scratch: Session) -> None:
    account = rows.add_account(scratch, slots=2)
    assert transitions.accounts.set_overcommit(scratch, account, overcommit=2, quiet_for=MINUTE)
    assert not transitions.accounts.set_overcommit(scratch, account, overcommit=2, quiet_for=MINUTE)
    assert room_of(scratch, account).free == 4
    for _ in range(2):
        rows.add_render(scratch, "rendering", account_id=account)
    transitions.accounts.limit_slots(scratch, account)
    assert room_of(scratch, account).free == 0
    assert not transitions.accounts.set_overcommit(scratch, account, overcommit=1, quiet_for=MINUTE)
    rows.change(scratch, "account", account, limited_at=-MINUTE - SECOND)
    assert transitions.accounts.set_overcommit(scratch, account, overcommit=1, quiet_for=MINUTE)
    assert room_of(scratch, account).free == 1
    assert transitions.accounts.set_overcommit(scratch, account, overcommit=0, quiet_for=MINUTE)


def test_a_limited_account_keeps_one_slot(scratch: Session) -> None:
    account = rows.add_account(scratch, slots=10)
    transitions.accounts.limit_slots(scratch, account)
    assert room_of(scratch, account).free == 1


def test_the_urgent_and_then_the_oldest_go_first(scratch: Session) -> None:
    account = rows.add_account(scratch)
    low, old, young, urgent = (rows.add_job(scratch, priority=priority) for priority in (-1, 0, 0, 5))
    order = [admit(scratch, account, queue_room=1)[0].job_id for _ in range(4)]
    assert order == [urgent, old, young, low]


@pytest.mark.parametrize("columns", [{"due_at": MINUTE}, {"cancel_requested_at": NOW}])
def test_a_job_that_backs_off_or_is_cancelled_is_not_admitted(scratch: Session, columns: dict[str, Any]) -> None:
    account = rows.add_account(scratch)
    rows.add_job(scratch, **columns)
    assert admit(scratch, account) == []


def test_a_purchase_is_numbered_and_priced_as_its_job(scratch: Session) -> None:
    account = rows.add_account(scratch)
    job = rows.add_job(scratch, price="0.4800")
    rows.add_prediction(scratch, job, account, "refused")
    (render,) = admit(scratch, account)
    prediction = rows.read(scratch, "prediction", render.prediction_id)
    assert (prediction["attempt"], str(prediction["price"])) == (2, "0.4800")
    assert rows.list_events(scratch, prediction_id=render.prediction_id)[0]["detail"] == {"attempt": 2}


def test_no_plan_claims_more_than_was_asked_for(scratch: Session) -> None:
    """An inner query with LIMIT that runs once per outer row would, and so exceed the rate limit."""
    account = rows.add_account(scratch)
    for _ in range(30):
        rows.add_render(scratch, "submitting", account_id=account, due_at=-SECOND)
        rows.add_render(scratch, "rendering", account_id=account, due_at=-SECOND)
        rows.add_render(scratch, "completed", account_id=account)
        rows.add_job(scratch)
    for way in ("hashjoin", "mergejoin", "hashagg", "sort", "material", "memoize"):
        scratch.execute(text(f"SET LOCAL enable_{way} = off"))
    assert transitions.admission.admit_jobs(scratch, account, count=2) == 2
    assert len(transitions.admission.claim_submits(scratch, account, count=2, lease=LEASE)) == 2
    assert len(transitions.claims.claim_stores(scratch, count=2, lease=LEASE)) == 2
    assert len(transitions.renders.requeue_timed_out(scratch, watch_window=MINUTE, count=2)) == 2


def test_a_job_that_another_holds_is_passed_over(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        account = rows.add_account(session)
        held, free = rows.add_job(session, priority=1), rows.add_job(session)
    with transaction(sessions) as holder, transaction(sessions) as session:
        holder.execute(text("SELECT 1 FROM job WHERE id = :id FOR UPDATE"), {"id": held})
        assert [each.job_id for each in admit(session, account)] == [free]


def test_admissions_of_one_account_wait_for_each_other(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        account = rows.add_account(session)
    with transaction(sessions) as first, transaction(sessions) as second:
        assert transitions.admission.count_free_slots(first, account)
        second.execute(text("SET LOCAL lock_timeout = '50ms'"))
        with pytest.raises(Exception, match="lock timeout"), second.begin_nested():
            transitions.admission.count_free_slots(second, account)


def test_a_stuck_render_gives_its_slot_back_after_three_windows(scratch: Session) -> None:
    account = rows.add_account(scratch, slots=2)
    for windows in (SLOT_WINDOWS - 1, SLOT_WINDOWS):
        rows.add_render(scratch, "rendering", account_id=account, watch_windows=windows)
    for _ in range(5):
        rows.add_job(scratch)
    assert len(admit(scratch, account)) == 1
    assert room_of(scratch, account).free == 0


def test_stuck_renders_stop_a_small_account_only_if_they_count(scratch: Session) -> None:
    account = rows.add_account(scratch, slots=2)
    for _ in range(2):
        rows.add_render(scratch, "rendering", account_id=account, watch_windows=SLOT_WINDOWS)
    assert room_of(scratch, account).free == 2
    transitions.accounts.limit_slots(scratch, account)  # 429 by concurrency: it counts them
    assert room_of(scratch, account).free == 0
    rows.change(scratch, "account", account, limited_at=-PROBE_PAUSE - SECOND)
    assert room_of(scratch, account).free == 1
    rows.add_render(scratch, "rendering", account_id=account)  # the probe was accepted after all
    assert transitions.accounts.raise_slots(scratch, account)
    rows.add_render(scratch, "rendering", account_id=account)
    assert transitions.accounts.raise_slots(scratch, account)
    assert rows.read(scratch, "account", account)["effective_slots"] is None
    assert room_of(scratch, account).free == 0


def test_the_daily_cap_counts_prices_held_and_spent_today(scratch: Session) -> None:
    account = rows.add_account(scratch, slots=50, max_spend_per_day=Decimal("1.00"))
    dear, cheap = Decimal("0.40"), Decimal("0.10")
    first, second, third = (rows.add_job(scratch, price=dear) for _ in range(3))
    fourth = rows.add_job(scratch, price=cheap)  # does not overtake the third
    admitted = admit(scratch, account)
    assert [each.job_id for each in admitted] == [first, second]
    assert room_of(scratch, account).spend_left == Decimal("0.20")
    assert admit(scratch, account) == []
    finish(scratch, admitted[0])
    assert room_of(scratch, account).spend_left == Decimal("0.20")
    rows.change(scratch, "prediction", admitted[1].prediction_id, state="refused", due_at=None, ended_at=NOW)
    assert [each.job_id for each in admit(scratch, account)] == [third, fourth]


def test_a_job_beyond_a_whole_days_cap_holds_up_no_other(scratch: Session) -> None:
    account = rows.add_account(scratch, max_spend_per_day=Decimal("1.00"))
    rows.add_job(scratch, price=Decimal("1.01"), priority=9)
    other = rows.add_job(scratch, price=Decimal("0.40"))
    assert [each.job_id for each in admit(scratch, account)] == [other]


def test_yesterdays_purchases_do_not_count_towards_the_daily_cap(scratch: Session) -> None:
    account = rows.add_account(scratch, max_spend_per_day=Decimal("1.00"))
    rows.add_render(scratch, "rendering", account_id=account, price=Decimal("0.90"), created_at=NOW - timedelta(days=1))
    assert room_of(scratch, account).spend_left == Decimal("1.00")
    rows.add_render(scratch, "completed", account_id=account, price=Decimal("0.30"))
    assert room_of(scratch, account).spend_left == Decimal("0.70")


def test_without_a_cap_spending_is_not_counted(scratch: Session) -> None:
    account = rows.add_account(scratch)
    rows.add_render(scratch, "rendering", account_id=account)
    assert room_of(scratch, account).spend_left is None


def test_dispatchers_at_once_stay_within_the_daily_cap(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        account = rows.add_account(session, slots=50, max_spend_per_day=Decimal("1.00"))
        for _ in range(20):
            rows.add_job(session, price=Decimal("0.15"))

    def turn(_: int) -> int:
        with transaction(sessions) as session:
            return len(admit(session, account, queue_room=2))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(turn, range(16))) == 6
