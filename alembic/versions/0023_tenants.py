"""Tenants with their keys, answered requests and the audit log. Existing rows belong to the tenant `default`."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_DEFAULT = "00000000-0000-7000-8000-000000000001"
_OWNED = ("batch", "job")


def upgrade() -> None:
    _create_tenants()
    for table in _OWNED:
        # With the default, an older API process still works during an upgrade.
        op.add_column(table, sa.Column("tenant_id", sa.Uuid(), server_default=sa.text(f"'{_DEFAULT}'"), nullable=False))
        op.create_foreign_key(op.f(f"fk_{table}_tenant_id"), table, "tenant", ["tenant_id"], ["id"])
    # Without a tenant, an action reaches the jobs of every tenant: as all of them did.
    op.add_column("action", sa.Column("tenant_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(op.f("fk_action_tenant_id"), "action", "tenant", ["tenant_id"], ["id"])
    op.drop_index("ix_batch_name", "batch")
    op.create_index("ix_batch_name", "batch", ["tenant_id", sa.text("lower(name)")], unique=True)
    op.create_index("ix_batch_tenant", "batch", ["tenant_id", "id"])
    op.create_index("ix_job_tenant", "job", ["tenant_id", "id"])
    op.create_index("ix_job_tenant_state", "job", ["tenant_id", "state", "id"])
    op.create_index(
        "ix_job_client_ref",
        "job",
        ["client_ref", "tenant_id", "id"],
        postgresql_where=sa.text("client_ref IS NOT NULL"),
    )
    op.create_index("ix_action_tenant", "action", ["tenant_id", "id"])
    op.create_table(
        "upload_owner",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", "tenant_id", name=op.f("pk_upload_owner")),
        sa.ForeignKeyConstraint(["sha256"], ["upload.sha256"], name=op.f("fk_upload_owner_sha256"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_upload_owner_tenant_id")),
    )
    op.execute(f"INSERT INTO upload_owner (sha256, tenant_id) SELECT sha256, '{_DEFAULT}' FROM upload")  # noqa: S608 - our own constant
    _create_logs()


def _create_tenants() -> None:
    op.create_table(
        "tenant",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenant")),
    )
    op.create_index("ix_tenant_name", "tenant", [sa.text("lower(name)")], unique=True)
    op.execute(f"INSERT INTO tenant (id, name) VALUES ('{_DEFAULT}', 'default')")  # noqa: S608 - our own constant
    op.create_table(
        "api_key",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_api_key_tenant_id")),
        sa.UniqueConstraint("sha256", name=op.f("uq_api_key_sha256")),
        sa.CheckConstraint("length(sha256) = 64", name=op.f("ck_api_key_sha256")),
    )
    op.create_index("ix_api_key_tenant_id", "api_key", ["tenant_id"])


def _create_logs() -> None:
    op.create_table(
        "idempotent_request",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("location", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "key", name=op.f("pk_idempotent_request")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_idempotent_request_tenant_id")),
        sa.CheckConstraint("length(digest) = 64", name=op.f("ck_idempotent_request_digest")),
    )
    op.create_index("ix_idempotent_request_created_at", "idempotent_request", ["created_at"])
    op.create_table(
        "audit_entry",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=True),
        sa.Column("key_id", sa.Uuid(), nullable=True),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("before", postgresql.JSONB(), nullable=True),
        sa.Column("after", postgresql.JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entry")),
    )


def downgrade() -> None:
    """Every job becomes visible to every caller. Fails if two tenants have batches of the same name."""
    for table in ("audit_entry", "idempotent_request", "upload_owner"):
        op.drop_table(table)
    op.drop_index("ix_batch_name", "batch")
    op.create_index("ix_batch_name", "batch", [sa.text("lower(name)")], unique=True)
    op.drop_index("ix_job_client_ref", "job")
    for table in (*_OWNED, "action"):
        op.drop_column(table, "tenant_id")  # with its indexes
    op.drop_table("api_key")
    op.drop_table("tenant")
