"""Vocabulary: columns, tables, states, events and codes get the field's standard terms. No fact changes."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TABLES = (("late_write", "stale_write"), ("orphan", "unknown_prediction"))
COLUMNS = (
    ("account", "ahead", "overcommit"),
    ("account", "deferrals", "back_offs"),
    ("account", "deferred_since", "back_off_since"),
    ("account", "deferred_until", "back_off_until"),
    ("account", "deferred_reason", "back_off_reason"),
    ("account", "deferred_detail", "back_off_detail"),
    ("account", "look_failures", "check_failures"),
    ("account", "looks_deferred_until", "check_back_off_until"),
    ("account", "looks_owed", "requests_owed"),
    ("account", "look_price", "check_price"),
    ("account", "orphans_swept_at", "swept_at"),
    ("prediction", "hinted_at", "early_check_at"),
    ("prediction", "odd_since", "inconsistent_since"),
    ("prediction", "hook_verdict", "hook_outcome"),
    ("prediction", "verdict", "outcome"),
    ("artifact", "is_surplus", "is_duplicate"),
)
CONSTRAINTS = (
    ("stale_write", "pk_late_write", "pk_stale_write"),
    ("unknown_prediction", "pk_orphan", "pk_unknown_prediction"),
    ("unknown_prediction", "fk_orphan_account_id", "fk_unknown_prediction_account_id"),
)
INDEXES = (
    ("ix_prediction_hinted", "ix_prediction_early_check"),
    ("ix_prediction_pace", "ix_prediction_rate_slot"),
)
STATES = (("absent", "not_found"), ("surplus", "duplicate"))
CODES = (("in_doubt", "outcome_unknown"), ("worker_silent", "worker_crashed"), ("store_silent", "store_crashed"))
KINDS = (
    ("account.ahead", "account.overcommit"),
    ("account.deferred", "account.backed_off"),
    ("account.orphan", "account.unknown_prediction"),
    ("doubt.decided", "submission.decided"),
    ("prediction.absent", "prediction.not_found"),
    ("prediction.odd", "prediction.inconsistent"),
    ("prediction.surplus", "prediction.duplicate"),
    ("store.silent", "store.crashed"),
    ("surplus.odd", "duplicate.inconsistent"),
    *(
        (f"surplus.{end}", f"duplicate.{end}")
        for end in ("completed", "failed", "cancelled", "timeout", "deleted", "lost", "stored", "delayed", "not_stored")
    ),
)
STALE_WRITES = (
    ("reconcile.pass", "reconcile.run"),
    ("submit.doubted", "submit.unconfirmed"),
    ("sweep.verdict", "sweep.outcome"),
    ("watch.verdict", "watch.outcome"),
    *((f"surplus.{step}", f"duplicate.{step}") for step in ("finish", "outcome", "renew")),
)
LIVE_OR_ENDED = (
    "'submitting', 'unconfirmed', 'rendering', 'completed', 'failed', 'cancelled', 'timeout', 'deleted', 'lost',"
    " 'refused'"
)
Pairs = tuple[tuple[str, str], ...]
_PAIRS = "unnest(CAST(:old AS text[]), CAST(:new AS text[])) AS pair (old, new)"
OUTCOMES = "'completed', 'failed', 'cancelled', 'timeout', 'deleted', 'lost'"


def upgrade() -> None:
    _drop_checks("verdict", duplicate="surplus")
    for table, old, new in COLUMNS:
        op.alter_column(table, old, new_column_name=new)
    for old, new in TABLES:
        op.rename_table(old, new)
    for table, old, new in CONSTRAINTS:
        op.execute(f"ALTER TABLE {table} RENAME CONSTRAINT {old} TO {new}")
    for old, new in INDEXES:
        op.execute(f"ALTER INDEX {old} RENAME TO {new}")
    _rename_values(old=0, new=1, overcommit=("ahead", "overcommit"))
    _create_checks("outcome", not_found="not_found", duplicate="duplicate")


def downgrade() -> None:
    _drop_checks("outcome", duplicate="duplicate")
    for old, new in INDEXES:
        op.execute(f"ALTER INDEX {new} RENAME TO {old}")
    for table, old, new in CONSTRAINTS:
        op.execute(f"ALTER TABLE {table} RENAME CONSTRAINT {new} TO {old}")
    for old, new in TABLES:
        op.rename_table(new, old)
    for table, old, new in COLUMNS:
        op.alter_column(table, new, new_column_name=old)
    _rename_values(old=1, new=0, overcommit=("overcommit", "ahead"))
    _create_checks("verdict", not_found="absent", duplicate="surplus")


def _drop_checks(outcome: str, *, duplicate: str) -> None:
    op.drop_index(f"ix_prediction_{duplicate}", table_name="prediction")
    for name in (outcome, "state", "provider_id"):
        op.drop_constraint(op.f(f"ck_prediction_{name}"), "prediction", type_="check")


def _create_checks(outcome: str, *, not_found: str, duplicate: str) -> None:
    checks = {
        outcome: f"{outcome} IS NULL OR (state = '{duplicate}' AND {outcome} IN ({OUTCOMES}))",
        "state": f"state IN ({LIVE_OR_ENDED}, '{not_found}', '{duplicate}')",
        "provider_id": f"state NOT IN ('rendering', 'completed', 'failed', 'timeout', 'deleted', 'lost', '{duplicate}')"
        " OR provider_id IS NOT NULL",
    }
    for name, rule in checks.items():
        op.create_check_constraint(op.f(f"ck_prediction_{name}"), "prediction", rule)
    is_duplicate = sa.text(f"state = '{duplicate}'")
    op.create_index(f"ix_prediction_{duplicate}", "prediction", ["due_at"], postgresql_where=is_duplicate)


def _rename_values(*, old: int, new: int, overcommit: tuple[str, str]) -> None:
    """Rename values in the rows, from place `old` of each pair to place `new`. One pass over each column."""
    _replace("prediction", "state", STATES, old=old, new=new)
    _replace("prediction", "error_code", CODES, old=old, new=new)
    _replace("job", "error_code", CODES, old=old, new=new)
    _replace("event", "kind", KINDS, old=old, new=new)
    _replace("stale_write" if new else "late_write", "kind", STALE_WRITES, old=old, new=new)
    _replace_in_detail("code", CODES, old=old, new=new)
    _replace_in_detail("how", STATES, old=old, new=new)
    before, after = overcommit
    op.execute(
        f"UPDATE event SET detail = detail - '{before}' || jsonb_build_object('{after}', detail->'{before}')"  # noqa: S608
        f" WHERE detail ? '{before}'"
    )


def _replace(table: str, column: str, pairs: Pairs, *, old: int, new: int) -> None:
    statement = f"UPDATE {table} SET {column} = pair.new FROM {_PAIRS} WHERE {column} = pair.old"  # noqa: S608 - as above
    op.execute(sa.text(statement).bindparams(**_bind(pairs, old=old, new=new)))


def _replace_in_detail(key: str, pairs: Pairs, *, old: int, new: int) -> None:
    statement = (
        f"UPDATE event SET detail = detail || jsonb_build_object('{key}', pair.new)"  # noqa: S608 - as above
        f" FROM {_PAIRS} WHERE detail->>'{key}' = pair.old"
    )
    op.execute(sa.text(statement).bindparams(**_bind(pairs, old=old, new=new)))


def _bind(pairs: Pairs, *, old: int, new: int) -> dict[str, list[str]]:
    return {"old": [pair[old] for pair in pairs], "new": [pair[new] for pair in pairs]}
