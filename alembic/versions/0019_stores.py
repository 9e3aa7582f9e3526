"""The folder for videos: its marker, and the workers' reports about it. Names become unique regardless of case."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_NAMED = "batch_id IS NOT NULL AND file_stem IS NOT NULL"


def upgrade() -> None:
    """If the names of batches differ only in case, the oldest batch keeps its name."""
    op.add_column("account", sa.Column("store_marker", sa.Text(), nullable=True))
    op.add_column("worker", sa.Column("store_problem", sa.Text(), nullable=True))
    op.add_column("worker", sa.Column("store_free_bytes", sa.BigInteger(), nullable=True))
    op.drop_constraint(op.f("uq_batch_name"), "batch")
    op.execute("""
        UPDATE batch SET name = left(name, 51) || '-' || right(id::text, 12)
        WHERE EXISTS (SELECT FROM batch AS older WHERE lower(older.name) = lower(batch.name) AND older.id < batch.id)
    """)
    op.create_index("ix_batch_name", "batch", [sa.text("lower(name)")], unique=True)
    stem = ["batch_id", sa.text("lower(file_stem)")]
    op.create_index("ix_job_file_stem", "job", stem, unique=True, postgresql_where=sa.text(_NAMED))


def downgrade() -> None:
    op.drop_index("ix_job_file_stem", "job")
    op.drop_index("ix_batch_name", "batch")
    op.create_unique_constraint(op.f("uq_batch_name"), "batch", ["name"])
    for column in ("store_free_bytes", "store_problem"):
        op.drop_column("worker", column)
    op.drop_column("account", "store_marker")
