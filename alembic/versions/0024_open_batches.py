"""Batches that are open for more jobs, and batches that have ended."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_SEALED = ("cancelled_at", "ended_at", "deleted_at")


def upgrade() -> None:
    op.add_column("batch", sa.Column("defaults", postgresql.JSONB(), nullable=True))
    # With the default, a batch that an older API process pushes during an upgrade is sealed.
    op.add_column(
        "batch", sa.Column("sealed_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=True)
    )
    op.add_column("batch", sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("batch", sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("""
        UPDATE batch SET sealed_at = batch.created_at,
            ended_at = coalesce(done.ended_at, batch.deleted_at),
            cancelled_at = CASE WHEN done.is_cancelled THEN done.ended_at END
        FROM batch AS same LEFT JOIN (
            SELECT batch_id, max(ended_at) AS ended_at, bool_and(state = 'cancelled') AS is_cancelled
            FROM job GROUP BY batch_id HAVING bool_and(ended_at IS NOT NULL)
        ) AS done ON done.batch_id = same.id
        WHERE batch.id = same.id
    """)
    op.drop_constraint("ck_batch_job_count", "batch")
    op.create_check_constraint(op.f("ck_batch_job_count"), "batch", "job_count >= 0")
    for column in _SEALED:
        op.create_check_constraint(op.f(f"ck_batch_{column}"), "batch", f"sealed_at IS NOT NULL OR {column} IS NULL")
    op.create_index(
        "ix_batch_to_end", "batch", ["id"], postgresql_where=sa.text("sealed_at IS NOT NULL AND ended_at IS NULL")
    )


def downgrade() -> None:
    """Open batches become ordinary ones. Fails if a batch has no job."""
    op.drop_constraint("ck_batch_job_count", "batch")
    op.create_check_constraint(op.f("ck_batch_job_count"), "batch", "job_count > 0")
    op.drop_constraint("ck_batch_deleted_at", "batch")
    for column in ("ended_at", "cancelled_at", "sealed_at", "defaults"):
        op.drop_column("batch", column)  # with its constraints and indexes
