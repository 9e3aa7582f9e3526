"""Predictions are watched and stored; their jobs follow. A duplicate purchase is an ordinary prediction with a flag."""

from collections.abc import Iterable

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

OUTCOMES = "'completed', 'failed', 'cancelled', 'timeout', 'deleted', 'lost'"
STATES = f"'submitting', 'unconfirmed', 'rendering', {OUTCOMES}, 'refused', 'not_found'"
ACCEPTED = "'rendering', 'completed', 'failed', 'timeout', 'deleted', 'lost'"
HOOK_COMPARED = "hook_outcome IS NOT NULL AND ended_at IS NOT NULL AND NOT ended_by_hook"
LIVE = "state IN ('rendering', 'submitting', 'unconfirmed')"
TO_STORE = "state = 'completed' AND due_at IS NOT NULL"
EVENTS = ("completed", "failed", "cancelled", "timeout", "deleted", "lost", "inconsistent")
STORE_EVENTS = ("delayed", "crashed")
STORE_COLUMNS = "begun_at, store_attempts, output_failed_at, output_releases, output_warned_at, rechecks"
"""Columns that move from the job to its prediction, in addition to the claim, `due_at` and the error."""


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def _count(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)


def _flag(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False)


def _make_store_columns() -> list[sa.Column[object]]:
    names = ("begun_at", "output_failed_at", "output_warned_at")
    return [*(_time(name) for name in names), _count("output_releases"), _flag("rechecks")]


def upgrade() -> None:
    for column in (_flag("is_duplicate"), _count("store_crashes"), *_make_store_columns()):
        op.add_column("prediction", column)
    _drop_rules("outcome", "state", "provider_id", "ended_at")
    _mark_duplicates()
    _move_stores_to_predictions()
    _rename_events("duplicate", "prediction", EVENTS)
    _rename_events("duplicate", "store", STORE_EVENTS)
    op.drop_column("prediction", "outcome")
    for index in ("ix_job_due", "ix_job_output_failed"):
        op.drop_index(index, table_name="job")
    for name in ("claim", *STORE_COLUMNS.split(", ")):
        op.drop_column("job", name)
    _create_rules(
        is_duplicate="NOT is_duplicate OR provider_id IS NOT NULL",
        state=f"state IN ({STATES})",
        provider_id=f"state NOT IN ({ACCEPTED}) OR provider_id IS NOT NULL",
        ended_at=f"({LIVE}) = (ended_at IS NULL)",
    )
    _create_indexes(f"{LIVE} AND NOT is_duplicate", hook_compared="ended_at DESC NULLS LAST")
    _create_index("ix_prediction_duplicate", "accepted_at", where="is_duplicate")
    _create_index("ix_prediction_to_store", "due_at", where=TO_STORE)
    _create_index(
        "ix_prediction_output_failed", "output_failed_at", where=f"{TO_STORE} AND output_failed_at IS NOT NULL"
    )
    op.create_index("ix_job_due", "job", ["due_at"], postgresql_where=sa.text("state = 'queued'"))


def downgrade() -> None:
    op.add_column("prediction", sa.Column("outcome", sa.Text(), nullable=True))
    for column in (_count("claim"), _count("store_attempts"), *_make_store_columns()):
        op.add_column("job", column)
    _drop_rules("is_duplicate", "state", "provider_id", "ended_at")
    for index in ("ix_prediction_to_store", "ix_prediction_output_failed"):
        op.drop_index(index, table_name="prediction")
    op.drop_index("ix_job_due", table_name="job")
    _move_stores_to_jobs()
    of_duplicate = "AND EXISTS (SELECT 1 FROM prediction WHERE prediction.id = prediction_id AND is_duplicate)"
    _rename_events("prediction", "duplicate", EVENTS, which=of_duplicate)
    _rename_events("store", "duplicate", STORE_EVENTS, which=of_duplicate)
    op.execute("""
        UPDATE prediction
        SET outcome = CASE WHEN state <> 'rendering' THEN state END, state = 'duplicate',
            ended_at = coalesce(ended_at, now()), due_at = CASE WHEN state = 'rendering' THEN now() ELSE due_at END
        WHERE is_duplicate
    """)
    for name in ("is_duplicate", "store_crashes", *STORE_COLUMNS.split(", ")):
        if name != "store_attempts":
            op.drop_column("prediction", name)
    _create_rules(
        outcome=f"outcome IS NULL OR (state = 'duplicate' AND outcome IN ({OUTCOMES}))",
        state=f"state IN ({STATES}, 'duplicate')",
        provider_id=f"state NOT IN ({ACCEPTED}, 'duplicate') OR provider_id IS NOT NULL",
        ended_at=f"({LIVE}) = (ended_at IS NULL)",
    )
    _create_indexes(LIVE, hook_compared="ended_at")
    _create_index("ix_prediction_duplicate", "due_at", where="state = 'duplicate'")
    is_due, is_failed = "state IN ('queued', 'storing')", "state = 'storing' AND output_failed_at IS NOT NULL"
    op.create_index("ix_job_due", "job", ["state", "due_at"], postgresql_where=sa.text(is_due))
    op.create_index("ix_job_output_failed", "job", ["output_failed_at"], postgresql_where=sa.text(is_failed))


def _mark_duplicates() -> None:
    """A render that is still watched begins a watch window now, and is checked at once."""
    op.execute("""
        UPDATE prediction
        SET is_duplicate = true, state = coalesce(outcome, 'rendering'),
            ended_at = CASE WHEN outcome IS NOT NULL THEN ended_at END,
            due_at = CASE WHEN outcome IS NULL THEN now() + interval '10 minutes' ELSE due_at END,
            early_check_at = CASE WHEN outcome IS NULL THEN now() END
        WHERE state = 'duplicate'
    """)


def _move_stores_to_predictions() -> None:
    """The newest completed prediction of a storing job gets its store step, the crashes counted from the history."""
    op.execute(f"""
        UPDATE prediction
        SET due_at = job.due_at, claim = greatest(prediction.claim, job.claim), error_code = job.error_code,
            error_message = job.error_message, ({STORE_COLUMNS}) = (
                job.begun_at, job.store_attempts, job.output_failed_at, job.output_releases, job.output_warned_at,
                job.rechecks),
            store_crashes = (
                SELECT count(*) FROM event
                WHERE event.job_id = job.id AND kind = 'store.crashed' AND event.id > coalesce((
                    SELECT max(id) FROM event WHERE event.job_id = job.id
                    AND kind IN ('store.delayed', 'job.retried', 'job.rechecked')), 0))
        FROM job
        WHERE job.state = 'storing' AND prediction.id = (
            SELECT id FROM prediction AS latest
            WHERE latest.job_id = job.id AND latest.state = 'completed' AND NOT latest.is_duplicate
            ORDER BY attempt DESC LIMIT 1)
    """)  # noqa: S608 - a constant
    op.execute("UPDATE job SET due_at = NULL, error_code = NULL, error_message = NULL WHERE state = 'storing'")


def _move_stores_to_jobs() -> None:
    op.execute(f"""
        UPDATE job
        SET due_at = prediction.due_at, claim = prediction.claim, error_code = prediction.error_code,
            error_message = prediction.error_message, ({STORE_COLUMNS}) = (
                prediction.begun_at, prediction.store_attempts, prediction.output_failed_at,
                prediction.output_releases, prediction.output_warned_at, prediction.rechecks)
        FROM prediction
        WHERE job_id = job.id AND job.state = 'storing' AND NOT is_duplicate
          AND prediction.state = 'completed' AND prediction.due_at IS NOT NULL
    """)  # noqa: S608 - a constant
    op.execute("""
        UPDATE prediction SET due_at = NULL, store_attempts = 0, error_code = NULL, error_message = NULL
        WHERE state = 'completed' AND due_at IS NOT NULL AND NOT is_duplicate
    """)


def _drop_rules(*names: str) -> None:
    for index in ("uq_prediction_live", "ix_prediction_duplicate", "ix_prediction_hook_compared"):
        op.drop_index(index, table_name="prediction")
    for name in names:
        op.drop_constraint(op.f(f"ck_prediction_{name}"), "prediction", type_="check")


def _create_rules(**rules: str) -> None:
    for name, rule in rules.items():
        op.create_check_constraint(op.f(f"ck_prediction_{name}"), "prediction", rule)


def _create_indexes(live: str, *, hook_compared: str) -> None:
    op.create_index("uq_prediction_live", "prediction", ["job_id"], unique=True, postgresql_where=sa.text(live))
    op.create_index(
        "ix_prediction_hook_compared",
        "prediction",
        ["account_id", sa.text(hook_compared)],
        postgresql_where=sa.text(HOOK_COMPARED),
    )


def _create_index(name: str, column: str, *, where: str) -> None:
    op.create_index(name, "prediction", [column], postgresql_where=sa.text(where))


def _rename_events(old: str, new: str, names: Iterable[str], *, which: str = "") -> None:
    kinds = ", ".join(f"'{old}.{name}'" for name in names)
    op.execute(
        f"UPDATE event SET kind = '{new}.' || split_part(kind, '.', 2) WHERE kind IN ({kinds}) {which}"  # noqa: S608
    )
