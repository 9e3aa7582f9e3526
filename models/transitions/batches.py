"""Events about a batch as a whole: it is likely to miss its `finish_by`, or it is on track again."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import as_json, changed_a_row, statement
from models.transitions.history import log

_AT_RISK = statement(f"""
    WITH noted AS (
        UPDATE batch SET at_risk_at = now()
        WHERE id = :batch_id AND finish_by IS NOT NULL AND at_risk_at IS NULL
        RETURNING id
    ), {log("'batch.at_risk'", "noted", ":forecast", batch_id="id")}
    SELECT id FROM noted
""")


def note_at_risk(session: Session, batch_id: UUID, forecast: Mapping[str, Any]) -> bool:
    """Record that a batch is likely to miss its `finish_by`. Records it once, until the batch is on track again."""
    return changed_a_row(session, _AT_RISK, batch_id=batch_id, forecast=as_json(forecast))


_ON_TRACK = statement(f"""
    WITH noted AS (
        UPDATE batch SET at_risk_at = NULL
        WHERE id = :batch_id AND at_risk_at IS NOT NULL
        RETURNING id
    ), {log("'batch.on_track'", "noted", ":forecast", batch_id="id")}
    SELECT id FROM noted
""")


def note_on_track(session: Session, batch_id: UUID, forecast: Mapping[str, Any]) -> bool:
    """Record, once, that a batch that was at risk is on track again."""
    return changed_a_row(session, _ON_TRACK, batch_id=batch_id, forecast=as_json(forecast))
