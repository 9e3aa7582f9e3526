"""Outages of the provider, and turns of the dispatcher that fail."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "account", sa.Column("provider_failures", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("account", sa.Column("provider_failing_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("account", sa.Column("provider_failed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("account", sa.Column("provider_failure", sa.Text(), nullable=True))
    op.add_column("worker", sa.Column("turns_failing_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("worker", sa.Column("turn_error", sa.Text(), nullable=True))


def downgrade() -> None:
    for column in ("turn_error", "turns_failing_since"):
        op.drop_column("worker", column)
    for column in ("provider_failure", "provider_failed_at", "provider_failing_since", "provider_failures"):
        op.drop_column("account", column)
