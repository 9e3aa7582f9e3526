"""Deliveries: created from events, claimed by the leader, attempted by a step, and ended by an answer or by their age.

Those of one job go to an endpoint in the order of their events: a later one waits until the earlier ones have ended.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, find_all, statement
from models.queries.callbacks.wanted_events import WantedEvent
from models.tables.callbacks.delivery import Delivery

BROKEN_AFTER = 5
"""After this many failures in a row, an endpoint gets one attempt at a time, as before its first outcome."""
AT_ONCE = 4
"""An endpoint gets this many attempts at once."""
SLOW_SECONDS = 2
"""An endpoint that takes longer for an answer counts as failing until it comes."""

_NEW_WEBHOOK_ID = "'msg_' || replace(CAST(gen_random_uuid() AS text), '-', '')"
_CREATE = statement(f"""
    WITH moved AS (  -- another leader that has moved it creates the deliveries
        INSERT INTO feed_position AS place (reader, last_id) VALUES ('callbacks', :until)
        ON CONFLICT (reader) DO UPDATE SET last_id = :until WHERE place.last_id = :last_id
        RETURNING 1
    )
    INSERT INTO delivery (webhook_id, endpoint_id, event_id, job_id, kind, give_up_at)
    SELECT {_NEW_WEBHOOK_ID}, endpoint_id, event_id, job_id, kind, now() + :give_up
    FROM moved CROSS JOIN unnest(CAST(:endpoint_ids AS uuid[]), CAST(:event_ids AS bigint[]), CAST(:job_ids AS uuid[]),
        CAST(:kinds AS text[])) WITH ORDINALITY AS wanted (endpoint_id, event_id, job_id, kind, place)
    ORDER BY place
    RETURNING 1
""")


def create_deliveries(
    session: Session, wanted: Sequence[WantedEvent], *, last_id: int, until: int, give_up: timedelta
) -> int:
    """Create these deliveries, all of the events up to `until`, and move the position there from `last_id`.

    Both are one statement, so each delivery is created once. Nothing happens if the position is another one by now.
    Returns how many.
    """
    columns = {
        "endpoint_ids": [each.endpoint_id for each in wanted],
        "event_ids": [each.event_id for each in wanted],
        "job_ids": [each.job_id for each in wanted],
        "kinds": [each.kind for each in wanted],
    }
    return len(session.execute(_CREATE, {"last_id": last_id, "until": until, "give_up": give_up, **columns}).all())


_NEXT_TURN = """(SELECT least(now(), min(due_at) - interval '1 ms') FROM delivery AS other
        WHERE other.endpoint_id = {endpoint} AND state = 'pending')"""
"""SQL: the time that puts a delivery before all others of its endpoint."""
_INSERT_TEST = statement(f"""
    WITH released AS (
        UPDATE endpoint SET held_until = NULL WHERE id = :endpoint_id AND disabled_at IS NULL RETURNING id
    )
    INSERT INTO delivery (webhook_id, endpoint_id, kind, give_up_at, due_at)
    SELECT {_NEW_WEBHOOK_ID}, id, 'endpoint.test', now() + :give_up, {_NEXT_TURN.format(endpoint="released.id")}
    FROM released
    RETURNING id
""")


def insert_test(session: Session, endpoint_id: UUID, *, give_up: timedelta) -> Delivery | None:
    """Create a delivery that is about no event, to be sent first. Returns None if the endpoint is disabled."""
    found = session.execute(_INSERT_TEST, {"endpoint_id": endpoint_id, "give_up": give_up}).scalar()
    return session.get(Delivery, found) if found is not None else None


_IS_FIRST = """NOT EXISTS (
            SELECT FROM delivery AS earlier
            WHERE earlier.endpoint_id = delivery.endpoint_id AND earlier.job_id = delivery.job_id
              AND earlier.event_id < delivery.event_id AND earlier.state = 'pending')"""
"""SQL: no earlier delivery of the same job to the same endpoint is pending."""
_IN_FLIGHT = """SELECT endpoint_id, count(*) AS running,
            bool_or(claimed_at < now() - CAST(:slow AS interval)) AS is_slow
        FROM delivery WHERE claimed_at IS NOT NULL AND due_at > now() GROUP BY endpoint_id"""
_ROOM = f"""SELECT endpoint.id AS endpoint_id, failures, coalesce(running, 0) AS running,
            coalesce(failures > 0 OR suspect_until > now() OR is_slow, false) AS is_suspect,
            CASE WHEN held_until > now() THEN 0 WHEN failures >= {BROKEN_AFTER} OR suspect_until IS NULL THEN 1
                ELSE {AT_ONCE} END - coalesce(running, 0) AS room
        FROM endpoint JOIN tenant ON tenant.id = tenant_id
        LEFT JOIN in_flight ON in_flight.endpoint_id = endpoint.id
        WHERE endpoint.disabled_at IS NULL AND tenant.disabled_at IS NULL"""
"""SQL: what each endpoint that is enabled, with its tenant, may get now, and whether it shares threads with others that
fail."""
_RANKED = f"""SELECT due.id, is_suspect, place,
            row_number() OVER (PARTITION BY is_suspect ORDER BY place, failures, due_at) AS turn
        FROM endpoints CROSS JOIN LATERAL (
            SELECT id, due_at, row_number() OVER (ORDER BY due_at, id) AS place FROM delivery
            WHERE delivery.endpoint_id = endpoints.endpoint_id AND state = 'pending' AND due_at <= now()
              AND {_IS_FIRST}
            ORDER BY due_at, id LIMIT greatest(room, 0)) AS due"""
"""SQL: the due deliveries that may be sent now. Each endpoint's first comes before any endpoint's second."""


class ClaimedDelivery(NamedTuple):
    """A claimed delivery, to be published."""

    id: int
    webhook_id: str
    claim: int


# Endpoints that fail get half of the threads at most.
_CLAIM = statement(f"""
    WITH in_flight AS (
        {_IN_FLIGHT}
    ), endpoints AS (
        {_ROOM}
    ), ranked AS (
        {_RANKED}
    ), chosen AS MATERIALIZED (
        SELECT id FROM delivery WHERE state = 'pending' AND due_at <= now() AND id IN (
            SELECT id FROM ranked
            WHERE NOT is_suspect OR turn <= greatest(1, :threads / 2)
                - (SELECT coalesce(sum(running), 0) FROM endpoints WHERE is_suspect)
            ORDER BY is_suspect, turn
            LIMIT greatest(0, least(:count, :threads - (SELECT coalesce(sum(running), 0) FROM endpoints))))
        FOR UPDATE SKIP LOCKED
    )
    UPDATE delivery SET claim = claim + 1, claimed_at = now(), due_at = now() + :lease
    FROM chosen WHERE delivery.id = chosen.id RETURNING delivery.id, webhook_id, claim
""")


def claim_deliveries(session: Session, *, count: int, threads: int, lease: timedelta) -> list[ClaimedDelivery]:
    """Claim at most `count` due deliveries; with those under way, at most `threads`. The caller publishes them."""
    values = {"count": count, "threads": threads, "lease": lease, "slow": timedelta(seconds=SLOW_SECONDS)}
    return find_all(session, _CLAIM, ClaimedDelivery, **values)


_GIVE_BACK = statement("""
    UPDATE delivery SET claimed_at = NULL, due_at = now()
    FROM unnest(CAST(:ids AS bigint[]), CAST(:claims AS bigint[])) AS unpublished (id, claim)
    WHERE delivery.id = unpublished.id AND delivery.claim = unpublished.claim AND claimed_at IS NOT NULL
    RETURNING 1
""")


def give_back(session: Session, claimed: Sequence[ClaimedDelivery]) -> int:
    """Free claimed deliveries whose messages could not be published. Returns how many."""
    ids, claims = [each.id for each in claimed], [each.claim for each in claimed]
    return len(session.execute(_GIVE_BACK, {"ids": ids, "claims": claims}).all())


_RESEND = statement(f"""
    WITH resent AS (
        UPDATE delivery
        SET state = 'pending', attempts = 0, due_at = {_NEXT_TURN.format(endpoint="delivery.endpoint_id")},
            give_up_at = now() + :give_up, ended_at = NULL
        WHERE id = :delivery_id AND (claimed_at IS NULL OR due_at <= now())
        RETURNING endpoint_id
    ), released AS (
        UPDATE endpoint SET held_until = NULL FROM resent WHERE endpoint.id = endpoint_id
    )
    SELECT 1 FROM resent
""")


def resend(session: Session, delivery_id: int, *, give_up: timedelta) -> bool:
    """Send a delivery at once, whatever became of it. Returns False if a step is sending it now."""
    return changed_a_row(session, _RESEND, delivery_id=delivery_id, give_up=give_up)


_GIVE_UP = statement("""
    UPDATE delivery SET state = 'failed', due_at = NULL, claimed_at = NULL, ended_at = now()
    WHERE id IN (
        SELECT id FROM delivery WHERE state = 'pending' AND give_up_at < now() - CAST(:grace AS interval)
        ORDER BY give_up_at LIMIT :count FOR UPDATE SKIP LOCKED)
    RETURNING 1
""")


def give_up_old(session: Session, *, grace: timedelta, count: int) -> int:
    """End at most `count` deliveries that nothing has sent, because their endpoint is disabled. Returns how many."""
    return len(session.execute(_GIVE_UP, {"grace": grace, "count": count}).all())


_REMOVE = statement("""
    DELETE FROM delivery WHERE id IN (
        (SELECT id FROM delivery WHERE ended_at < now() - CAST(:older_than AS interval) ORDER BY ended_at LIMIT :count)
        UNION ALL
        (SELECT delivery.id FROM delivery JOIN endpoint ON endpoint.id = endpoint_id
         WHERE deleted_at IS NOT NULL LIMIT :count))
    RETURNING 1
""")


def remove_old(session: Session, *, older_than: timedelta, count: int) -> int:
    """Remove deliveries that ended before `older_than`, and those of deleted endpoints. Returns how many.

    Those of removed jobs are removed with their jobs.
    """
    return len(session.execute(_REMOVE, {"older_than": older_than, "count": count}).all())
