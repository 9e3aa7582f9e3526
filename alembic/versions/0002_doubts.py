"""Reconciling: who looks for submissions in doubt, how far behind the provider's list is, what nobody knows."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("account", sa.Column("reconcile_claim", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("account", sa.Column("reconcile_begun", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("account", sa.Column("reconcile_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("account", sa.Column("orphans_swept_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("account", sa.Column("list_lag_seconds", sa.Double(), server_default=sa.text("0"), nullable=False))
    op.add_column("prediction", sa.Column("adopted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "orphan",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("video_model", sa.Text(), nullable=False),
        sa.Column("input", sa.dialects.postgresql.JSONB(), nullable=True),
        sa.Column("provider_created_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("found_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_orphan_account_id")),
        sa.PrimaryKeyConstraint("account_id", "provider_id", name=op.f("pk_orphan")),
    )


def downgrade() -> None:
    op.drop_table("orphan")
    op.drop_column("prediction", "adopted_at")
    for column in ("list_lag_seconds", "orphans_swept_at", "reconcile_until", "reconcile_begun", "reconcile_claim"):
        op.drop_column("account", column)
