"""The history. A transition appends its event by the same statement, so that neither exists without the other."""

from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from models.tables.event import Event

_OF_PREDICTION = {"job_id": "job_id", "prediction_id": "id", "account_id": "account_id"}


def log(kind: str, of: str, detail: str = "'{}'", **ids: str) -> str:
    """Return a CTE that appends an event for each row of the CTE `of`.

    `kind` and `detail` are SQL expressions over its columns; `fields` makes a detail. `ids` are the expressions of the
    event's ids, by column; without any, the row is a prediction with its `id`, `job_id` and `account_id`.
    """
    ids = ids or _OF_PREDICTION
    return f"""logged AS (
        INSERT INTO event (kind, detail, {", ".join(ids)})
        SELECT {kind}, {detail}, {", ".join(ids.values())} FROM {of}
    )"""


def fields(*texts: str, **values: str) -> str:
    """Return the SQL of a detail: a JSON object of the text parameters `texts` and of the expressions `values`."""
    expressions = {name: f"CAST(:{name} AS text)" for name in texts} | values
    return "jsonb_build_object({})".format(", ".join(f"'{name}', {value}" for name, value in expressions.items()))


REASON = fields("code", "message")


def append_event(session: Session, kind: str, detail: dict[str, Any], **ids: object) -> None:
    """Append an event of a transition that an earlier statement has made in the same database transaction."""
    session.execute(insert(Event).values(kind=kind, detail=detail, **ids))
