"""Callers' own ids and values for jobs, file names from them, digests of pushes, and the daily spending cap."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job", sa.Column("client_ref", sa.Text(), nullable=True))
    op.add_column("job", sa.Column("client_metadata", JSONB(), nullable=True))
    op.add_column("job", sa.Column("file_stem", sa.Text(), nullable=True))
    op.add_column("account", sa.Column("max_spend_per_day", sa.Numeric(12, 4), nullable=True))
    op.create_check_constraint(op.f("ck_account_max_spend_per_day"), "account", "max_spend_per_day >= 0")
    op.add_column("batch", sa.Column("digest", sa.Text(), nullable=True))
    op.create_index("ix_batch_digest", "batch", ["digest"])


def downgrade() -> None:
    op.drop_index("ix_batch_digest", "batch")
    op.drop_column("batch", "digest")
    op.drop_column("account", "max_spend_per_day")
    for column in ("file_stem", "client_metadata", "client_ref"):
        op.drop_column("job", column)
