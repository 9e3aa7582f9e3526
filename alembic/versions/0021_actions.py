"""Actions on many jobs, jobs that a person has paused, and lists of failed and of ended jobs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_KINDS = "kind IN ('retry', 'cancel', 'priority', 'pause', 'resume', 'recheck', 'delete')"


def upgrade() -> None:
    op.add_column("job", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
    _index_queue("state = 'queued' AND paused_at IS NULL")
    op.create_table(
        "action",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'running'"), nullable=False),
        sa.Column("chosen", postgresql.JSONB(), nullable=False),
        sa.Column("arguments", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("matched", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.Numeric(12, 4), nullable=False),
        sa.Column("changed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("refused", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_action")),
        sa.CheckConstraint(_KINDS, name=op.f("ck_action_kind")),
        sa.CheckConstraint("state IN ('running', 'done', 'aborted')", name=op.f("ck_action_state")),
        sa.CheckConstraint("(ended_at IS NOT NULL) = (state <> 'running')", name=op.f("ck_action_ended_at")),
    )
    op.create_index("ix_action_running", "action", ["id"], postgresql_where=sa.text("state = 'running'"))
    op.create_table(
        "action_item",
        sa.Column("action_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("action_id", "job_id", name=op.f("pk_action_item")),
        sa.ForeignKeyConstraint(
            ["action_id"], ["action.id"], name=op.f("fk_action_item_action_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_action_item_job_id"), ondelete="CASCADE"),
    )
    op.create_index(op.f("ix_action_item_job_id"), "action_item", ["job_id"])
    op.create_index(
        "ix_job_error_code", "job", ["error_code", "id"], postgresql_where=sa.text("error_code IS NOT NULL")
    )
    op.create_index(
        "ix_job_state_ended", "job", ["state", "ended_at", "id"], postgresql_where=sa.text("ended_at IS NOT NULL")
    )


def downgrade() -> None:
    """Paused jobs are submitted again."""
    op.drop_index("ix_job_state_ended", "job")
    op.drop_index("ix_job_error_code", "job")
    op.drop_table("action_item")
    op.drop_table("action")
    _index_queue("state = 'queued'")
    op.drop_column("job", "paused_at")


def _index_queue(which: str) -> None:
    """Index the queue anew: the jobs that may be admitted."""
    op.drop_index("ix_job_admission", "job")
    op.drop_index("ix_job_due", "job")
    op.create_index("ix_job_admission", "job", [sa.text("priority DESC"), "id"], postgresql_where=sa.text(which))
    op.create_index("ix_job_due", "job", ["due_at"], postgresql_where=sa.text(which))
