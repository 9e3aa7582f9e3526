"""Run SQL statements with bound parameters. One row or many are returned, as the caller's tuple type."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from psycopg.types.json import Jsonb
from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from models.tables.base import DEFAULT_TENANT

Shape = TypeVar("Shape")

BATCH_PLACE = f"""(
        SELECT coalesce(min(name) || ':', '') FROM tenant WHERE id = batch.tenant_id AND id <> '{DEFAULT_TENANT}'
    ) || batch.name"""
"""SQL: the name of a row of `batch` for people, with `TENANT:` before that of a tenant other than `default`."""
JOB_PLACE = f"""(
        SELECT coalesce({BATCH_PLACE} || '/' || placed.number, CAST(placed.id AS text))
        FROM job AS placed LEFT JOIN batch ON batch.id = placed.batch_id WHERE placed.id = job_id) AS place"""
"""SQL: the column that names the job of the row's `job_id` for people: BATCH/NUMBER, else the job's id."""


def statement(sql: str) -> TextClause:
    """A statement that is parsed once, at import."""
    return text(sql)


def find_one(session: Session, query: TextClause, shape: Callable[..., Shape], **values: Any) -> Shape | None:
    """The first row in the caller's shape, whose fields name its columns; None if there is no row."""
    row = session.execute(query, values).first()
    return shape(**row._mapping) if row is not None else None


def find_all(session: Session, query: TextClause, shape: Callable[..., Shape], **values: Any) -> list[Shape]:
    """Every row in the caller's shape."""
    return [shape(**row._mapping) for row in session.execute(query, values)]


def changed_a_row(session: Session, query: TextClause, **values: Any) -> bool:
    """Run a guarded statement that returns a row if it changed something. Returns whether it did."""
    return session.execute(query, values).first() is not None


def as_json(value: Mapping[str, Any] | list[Any]) -> Jsonb:
    """A value for a JSONB column."""
    return Jsonb(value)
