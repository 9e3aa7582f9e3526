"""Webhooks: the secret of their tokens, and what they reported."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

RANDOM = "(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))"
COMPARED = "hook_verdict IS NOT NULL AND ended_at IS NOT NULL AND NOT ended_by_hook"


def upgrade() -> None:
    op.add_column("account", sa.Column("hook_secret", sa.LargeBinary(), server_default=sa.text(RANDOM), nullable=False))
    op.add_column("prediction", sa.Column("hook_asked", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("prediction", sa.Column("hooked_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("prediction", sa.Column("hook_verdict", sa.Text(), nullable=True))
    op.add_column(
        "prediction", sa.Column("ended_by_hook", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.create_index(
        "ix_prediction_hook_compared", "prediction", ["account_id", "ended_at"], postgresql_where=sa.text(COMPARED)
    )


def downgrade() -> None:
    op.drop_index("ix_prediction_hook_compared", "prediction")
    for column in ("ended_by_hook", "hook_verdict", "hooked_at", "hook_asked"):
        op.drop_column("prediction", column)
    op.drop_column("account", "hook_secret")
