"""The ledger: what becomes of a surplus, what tells of a restored database, and how many came too late."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("prediction", sa.Column("verdict", sa.Text(), nullable=True))
    op.add_column(
        "prediction", sa.Column("store_attempts", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.create_check_constraint(
        op.f("ck_prediction_verdict"),
        "prediction",
        "verdict IS NULL OR (state = 'surplus'"
        " AND verdict IN ('completed', 'failed', 'cancelled', 'timeout', 'deleted', 'lost'))",
    )
    op.create_index(
        "ix_prediction_surplus", "prediction", ["due_at"], unique=False, postgresql_where=sa.text("state = 'surplus'")
    )
    op.add_column("artifact", sa.Column("is_surplus", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("account", sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("account", sa.Column("epoch_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("account", sa.Column("restore_epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("account", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("account", sa.Column("paused_reason", sa.Text(), nullable=True))
    op.add_column("account", sa.Column("paused_detail", sa.Text(), nullable=True))
    op.create_table(
        "late_write",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_late_write")),
    )
    # Those that an earlier version only counted are watched from now on.
    op.execute("UPDATE prediction SET due_at = now() WHERE state = 'surplus'")


def downgrade() -> None:
    op.drop_table("late_write")
    for column in ("paused_detail", "paused_reason", "paused_at", "restore_epoch", "epoch_at", "epoch"):
        op.drop_column("account", column)
    op.execute("DELETE FROM artifact WHERE is_surplus")
    op.drop_column("artifact", "is_surplus")
    op.drop_index("ix_prediction_surplus", table_name="prediction", postgresql_where=sa.text("state = 'surplus'"))
    op.drop_constraint(op.f("ck_prediction_verdict"), "prediction", type_="check")
    for column in ("store_attempts", "verdict"):
        op.drop_column("prediction", column)
