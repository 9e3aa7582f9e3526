"""Files that callers give as inputs, and the input of a prediction as it was sent."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "upload",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("length(sha256) = 64 AND length(content) > 0", name=op.f("ck_upload_content")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_upload")),
    )
    # The bytes of images and videos are compressed already.
    op.execute("ALTER TABLE upload ALTER COLUMN content SET STORAGE EXTERNAL")
    op.create_index("ix_upload_used", "upload", ["used_at"])
    op.create_table(
        "job_upload",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("parameter", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_job_upload_job_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["sha256"], ["upload.sha256"], name=op.f("fk_job_upload_sha256")),
        sa.PrimaryKeyConstraint("job_id", "parameter", name=op.f("pk_job_upload")),
    )
    op.create_index("ix_job_upload_sha256", "job_upload", ["sha256"])
    op.create_table(
        "sent_upload",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("busy_until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_sent_upload_account_id")),
        sa.ForeignKeyConstraint(["sha256"], ["upload.sha256"], name=op.f("fk_sent_upload_sha256"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("account_id", "sha256", name=op.f("pk_sent_upload")),
    )
    op.add_column("prediction", sa.Column("sent_input", JSONB(), nullable=True))


def downgrade() -> None:
    op.drop_column("prediction", "sent_input")
    for table in ("sent_upload", "job_upload", "upload"):
        op.drop_table(table)
