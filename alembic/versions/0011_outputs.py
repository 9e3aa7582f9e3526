"""Outputs: files that fail the probe are kept, and an outage of the output host is known."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_KINDS = "kind IN ({})"
_FAILED = sa.text("state = 'storing' AND output_failed_at IS NOT NULL")


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def upgrade() -> None:
    op.drop_constraint(op.f("ck_artifact_kind"), "artifact", type_="check")
    op.create_check_constraint(op.f("ck_artifact_kind"), "artifact", _KINDS.format("'video', 'poster', 'unverified'"))
    for name in ("content_type", "source", "message", "suspect"):
        op.add_column("artifact", sa.Column(name, sa.Text(), nullable=True))
    op.create_index("ix_artifact_unverified", "artifact", ["sha256"], postgresql_where=sa.text("kind = 'unverified'"))
    op.add_column("artifact", _time("repeated_at"))
    op.add_column("job", _time("output_failed_at"))
    op.add_column("job", sa.Column("output_releases", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("job", _time("output_warned_at"))
    op.add_column("job", sa.Column("rechecks", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index("ix_job_output_failed", "job", ["output_failed_at"], postgresql_where=_FAILED)
    op.add_column("account", _time("outputs_reached_at"))
    op.add_column("account", _time("outputs_failed_at"))
    op.add_column("account", _time("outputs_failing_since"))
    op.add_column("account", sa.Column("outputs_failure", sa.Text(), nullable=True))
    op.add_column("account", sa.Column("outputs_probes", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("account", _time("outputs_probe_at"))


def downgrade() -> None:
    names = ("probe_at", "probes", "failure", "failing_since", "failed_at", "reached_at")
    for name in names:
        op.drop_column("account", f"outputs_{name}")
    op.drop_index("ix_job_output_failed", table_name="job")
    for name in ("rechecks", "output_warned_at", "output_releases", "output_failed_at"):
        op.drop_column("job", name)
    op.drop_index("ix_artifact_unverified", table_name="artifact")
    op.execute("DELETE FROM artifact WHERE kind = 'unverified'")
    for name in ("repeated_at", "suspect", "message", "source", "content_type"):
        op.drop_column("artifact", name)
    op.drop_constraint(op.f("ck_artifact_kind"), "artifact", type_="check")
    op.create_check_constraint(op.f("ck_artifact_kind"), "artifact", _KINDS.format("'video', 'poster'"))
