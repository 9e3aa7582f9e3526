"""Pauses: a person's, which a restore's hold lies over, stands when that ends."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("account", sa.Column("person_paused_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("account", sa.Column("person_paused_by", sa.Text(), nullable=True))


def downgrade() -> None:
    for column in ("person_paused_by", "person_paused_at"):
        op.drop_column("account", column)
