"""Pruning: batches that are deleted, files that were removed on purpose, and the totals of ended predictions."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("batch", sa.Column("deleted_at", _TIME, nullable=True))
    op.add_column("batch", sa.Column("files_removed_at", _TIME, nullable=True))
    op.create_check_constraint(
        op.f("ck_batch_files_removed_at"), "batch", "files_removed_at IS NULL OR deleted_at IS NOT NULL"
    )
    op.create_index("ix_batch_deleted", "batch", ["deleted_at"], postgresql_where=sa.text("deleted_at IS NOT NULL"))
    op.add_column("artifact", sa.Column("removed_at", _TIME, nullable=True))
    op.alter_column("artifact", "url", existing_type=sa.Text(), nullable=True)
    op.create_check_constraint(op.f("ck_artifact_url"), "artifact", "url IS NOT NULL OR removed_at IS NOT NULL")
    stored, marked = "removed_at IS NULL AND kind <> 'unverified'", "removed_at IS NOT NULL AND url IS NOT NULL"
    op.create_index("ix_artifact_stored", "artifact", ["created_at"], postgresql_where=sa.text(stored))
    op.create_index("ix_artifact_marked", "artifact", ["id"], postgresql_where=sa.text(marked))
    ended = sa.text("ended_at IS NOT NULL")
    op.create_index("ix_job_ended", "job", ["batch_id", "ended_at"], postgresql_where=ended)
    op.add_column("prediction", sa.Column("counted", sa.Boolean(), server_default=sa.false(), nullable=False))
    uncounted = sa.text("NOT counted AND (provider_id IS NOT NULL OR ended_at IS NULL)")
    op.create_index("ix_prediction_uncounted", "prediction", ["account_id", "ended_at"], postgresql_where=uncounted)
    op.create_table(
        "daily_total",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("video_model", sa.Text(), nullable=False),
        sa.Column("renders", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        *(
            sa.Column(name, sa.Numeric(12, 4), server_default=sa.text("0"), nullable=False)
            for name in ("seconds", "spent", "refunded", "duplicate")
        ),
        sa.Column("duplicates", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_daily_total_account_id")),
        sa.PrimaryKeyConstraint("account_id", "day", "video_model", name=op.f("pk_daily_total")),
    )


def downgrade() -> None:
    """The totals of removed predictions are lost, and files that were removed on purpose look missing."""
    op.drop_table("daily_total")
    op.drop_index("ix_prediction_uncounted", "prediction")
    op.drop_column("prediction", "counted")
    op.drop_index("ix_job_ended", "job")
    op.drop_index("ix_artifact_marked", "artifact")
    op.drop_index("ix_artifact_stored", "artifact")
    op.drop_constraint(op.f("ck_artifact_url"), "artifact")
    op.execute("UPDATE artifact SET url = 'file:///removed' WHERE url IS NULL")
    op.alter_column("artifact", "url", existing_type=sa.Text(), nullable=False)
    op.drop_column("artifact", "removed_at")
    op.drop_index("ix_batch_deleted", "batch")
    op.drop_constraint(op.f("ck_batch_files_removed_at"), "batch")
    op.drop_column("batch", "files_removed_at")
    op.drop_column("batch", "deleted_at")
