"""The declarative base: the names of constraints, and the column types that all tables share."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, MetaData, Numeric, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, MappedColumn, mapped_column
from uuid_utils.compat import uuid7

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

new_id = uuid7
"""Makes a key that sorts by its creation time."""


class Base(DeclarativeBase):
    """Base of every table. Times are by the database's clock, in UTC. Money is in dollars, to a hundredth of a cent."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own name for a class-wide setting
        str: Text(),
        int: BigInteger(),
        UUID: Uuid(),
        Decimal: Numeric(12, 4),
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(),
        list[str]: JSONB(),
    }


DEFAULT_TENANT = UUID("00000000-0000-7000-8000-000000000001")
"""The tenant of rows that are older than tenants, and of processes that do not know tenants yet."""


def owned() -> MappedColumn[UUID]:
    """The column of a row's tenant."""
    return mapped_column(ForeignKey("tenant.id"), server_default=text(f"'{DEFAULT_TENANT}'"))


def one_of(column: str, states: type[StrEnum]) -> CheckConstraint:
    """A CHECK that restricts a text column to the members of an enum."""
    values = ", ".join(f"'{state.value}'" for state in states)
    return CheckConstraint(f"{column} IN ({values})", name=column)
