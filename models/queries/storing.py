"""The state of the output host, and the evidence about a failed download."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import find_one, statement
from models.tables.worker import NO_STORE, STORE_PROBLEM, StoreState
from models.transitions.storing.steps import TO_STORE

STORE_DUE = f"""(SELECT greatest(due_at, (SELECT max(outputs_probe_at) FROM account))
        FROM prediction WHERE {TO_STORE} ORDER BY due_at LIMIT 1)"""
"""When the first store step is due. During an outage of the output host, not before the next probe is due."""


class OutputOutage(NamedTuple):
    """An outage of the output host: every download fails."""

    since: datetime
    seconds: float
    failure: str  # how the last download failed
    next_probe_seconds: float
    waiting: int  # files to store


class OutputEvidence(NamedTuple):
    """The facts that distinguish a fault of the output host from a fault of one file."""

    outage: bool
    probes: int  # failed probes of the outage so far
    arrived_since_failed: bool  # the host has delivered another file since it last failed this one
    kept_seconds: float | None  # since the prediction's unverified file was kept; null: it has none
    arrived_since_repeat: bool  # the host has delivered another file since the same bytes arrived again
    others_failed: bool  # the host has failed another download since it last failed this one
    sent_to_others: bool  # the same bytes are kept for another prediction


class StoringLoad(NamedTuple):
    """How much there is to store, and how long it takes."""

    completions_per_second: float
    seconds_per_store: float | None  # mean of the newest stored files; null: none was stored within a minute
    waiting: int  # files that are due, counted up to a thousand


_LOAD = statement(f"""
    SELECT
        (SELECT count(*) FROM prediction WHERE state = 'completed' AND ended_at > now() - interval '10 seconds')
            / 10::float8 AS completions_per_second,
        (SELECT avg(extract(epoch FROM stored.created_at - begun_at))::float8
            FROM (
                SELECT prediction_id, created_at FROM artifact
                WHERE created_at > now() - interval '1 minute' AND kind = 'video' AND removed_at IS NULL
                ORDER BY created_at DESC LIMIT 100) AS stored
            JOIN prediction ON prediction.id = prediction_id) AS seconds_per_store,
        (SELECT count(*) FROM (
            SELECT FROM prediction WHERE {TO_STORE} AND due_at <= now() LIMIT 1000) AS due) AS waiting
""")


def measure_load(session: Session) -> StoringLoad:
    """The rate of completions, the time that storing a file takes, and the backlog."""
    load = find_one(session, _LOAD, StoringLoad)
    assert load is not None  # noqa: S101 - it has no FROM
    return load


_STATE = statement(f"""
    SELECT {STORE_PROBLEM} AS problem,
        (SELECT max(store_free_bytes) FROM worker WHERE seen_at > now() - interval '15 seconds') AS free_bytes
""")


def find_store_state(session: Session) -> StoreState:
    """Whether a store worker can store further videos, and the most free space that one has."""
    return find_one(session, _STATE, StoreState) or NO_STORE


_MARKER = statement("SELECT store_marker FROM account WHERE store_marker IS NOT NULL LIMIT 1")


def find_store_marker(session: Session) -> str | None:
    """The text of the marker file in the folder for videos; None until a folder is marked."""
    marker: str | None = session.execute(_MARKER).scalar_one_or_none()
    return marker


_OUTAGE = statement(f"""
    SELECT outputs_failing_since AS since, extract(epoch FROM now() - outputs_failing_since)::float8 AS seconds,
        coalesce(outputs_failure, 'no download succeeded') AS failure,
        extract(epoch FROM outputs_probe_at - now())::float8 AS next_probe_seconds,
        (SELECT count(*) FROM prediction WHERE {TO_STORE}) AS waiting
    FROM account WHERE outputs_failing_since IS NOT NULL ORDER BY outputs_failing_since LIMIT 1
""")


def find_output_outage(session: Session) -> OutputOutage | None:
    """The outage of the output host that is on; None if there is none."""
    return find_one(session, _OUTAGE, OutputOutage)


_EVIDENCE = statement("""
    SELECT outputs_failing_since IS NOT NULL AS outage, outputs_probes AS probes,
        coalesce(outputs_reached_at > prediction.output_failed_at, false) AS arrived_since_failed,
        extract(epoch FROM now() - kept.created_at)::float8 AS kept_seconds,
        coalesce(outputs_reached_at > kept.repeated_at, false) AS arrived_since_repeat,
        -- This prediction's own failure set both times in one transaction, so they are then equal.
        coalesce(outputs_failed_at > prediction.output_failed_at, false) AS others_failed,
        EXISTS (
            SELECT 1 FROM artifact
            WHERE kind = 'unverified' AND sha256 = :sha256 AND prediction_id <> :prediction_id) AS sent_to_others
    FROM prediction
    JOIN account ON account.id = prediction.account_id
    LEFT JOIN artifact AS kept ON kept.prediction_id = prediction.id AND kept.kind = 'unverified'
    WHERE prediction.id = :prediction_id
""")


def find_output_evidence(session: Session, prediction_id: UUID, *, sha256: str | None) -> OutputEvidence:
    """The known facts about the host and this file. `sha256` is that of the bytes that have just arrived, if any."""
    evidence = find_one(session, _EVIDENCE, OutputEvidence, prediction_id=prediction_id, sha256=sha256)
    assert evidence is not None  # noqa: S101 - a prediction has an account
    return evidence
