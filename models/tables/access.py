"""Who may call the API: tenants and their keys, the requests that were answered, and what operators have done."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base, new_id

DEFAULT_TENANT_NAME = "default"


class Scope(StrEnum):
    """What a key allows."""

    PUSH = "push"  # push jobs, and change those of its own tenant
    READ = "read"  # read the data of its own tenant
    OBSERVE = "observe"  # read the account, and the data of every tenant
    OPERATE = "operate"  # change the account, decide about purchases, and change the jobs of every tenant
    ADMIN = "admin"  # manage tenants and keys


class Tenant(Base):
    """An owner of jobs and batches. It sees only its own."""

    __tablename__ = "tenant"
    __table_args__ = (Index("ix_tenant_name", text("lower(name)"), unique=True),)  # some file systems ignore case

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]  # also the name of its folder of videos
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    disabled_at: Mapped[datetime | None]  # its keys are refused since then; its jobs go on


class ApiKey(Base):
    """A key of the API. The key itself is not stored: it is shown once, when it is made."""

    __tablename__ = "api_key"
    __table_args__ = (CheckConstraint("length(sha256) = 64", name="sha256"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenant.id"), index=True)
    name: Mapped[str]  # for people; a key and its successor have the same name
    hint: Mapped[str]  # its first and last characters, by which people recognise it
    sha256: Mapped[str] = mapped_column(unique=True)  # of the key, in lower-case hex
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]  # null: never
    last_used_at: Mapped[datetime | None]  # to the minute
    revoked_at: Mapped[datetime | None]


class IdempotentRequest(Base):
    """A request that was answered with success, so that its repetition gets the same answer and does nothing."""

    __tablename__ = "idempotent_request"
    __table_args__ = (CheckConstraint("length(digest) = 64", name="digest"),)

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenant.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)  # as the caller chose it
    digest: Mapped[str]  # SHA-256 of method, path and body
    status: Mapped[int | None]  # null only inside the transaction that carries out the request
    body: Mapped[str | None]  # of the answer, as JSON, without what must not be stored
    location: Mapped[str | None]  # the answer's header
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


class AuditEntry(Base):
    """What an operator or admin has done. No foreign keys: entries outlive keys, tenants and jobs."""

    __tablename__ = "audit_entry"

    id: Mapped[int] = mapped_column(BigInteger(), Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    tenant_id: Mapped[UUID | None]  # of the key; null: a command on the database itself
    key_id: Mapped[UUID | None]
    by: Mapped[str]  # the person, or the key by its name
    action: Mapped[str]  # such as `account.pause`
    target: Mapped[str]  # what was changed, such as a job's id
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
