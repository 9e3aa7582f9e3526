"""Watching: what the looks have cost beyond what was granted, how much of pages is ours, and their price."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("account", sa.Column("looks_owed", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("account", sa.Column("own_share", sa.Double(), server_default=sa.text("1"), nullable=False))
    op.add_column("account", sa.Column("own_share_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("account", sa.Column("look_price", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("account", "look_price")
    op.drop_column("account", "own_share_at")
    op.drop_column("account", "own_share")
    op.drop_column("account", "looks_owed")
