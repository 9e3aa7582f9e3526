"""The guarantees as SQL. Each query selects the ids of the rows that break one; it holds if none is selected.

Every query is one statement, so it sees one snapshot and is safe on a live system. The queries read whole tables: use
them for an audit, not in a loop.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import TextClause
from sqlalchemy.orm import Session

from models.db.rows import find_all, find_one, statement
from models.lifecycle import SLOT_WINDOWS
from models.money import REFUNDED, SPENT
from models.transitions.storing.steps import TO_STORE

EXAMPLES = 10

_COUNTED = """
    SELECT count(*) AS total, coalesce((array_agg(DISTINCT id ORDER BY id))[1:{examples}], '{{}}') AS examples
    FROM ({broken}) AS broken (id)
"""


def _rule(name: str, sentence: str, broken: str) -> "AuditRule":
    return AuditRule(name, sentence, statement(_COUNTED.format(examples=EXAMPLES, broken=broken)))


class AuditRule(NamedTuple):
    """One guarantee: its name, what a broken row means, and the query that finds such rows."""

    name: str
    sentence: str
    query: TextClause


class Broken(NamedTuple):
    """How many rows break a guarantee, and a few of their ids."""

    total: int
    examples: list[str]


class Purchase(NamedTuple):
    """A prediction that the provider accepted, as our rows show it."""

    prediction_id: UUID
    job_id: UUID
    provider_id: str
    state: str
    price: Decimal
    is_spent: bool


class StoredFile(NamedTuple):
    """A file that should exist according to an artifact's row."""

    artifact_id: UUID
    url: str
    bytes: int
    sha256: str


class Crowd(NamedTuple):
    """The largest number of live predictions that held a slot of an account at once, from its history."""

    account: str
    most_live: int
    allowed: int
    given_back: int  # slots that stuck renders and old submissions gave back: this many more may have rendered


_ADMITTED = """NOT EXISTS (
    SELECT 1 FROM event AS born WHERE born.job_id = prediction.job_id AND born.prediction_id = prediction.id
    AND born.kind = 'prediction.created' AND born.detail->>'why' IS NOT NULL)"""

# The overcommit may shrink while renders that were admitted under a larger one go on.
_MAX_OVERCOMMIT = """greatest(overcommit, coalesce((
    SELECT max(CAST(detail->>'overcommit' AS bigint)) FROM event
    WHERE event.kind = 'account.overcommit' AND event.account_id = account.id), 0))"""

RULES = (
    _rule(
        "one_live_prediction",
        "the job has more than one prediction that may be bought or rendering",
        """SELECT job_id::text FROM prediction WHERE state IN ('submitting', 'unconfirmed', 'rendering')
           AND NOT is_duplicate GROUP BY job_id HAVING count(*) > 1""",
    ),
    _rule(
        "rendering_has_live",
        "the job renders, but has no live prediction: nothing would ever move it",
        """SELECT id::text FROM job WHERE state = 'rendering' AND NOT EXISTS (
               SELECT 1 FROM prediction WHERE job_id = job.id AND NOT is_duplicate
               AND prediction.state IN ('submitting', 'unconfirmed', 'rendering'))""",
    ),
    _rule(
        "live_has_rendering",
        "the prediction is live, but its job does not render",
        """SELECT prediction.id::text FROM prediction JOIN job ON job.id = job_id
           WHERE prediction.state IN ('submitting', 'unconfirmed', 'rendering') AND NOT is_duplicate
           AND job.state <> 'rendering'""",
    ),
    _rule(
        "storing_has_output",
        "the job stores, but no prediction of it has an output to store",
        f"""SELECT id::text FROM job WHERE state = 'storing' AND NOT EXISTS (
               SELECT 1 FROM prediction
               WHERE job_id = job.id AND {TO_STORE} AND NOT is_duplicate)""",
    ),
    _rule(
        "succeeded_has_video",
        "the job has succeeded, but no video of it is stored",
        """SELECT id::text FROM job WHERE state = 'succeeded' AND NOT EXISTS (
               SELECT 1 FROM artifact WHERE job_id = job.id AND kind = 'video' AND NOT is_duplicate)""",
    ),
    _rule(
        "paid_has_video",
        "the prediction was paid for and its job has ended, but no file of it is kept",
        """SELECT prediction.id::text FROM prediction JOIN job ON job.id = job_id
           WHERE prediction.state = 'completed' AND NOT is_duplicate AND job.ended_at IS NOT NULL AND NOT EXISTS (
               SELECT 1 FROM artifact WHERE prediction_id = prediction.id AND kind IN ('video', 'unverified'))""",
    ),
    _rule(
        "bought_once",
        "the job was bought more often than refunded outcomes and a person's retries and abandonments allow",
        f"""SELECT job_id::text FROM prediction WHERE provider_id IS NOT NULL
           GROUP BY job_id
           HAVING count(*) > 1 + count(*) FILTER (WHERE {REFUNDED} OR error_code = 'abandoned') + (
               SELECT count(*) FROM event WHERE event.job_id = prediction.job_id AND kind = 'job.retried')""",
    ),
    _rule(
        "no_duplicate",
        "the prediction was found after it had been marked not found or refused: paid for in addition to another",
        "SELECT id::text FROM prediction WHERE is_duplicate",
    ),
    _rule(
        "duplicate_goes_on",
        "the duplicate purchase was paid for, but nothing will fetch its video, and no file of it is kept",
        """SELECT id::text FROM prediction
           WHERE is_duplicate AND state = 'completed' AND due_at IS NULL
             AND NOT EXISTS (SELECT 1 FROM artifact
                             WHERE prediction_id = prediction.id AND kind IN ('video', 'unverified'))""",
    ),
    _rule(
        "no_unknown_prediction",
        "the provider has a prediction that no row of ours asked for",
        """SELECT provider_id FROM unknown_prediction WHERE NOT EXISTS ( SELECT 1 FROM prediction WHERE
        prediction.account_id = unknown_prediction.account_id AND prediction.provider_id =
        unknown_prediction.provider_id)""",
    ),
    _rule(
        "attempts_bounded",
        "the job had more purchases than its max_attempts",
        """SELECT job.id::text FROM job JOIN prediction ON job_id = job.id
           WHERE provider_id IS NOT NULL AND NOT is_duplicate
           GROUP BY job.id HAVING count(*) > max_attempts""",
    ),
    _rule(
        "ended_stays_ended",
        "the job's history goes on after its end without a retry or a recheck by a person",
        """SELECT later.job_id::text FROM event AS ending
           JOIN event AS later ON later.job_id = ending.job_id AND later.id > ending.id
           WHERE ending.kind IN ('job.succeeded', 'job.failed', 'job.cancelled')
             AND split_part(later.kind, '.', 1) IN ('job', 'prediction', 'store', 'watch')
             AND later.kind NOT IN ('job.retried', 'job.rechecked')
             AND NOT EXISTS (SELECT 1 FROM prediction WHERE prediction.id = later.prediction_id AND is_duplicate)
             AND NOT EXISTS (
                 SELECT 1 FROM event AS retried WHERE retried.job_id = ending.job_id
                 AND retried.kind IN ('job.retried', 'job.rechecked')
                 AND retried.id > ending.id AND retried.id < later.id)""",
    ),
    _rule(
        "ends_are_reported",
        "the job has ended, but the last event of its history names another state",
        """SELECT job.id::text FROM job WHERE ended_at IS NOT NULL AND job.state IS DISTINCT FROM (
               SELECT split_part(kind, '.', 2) FROM event WHERE job_id = job.id
               AND kind IN ('job.succeeded', 'job.failed', 'job.cancelled', 'job.retried', 'job.rechecked')
               ORDER BY event.id DESC LIMIT 1)""",
    ),
    _rule(
        "ended_batch_has_ended",
        "the batch is recorded as ended, but a job of it has not ended",
        """SELECT id::text FROM batch WHERE ended_at IS NOT NULL AND EXISTS (
               SELECT 1 FROM job WHERE batch_id = batch.id AND job.ended_at IS NULL)""",
    ),
    _rule(
        "jobs_are_numbered",
        "the number of the batch's jobs, or their numbers, differ from what the batch says",
        """SELECT batch.id::text FROM batch LEFT JOIN job ON batch_id = batch.id WHERE deleted_at IS NULL
           GROUP BY batch.id HAVING count(job.id) <> job_count OR coalesce(max(number), 0) <> job_count""",
    ),
    _rule(
        "within_slots",
        "the account has more live predictions that hold a slot than its slots and its overcommit allow",
        f"""SELECT account.name FROM account JOIN prediction ON account_id = account.id
           WHERE state IN ('submitting', 'unconfirmed', 'rendering') AND watch_windows < {SLOT_WINDOWS}
             AND NOT is_duplicate AND {_ADMITTED}
           GROUP BY account.id HAVING count(*) > slots + {_MAX_OVERCOMMIT}""",
    ),
)
"""The rules that must hold at every instant."""

EVERY_JOB_ENDED = _rule("every_job_ended", "the job has not ended", "SELECT id::text FROM job WHERE ended_at IS NULL")
"""The rule that must hold once nothing is left to do."""


def find_broken(session: Session, rule: AuditRule) -> Broken:
    """The rows that break this guarantee."""
    broken = find_one(session, rule.query, Broken)
    assert broken is not None  # noqa: S101 - an aggregate without GROUP BY has a row
    return broken


_PURCHASES = statement(f"""
    SELECT id AS prediction_id, job_id, provider_id, state, price, {SPENT} AS is_spent
    FROM prediction WHERE provider_id IS NOT NULL ORDER BY id
""")


def list_purchases(session: Session) -> list[Purchase]:
    """Every prediction that has a provider id."""
    return find_all(session, _PURCHASES, Purchase)


_FILES = statement("""
    SELECT id AS artifact_id, url, bytes, sha256 FROM artifact
    WHERE removed_at IS NULL AND (CAST(:ids AS uuid[]) IS NULL OR id = ANY(CAST(:ids AS uuid[])))
    ORDER BY id
""")


def list_stored_files(session: Session, ids: Sequence[UUID] | None = None) -> list[StoredFile]:
    """Every file that should exist according to a row; with `ids`, only those of these artifacts."""
    return find_all(session, _FILES, StoredFile, ids=ids)


# An ending is committed before the count that admits its successor, and events carry the time of their statement. A
# slot that was given back is free from then on; the ending of its render frees nothing. Purchases found after a restore
# and duplicate purchases were not admitted, so they may exceed the slots.
_CROWDS = statement(f"""
    SELECT account.name AS account, max(live)::int AS most_live, slots + {_MAX_OVERCOMMIT} AS allowed,
        count(*) FILTER (WHERE gives_back) AS given_back
    FROM (
        SELECT account_id, gives_back, sum(step) OVER (PARTITION BY account_id ORDER BY at, step) AS live
        FROM (
            SELECT prediction.account_id, at, CASE WHEN kind = 'prediction.created' THEN 1 ELSE -1 END AS step,
                false AS gives_back
            FROM event JOIN prediction ON prediction.id = prediction_id
            WHERE kind IN ('prediction.created', 'prediction.completed', 'prediction.failed', 'prediction.cancelled',
                'prediction.timeout', 'prediction.deleted', 'prediction.lost', 'prediction.not_found',
                'prediction.refused')
              AND (kind = 'prediction.created' OR CASE WHEN is_duplicate
                  THEN kind IN ('prediction.not_found', 'prediction.refused') ELSE watch_windows < :slot_windows END)
              AND {_ADMITTED}
            UNION ALL
            SELECT prediction.account_id, at, -1, true
            FROM event JOIN prediction ON prediction.id = prediction_id
            WHERE (kind = 'watch.timed_out' AND CAST(detail->>'window' AS int) = :slot_windows
                OR kind = 'prediction.undecidable' AND CAST(detail->>'gives_slot_back' AS boolean))
                AND NOT is_duplicate AND {_ADMITTED}
        ) AS steps
    ) AS history
    JOIN account ON account.id = account_id
    GROUP BY account.id
""")


def list_crowds(session: Session) -> list[Crowd]:
    """Per account, the largest number of live predictions at once in its whole history, and today's limit."""
    return find_all(session, _CROWDS, Crowd, slot_windows=SLOT_WINDOWS)
