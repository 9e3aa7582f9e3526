"""Promises: by when a batch is to have ended, whether that is at risk, and events of a batch."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batch", sa.Column("finish_by", sa.DateTime(timezone=True), nullable=True))
    op.add_column("batch", sa.Column("at_risk_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(op.f("ck_batch_at_risk_at"), "batch", "at_risk_at IS NULL OR finish_by IS NOT NULL")
    op.create_index(
        "ix_batch_finish_by", "batch", ["finish_by"], unique=False, postgresql_where=sa.text("finish_by IS NOT NULL")
    )
    op.add_column("event", sa.Column("batch_id", sa.Uuid(), nullable=True))
    op.create_index(
        "ix_event_batch", "event", ["batch_id", "id"], unique=False, postgresql_where=sa.text("batch_id IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_index("ix_event_batch", table_name="event", postgresql_where=sa.text("batch_id IS NOT NULL"))
    op.drop_column("event", "batch_id")
    op.drop_index("ix_batch_finish_by", table_name="batch", postgresql_where=sa.text("finish_by IS NOT NULL"))
    op.drop_constraint(op.f("ck_batch_at_risk_at"), "batch", type_="check")
    op.drop_column("batch", "at_risk_at")
    op.drop_column("batch", "finish_by")
