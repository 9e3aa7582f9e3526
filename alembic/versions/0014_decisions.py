"""Decisions read columns, not the history: crashed submissions, and warnings before the end of the retention."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    crashed = sa.Column("submit_crashed", sa.Boolean(), server_default=sa.false(), nullable=False)
    op.add_column("prediction", crashed)
    op.add_column("prediction", sa.Column("retention_warned_at", sa.DateTime(timezone=True), nullable=True))
    # Only crashes after the job's last retry count.
    op.execute("""
        UPDATE prediction SET submit_crashed = true
        FROM event
        WHERE event.job_id = prediction.job_id AND event.prediction_id = prediction.id
          AND event.kind = 'prediction.unconfirmed' AND event.detail->>'code' = 'worker_crashed'
          AND event.id > coalesce((
              SELECT max(id) FROM event AS retried
              WHERE retried.job_id = prediction.job_id AND retried.kind = 'job.retried'), 0)
    """)
    op.execute("""
        UPDATE prediction SET retention_warned_at = event.at
        FROM event
        WHERE event.job_id = prediction.job_id AND event.prediction_id = prediction.id
          AND event.kind = 'prediction.retention_near'
    """)


def downgrade() -> None:
    op.drop_column("prediction", "retention_warned_at")
    op.drop_column("prediction", "submit_crashed")
