"""Many sessions at once: limits hold, nothing waits in a circle, and every row has a story that makes sense."""

import random
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.event import listen
from sqlalchemy.orm import Session

from models import ArtifactKind, Prediction, PredictionState, transitions
from models.db.session import Sessions, transaction
from models.lifecycle import JOB_MOVES, PREDICTION_MOVES, Reason
from models.transitions.storing.steps import NewArtifact
from tests.support import rows
from tests.support.locks import wait_for_a_blocked_statement
from tests.support.rows import MINUTE, NOW, SHA256, Render

THREADS = 8
STEPS = 100  # of each thread
LEASE = timedelta(seconds=30)
REASON = Reason("a_code", "some words")
VIDEO = NewArtifact(ArtifactKind.VIDEO, "file:///a.mp4", 7, SHA256)

RECORD_MOVES = """
    CREATE TABLE move (row_id uuid, kind text, before text, after text);
    CREATE FUNCTION record_move() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO move VALUES (NEW.id, TG_TABLE_NAME, OLD.state, NEW.state);
        RETURN NEW;
    END $$;
    CREATE TRIGGER job_moved AFTER UPDATE ON job
        FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION record_move();
    CREATE TRIGGER prediction_moved AFTER UPDATE ON prediction
        FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION record_move();
"""
# Each finds what must never be; all are empty at any instant.
CONTRADICTIONS = {
    "an ended or queued job with a live prediction": """
        SELECT job.id FROM job JOIN prediction ON job_id = job.id
        WHERE job.state <> 'rendering' AND prediction.state IN ('submitting', 'unconfirmed', 'rendering')
          AND NOT is_duplicate
    """,
    "a rendering job without a live prediction": """
        SELECT id FROM job WHERE state = 'rendering' AND NOT EXISTS (
            SELECT 1 FROM prediction
            WHERE job_id = job.id AND state IN ('submitting', 'unconfirmed', 'rendering') AND NOT is_duplicate)
    """,
    "a storing job without anything to store": """
        SELECT id FROM job WHERE state = 'storing' AND NOT EXISTS (
            SELECT 1 FROM prediction
            WHERE job_id = job.id AND state = 'completed' AND prediction.due_at IS NOT NULL AND NOT is_duplicate)
    """,
    "a video to store for a job that does not wait for it": """
        SELECT prediction.id FROM prediction JOIN job ON job.id = job_id
        WHERE prediction.state = 'completed' AND prediction.due_at IS NOT NULL
          AND job.state <> 'storing' AND NOT is_duplicate
    """,
    "a succeeded job without a video": """
        SELECT id FROM job WHERE state = 'succeeded' AND NOT EXISTS (SELECT 1 FROM artifact WHERE job_id = job.id)
    """,
    "a waiting row that nothing will ever check": """
        SELECT id FROM job WHERE state = 'queued' AND due_at IS NULL
        UNION ALL
        SELECT id FROM prediction WHERE state IN ('submitting', 'rendering') AND due_at IS NULL
    """,
    "a job that was bought more often than it may be": """
        SELECT job_id FROM prediction JOIN job ON job.id = job_id
        WHERE prediction.state NOT IN ('refused', 'not_found') AND NOT is_duplicate
        GROUP BY job_id, max_attempts HAVING count(*) > max_attempts
    """,
    "an account with more live predictions than slots": """
        SELECT account.id FROM account JOIN prediction ON account_id = account.id
        WHERE prediction.state IN ('submitting', 'unconfirmed', 'rendering')
          AND NOT (prediction.state = 'rendering' AND watch_windows >= 3) AND NOT is_duplicate
        GROUP BY account.id, slots HAVING count(*) > slots
    """,
    "a move that no event tells of": """
        SELECT row_id FROM move
        WHERE NOT EXISTS (
            SELECT 1 FROM event
            WHERE row_id IN (job_id, prediction_id) AND event.kind IN (
                move.kind || '.' || after,
                CASE WHEN move.kind = 'job' AND after = 'rendering' THEN 'prediction.created'
                     WHEN before IN ('not_found', 'refused') THEN 'prediction.duplicate'
                     WHEN before IN ('failed', 'cancelled') THEN 'job.retried' END))
    """,
}


def run_together(workers: Iterable[Callable[[], None]]) -> None:
    """Let them all run, and raise what any of them raised."""
    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(worker) for worker in workers]:
            done.result(timeout=150)


def accept(session: Session, prediction_id: Any) -> str | None:
    return transitions.submitting.accept_prediction(
        session,
        prediction_id,
        provider_id=str(prediction_id),
        provider_created_at=None,
        watch_window=MINUTE,
    )


class Limits(NamedTuple):
    """What the admission test holds its account to."""

    slots: int = 5
    submits_per_minute: int = 24
    jobs: int = 60


def test_dispatchers_together_never_exceed_slots_or_rate(sessions: Sessions) -> None:
    limits, most_live, lock = Limits(), [0], threading.Lock()
    with transaction(sessions) as session:
        account = rows.add_account(session, slots=limits.slots, submits_per_minute=limits.submits_per_minute)
        for _ in range(limits.jobs):
            rows.add_job(session)

    def dispatch() -> list[transitions.admission.ClaimedSubmit]:
        with transaction(sessions) as session:
            room = transitions.admission.count_free_slots(session, account)
            assert room is not None
            transitions.admission.admit_jobs(session, account, count=room.count_admissible(3))
            return transitions.admission.claim_submits(session, account, count=min(3, room.submits), lease=LEASE)

    def submit(claimed: transitions.admission.ClaimedSubmit) -> None:
        with transaction(sessions) as session:
            if not transitions.submitting.begin_submit(session, claimed.prediction_id, claimed.claim, lease=LEASE):
                transitions.submitting.hand_back_submit(session, claimed.prediction_id, claimed.claim)
                return  # this machine was too slow for its rate slot
        with transaction(sessions) as session:
            live = session.execute(text("SELECT count(*) FROM prediction WHERE ended_at IS NULL")).scalar_one()
            with lock:
                most_live.append(live)
            assert accept(session, claimed.prediction_id)
        with transaction(sessions) as session:
            assert transitions.renders.complete_prediction(session, claimed.prediction_id, claimed.claim, outputs=["x"])

    def work() -> None:
        for _ in range(15):
            for claimed in dispatch():
                submit(claimed)

    run_together([work] * THREADS)
    with transaction(sessions) as session:
        places = session.execute(text("SELECT count(*) FROM prediction WHERE not_before IS NOT NULL")).scalar_one()
        assert limits.submits_per_minute - limits.slots < places <= limits.submits_per_minute
        assert rows.count(session, "prediction", state="completed") == places
    assert 1 < max(most_live) <= limits.slots


class Hunt:
    """Threads that do anything to anyone, as the steps of the workers compose the moves."""

    def __init__(self, sessions: Sessions, account: Any) -> None:
        self.sessions = sessions
        self.account = account

    def work(self, seed: int, steps: int) -> None:
        chance = random.Random(seed)
        deeds = [getattr(self, name) for name in dir(self) if name.startswith("do_")]
        deeds += [self.do_dispatch, self.do_begin, self.do_accept] * 3  # the way to everything else
        for _ in range(steps):
            with transaction(self.sessions) as session:
                render = self.choose(session, chance)
            with transaction(self.sessions) as session:
                chance.choice(deeds)(session, render)

    def choose(self, session: Session, chance: random.Random) -> Render:
        """A job, mostly one that renders, with the last of its predictions; sometimes under a stale claim."""
        every = session.execute(
            text("""
                SELECT job.state = 'rendering' AS renders, job.id, last.id, coalesce(last.claim, 0)
                FROM job LEFT JOIN LATERAL (
                    SELECT id, claim FROM prediction WHERE job_id = job.id ORDER BY attempt DESC LIMIT 1
                ) AS last ON true
                WHERE job.state <> 'succeeded' ORDER BY job.id
            """)
        ).all()
        likely = [row for row in every if row.renders] if chance.random() < 0.8 else every
        _, job_id, prediction_id, claim = chance.choice(likely or every)
        return Render(self.account, job_id, prediction_id or job_id, claim - (chance.random() < 0.1))

    def do_dispatch(self, session: Session, render: Render) -> Any:
        rows.change(session, "account", self.account, limited_at=-MINUTE)
        transitions.accounts.raise_slots(session, self.account)
        room = transitions.admission.count_free_slots(session, self.account)
        assert room is not None
        transitions.admission.admit_jobs(session, self.account, count=room.count_admissible(4))
        return transitions.admission.claim_submits(session, self.account, count=room.submits, lease=LEASE)

    def do_begin(self, session: Session, render: Render) -> Any:
        begun = transitions.submitting.begin_submit(session, render.prediction_id, render.claim, lease=LEASE)
        return begun or transitions.submitting.hand_back_submit(session, render.prediction_id, render.claim)

    def do_not_send(self, session: Session, render: Render) -> Any:
        unposted = transitions.submitting.unpost_submit(session, render.prediction_id, render.claim, detail="x")
        transitions.accounts.count_back_offs(session, self.account)
        transitions.accounts.back_off_account(session, self.account, delay=NOW, reason="unreachable", detail="x")
        return unposted

    def do_accept(self, session: Session, render: Render) -> Any:
        accepted = accept(session, render.prediction_id)
        transitions.accounts.clear_back_off(session, self.account)
        return accepted

    def do_refuse_the_job(self, session: Session, render: Render) -> Any:
        refused = transitions.submitting.refuse_submit(
            session, render.prediction_id, render.claim, reason=REASON, fails_job=True
        )
        transitions.accounts.clear_back_off(session, self.account)
        return refused

    def do_refuse_the_account(self, session: Session, render: Render) -> Any:
        refused = transitions.submitting.refuse_submit(
            session, render.prediction_id, render.claim, reason=REASON, fails_job=False
        )
        transitions.accounts.limit_slots(session, self.account)
        return refused

    def do_mark_unconfirmed(self, session: Session, render: Render) -> Any:
        return transitions.submitting.mark_unconfirmed(session, render.prediction_id, render.claim, message="?")

    def do_mark_overdue_unconfirmed(self, session: Session, render: Render) -> Any:
        rows.change(session, "prediction", render.prediction_id, Prediction.state == "submitting", due_at=NOW)
        return transitions.submitting.mark_overdue_unconfirmed(session)

    def do_complete(self, session: Session, render: Render) -> Any:
        return transitions.renders.complete_prediction(session, render.prediction_id, render.claim, outputs=["x"])

    def do_end(self, session: Session, render: Render) -> Any:
        return transitions.renders.end_prediction(
            session,
            render.prediction_id,
            render.claim,
            state=PredictionState.FAILED,
            reason=REASON,
            resubmit_after=NOW,
        )

    def do_requeue(self, session: Session, render: Render) -> Any:
        return transitions.renders.requeue_timed_out(session, watch_window=NOW, count=3)

    def do_take_back(self, session: Session, render: Render) -> Any:
        return transitions.claims.take_back_stores(session, count=3)

    def do_store(self, session: Session, render: Render) -> Any:
        claimed = transitions.claims.claim_stores(session, count=2, lease=LEASE)
        for each in claimed[:1]:
            assert transitions.steps.begin_store(session, each.prediction_id, each.claim, lease=LEASE)
            transitions.steps.finish_store(session, each.prediction_id, each.claim, artifacts=[VIDEO])
        transitions.claims.postpone_stores(session, claimed[1:], delay=NOW)
        return claimed

    def do_give_up_storing(self, session: Session, render: Render) -> Any:
        claimed = transitions.claims.claim_stores(session, count=1, lease=LEASE)
        return [
            transitions.steps.fail_store(session, each.prediction_id, each.claim, reason=REASON) for each in claimed
        ]

    def do_push(self, session: Session, render: Render) -> Any:
        return rows.add_job(session, max_attempts=4)

    def do_cancel(self, session: Session, render: Render) -> Any:
        return transitions.jobs.cancel_job(session, render.job_id)

    def do_retry(self, session: Session, render: Render) -> Any:
        return transitions.retries.retry_job(session, render.job_id)


def test_a_cancellation_during_an_admission_locks_the_prediction_first(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        account, job = rows.add_account(session), rows.add_job(session)
    engine: Engine = sessions.kw["bind"]
    locked = []

    def check(*asked: Any) -> None:
        if "'prediction.cancelled'" in asked[2]:
            with transaction(sessions) as other:
                free = "SELECT 1 FROM job WHERE id = :id FOR UPDATE SKIP LOCKED"
                locked.append(other.execute(text(free), {"id": job}).first() is None)

    def cancel() -> str | None:
        with transaction(sessions) as session:
            return transitions.jobs.cancel_job(session, job)

    listen(engine, "before_cursor_execute", check)
    with ThreadPoolExecutor(1) as pool:
        with transaction(sessions) as admission:
            assert transitions.admission.admit_jobs(admission, account, count=1) == 1
            cancelled = pool.submit(cancel)
            wait_for_a_blocked_statement(sessions)
        assert cancelled.result(timeout=60) == "cancelled"
    assert locked == [False]


def find_contradictions(session: Session) -> dict[str, list[Any]]:
    found = {name: list(session.scalars(text(query))) for name, query in CONTRADICTIONS.items()}
    return {name: wrong for name, wrong in found.items() if wrong}


@pytest.mark.parametrize("seed", [1, 2])
def test_no_two_moves_wait_for_each_other_and_every_story_makes_sense(sessions: Sessions, seed: int) -> None:
    with transaction(sessions) as session:
        session.execute(text(RECORD_MOVES))
        account = rows.add_account(session, slots=6)
        for _ in range(12):
            rows.add_job(session, max_attempts=4)
    hunt = Hunt(sessions, account)
    run_together(partial(hunt.work, THREADS * seed + number, steps=STEPS) for number in range(THREADS))
    with transaction(sessions) as session:
        assert not find_contradictions(session)
        made = [tuple(row) for row in session.execute(text("SELECT kind, before, after FROM move"))]
    graphs: dict[str, Any] = {"job": JOB_MOVES, "prediction": PREDICTION_MOVES}
    assert not {move for move in made if move[2] not in graphs[move[0]][move[1]]}
    assert len(made) > 80
    assert len(set(made)) > 11, "the hunt went nowhere"
