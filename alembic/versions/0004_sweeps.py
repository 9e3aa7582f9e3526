"""Sweeps: pages of the provider's list by its time, hints that a render may have ended, how late the list is."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

RENDERING = sa.text("state = 'rendering'")


def upgrade() -> None:
    op.add_column("prediction", sa.Column("hinted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_prediction_created", "prediction", ["account_id", "provider_created_at"], postgresql_where=RENDERING
    )
    op.create_index(
        "ix_prediction_ended",
        "prediction",
        ["ended_at"],
        postgresql_where=sa.text("ended_at IS NOT NULL"),
    )
    op.create_index("ix_prediction_hinted", "prediction", ["hinted_at"], postgresql_where=RENDERING)
    op.add_column("account", sa.Column("sweep_lag_seconds", sa.Double, server_default=sa.text("0"), nullable=False))
    op.add_column("account", sa.Column("sweep_lag_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("account", "sweep_lag_at")
    op.drop_column("account", "sweep_lag_seconds")
    op.drop_index("ix_prediction_hinted", "prediction")
    op.drop_index("ix_prediction_ended", "prediction")
    op.drop_index("ix_prediction_created", "prediction")
    op.drop_column("prediction", "hinted_at")
