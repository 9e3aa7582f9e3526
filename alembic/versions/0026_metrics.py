"""What metrics need beyond other rows: latencies, stored files and bytes, and the requests of checks."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "latency_bucket",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at_most", sa.Double(), nullable=False),
        sa.Column("predictions", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "at_most", name=op.f("pk_latency_bucket")),
    )
    for name in ("files", "bytes"):
        op.add_column("daily_total", sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("account", sa.Column("check_budget", sa.Double(), nullable=True))
    op.add_column("account", sa.Column("check_requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False))


def downgrade() -> None:
    for name in ("check_requests", "check_budget"):
        op.drop_column("account", name)
    for name in ("bytes", "files"):
        op.drop_column("daily_total", name)
    op.drop_table("latency_bucket")
