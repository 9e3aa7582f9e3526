"""Render times: what a look tells of them, and the renders that they are learned from."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("prediction", sa.Column("seen_running_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("prediction", sa.Column("execution_seconds", sa.Double(), nullable=True))
    op.create_table(
        "finished_render",
        sa.Column("prediction_id", sa.Uuid(), nullable=False),
        sa.Column("video_model", sa.Text(), nullable=False),
        sa.Column("output_seconds", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("low_seconds", sa.Double(), nullable=False),
        sa.Column("high_seconds", sa.Double(), nullable=False),
        sa.CheckConstraint(
            "low_seconds >= 0 AND high_seconds >= low_seconds", name=op.f("ck_finished_render_interval")
        ),
        sa.PrimaryKeyConstraint("prediction_id", name=op.f("pk_finished_render")),
    )
    op.create_index(
        "ix_finished_render_kind", "finished_render", ["video_model", "output_seconds", "ended_at"], unique=False
    )
    op.create_index("ix_finished_render_ended_at", "finished_render", ["ended_at"], unique=False)


def downgrade() -> None:
    op.drop_table("finished_render")
    op.drop_column("prediction", "execution_seconds")
    op.drop_column("prediction", "seen_running_at")
