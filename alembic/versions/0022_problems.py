"""Why an action was aborted."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("action", sa.Column("problem", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("action", "problem")
