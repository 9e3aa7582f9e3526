"""A duplicate purchase is an ordinary prediction with a flag: watched, ended and priced like any other."""

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
EVENTS = ("completed", "failed", "cancelled", "timeout", "deleted", "lost", "inconsistent")


def upgrade() -> None:
    op.add_column("prediction", sa.Column("is_duplicate", sa.Boolean(), server_default=sa.false(), nullable=False))
    _drop_rules("outcome", "state", "provider_id", "ended_at")
    # A render that is still watched begins a watch window now, and is checked at once.
    op.execute("""
        UPDATE prediction
        SET is_duplicate = true, state = coalesce(outcome, 'rendering'),
            ended_at = CASE WHEN outcome IS NOT NULL THEN ended_at END,
            due_at = CASE WHEN outcome IS NULL THEN now() + interval '10 minutes' ELSE due_at END,
            early_check_at = CASE WHEN outcome IS NULL THEN now() END
        WHERE state = 'duplicate'
    """)
    _rename_events("duplicate", "prediction", which="")
    op.drop_column("prediction", "outcome")
    _create_rules(
        is_duplicate="NOT is_duplicate OR provider_id IS NOT NULL",
        state=f"state IN ({STATES})",
        provider_id=f"state NOT IN ({ACCEPTED}) OR provider_id IS NOT NULL",
        ended_at=f"({LIVE}) = (ended_at IS NULL)",
    )
    _create_indexes(
        live=f"{LIVE} AND NOT is_duplicate", duplicate="is_duplicate", hook_compared=["state", "hook_outcome"]
    )


def downgrade() -> None:
    op.add_column("prediction", sa.Column("outcome", sa.Text(), nullable=True))
    _drop_rules("is_duplicate", "state", "provider_id", "ended_at")
    _rename_events(
        "prediction",
        "duplicate",
        which="""
        AND EXISTS (SELECT 1 FROM prediction WHERE prediction.id = prediction_id AND is_duplicate)
    """,
    )
    op.execute("""
        UPDATE prediction
        SET outcome = CASE WHEN state <> 'rendering' THEN state END, state = 'duplicate',
            ended_at = coalesce(ended_at, now()), due_at = CASE WHEN state = 'rendering' THEN now() ELSE due_at END
        WHERE is_duplicate
    """)
    op.drop_column("prediction", "is_duplicate")
    _create_rules(
        outcome=f"outcome IS NULL OR (state = 'duplicate' AND outcome IN ({OUTCOMES}))",
        state=f"state IN ({STATES}, 'duplicate')",
        provider_id=f"state NOT IN ({ACCEPTED}, 'duplicate') OR provider_id IS NOT NULL",
        ended_at=f"({LIVE}) = (ended_at IS NULL)",
    )
    _create_indexes(live=LIVE, duplicate="state = 'duplicate'", hook_compared=[])


def _drop_rules(*names: str) -> None:
    for index in ("uq_prediction_live", "ix_prediction_duplicate", "ix_prediction_hook_compared"):
        op.drop_index(index, table_name="prediction")
    for name in names:
        op.drop_constraint(op.f(f"ck_prediction_{name}"), "prediction", type_="check")


def _create_rules(**rules: str) -> None:
    for name, rule in rules.items():
        op.create_check_constraint(op.f(f"ck_prediction_{name}"), "prediction", rule)


def _create_indexes(*, live: str, duplicate: str, hook_compared: list[str]) -> None:
    op.create_index("uq_prediction_live", "prediction", ["job_id"], unique=True, postgresql_where=sa.text(live))
    op.create_index("ix_prediction_duplicate", "prediction", ["due_at"], postgresql_where=sa.text(duplicate))
    op.create_index(
        "ix_prediction_hook_compared",
        "prediction",
        ["account_id", "ended_at"],
        postgresql_where=sa.text(HOOK_COMPARED),
        postgresql_include=hook_compared,
    )


def _rename_events(old: str, new: str, *, which: str) -> None:
    kinds = ", ".join(f"'{old}.{name}'" for name in EVENTS)
    op.execute(
        f"UPDATE event SET kind = '{new}.' || split_part(kind, '.', 2) WHERE kind IN ({kinds}) {which}"  # noqa: S608
    )
