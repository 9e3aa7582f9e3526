"""The history. A transition appends its event by the same statement, so that neither exists without the other."""

from typing import Any

from sqlalchemy import TextClause, insert
from sqlalchemy.orm import Session

from models.db.rows import statement
from models.tables.event import Event

_IDS = {
    "prediction": {"job_id": "job_id", "prediction_id": "id", "account_id": "account_id"},
    "job": {"job_id": "id"},
    "batch": {"batch_id": "id"},
    "account": {"account_id": "id"},
}


def log(kind: str, of: str, detail: str = "'{}'", **ids: str) -> str:
    """Return a CTE that appends an event for each row of the CTE `of`.

    `kind` and `detail` are SQL expressions over its columns; `fields` makes a detail. `ids` are the expressions of the
    event's ids, by column; without any, the row is a prediction with its `id`, `job_id` and `account_id`.
    """
    ids = ids or _IDS["prediction"]
    return f"""logged AS (
        INSERT INTO event (kind, detail, {", ".join(ids)})
        SELECT {kind}, {detail}, {", ".join(ids.values())} FROM {of}
    )"""


def change(table: str, sets: str, where: str, *, kind: str, detail: str = "'{}'", returns: str = "1") -> TextClause:
    """A guarded UPDATE that appends an event for each row that it changes, and returns `returns` of it.

    `kind`, `detail` and `returns` are SQL expressions over the changed row.
    """
    return statement(f"""
        WITH changed AS (UPDATE {table} SET {sets} WHERE {where} RETURNING {table}.*),
        {log(kind, "changed", detail, **_IDS[table])}
        SELECT {returns} FROM changed
    """)


def change_first(sets: str, where: str, *, by: str, kind: str, detail: str, returns: str = "1") -> TextClause:
    """The same for at most `:count` predictions: the first, ordered `by`, that no other transaction has locked."""
    # MATERIALIZED here and in every claim: if the planner ran the inner query once per row, it would exceed the LIMIT.
    return statement(f"""
        WITH due AS MATERIALIZED (
            SELECT id FROM prediction WHERE {where} ORDER BY {by} LIMIT :count FOR UPDATE SKIP LOCKED
        ), changed AS (
            UPDATE prediction SET {sets} FROM due WHERE prediction.id = due.id RETURNING prediction.*
        ), {log(kind, "changed", detail)}
        SELECT {returns} FROM changed
    """)


def fields(*texts: str, **values: str) -> str:
    """Return the SQL of a detail: a JSON object of the text parameters `texts` and of the expressions `values`."""
    expressions = {name: f"CAST(:{name} AS text)" for name in texts} | values
    return "jsonb_build_object({})".format(", ".join(f"'{name}', {value}" for name, value in expressions.items()))


REASON = fields("code", "message")
BY = f"jsonb_strip_nulls({fields('by')})"
"""SQL: the detail that names the person, if one asked for it."""


def refusal(which: str) -> TextClause:
    """The UPDATE that ends the prediction of a claim as refused, if it meets this condition."""
    return change(
        "prediction",
        "state = 'refused', ended_at = now(), due_at = NULL, error_code = :code, error_message = :message",
        f"id = :prediction_id AND claim = :claim AND {which}",
        kind="'prediction.refused'",
        detail=REASON,
        returns="id AS prediction_id, job_id",
    )


def append_event(session: Session, kind: str, detail: dict[str, Any], **ids: object) -> None:
    """Append an event of a transition that an earlier statement has made in the same database transaction."""
    session.execute(insert(Event).values(kind=kind, detail=detail, **ids))
