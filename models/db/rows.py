"""Run SQL statements with bound parameters. One row or many are returned, as the caller's tuple type."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from psycopg.types.json import Jsonb
from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

Shape = TypeVar("Shape", bound=NamedTuple)


def statement(sql: str) -> TextClause:
    """A statement that is parsed once, at import."""
    return text(sql)


def find_one(session: Session, query: TextClause, shape: type[Shape], **values: Any) -> Shape | None:
    """The first row in the caller's shape, columns in the order of its fields; None if there is no row."""
    row = session.execute(query, values).first()
    return shape(*row) if row is not None else None


def find_all(session: Session, query: TextClause, shape: type[Shape], **values: Any) -> list[Shape]:
    """Every row in the caller's shape."""
    return [shape(*row) for row in session.execute(query, values)]


def changed_a_row(session: Session, query: TextClause, **values: Any) -> bool:
    """Run a guarded statement that returns a row if it changed something. Returns whether it did."""
    return session.execute(query, values).first() is not None


def as_json(value: Mapping[str, Any] | list[Any]) -> Jsonb:
    """A value for a JSONB column."""
    return Jsonb(value)
