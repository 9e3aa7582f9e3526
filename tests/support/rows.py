"""Rows put straight into the tables, in any state: what the moves are tried on.

Times are given as a `timedelta` from the database's now. Nothing here commits.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb
from sqlalchemy import ColumnExpressionArgument, NullPool, create_engine, func, null, text, update
from sqlalchemy.orm import Session

from models import Base, Event, JobState, PredictionState
from models.db.session import driver_url
from models.lifecycle import JOB_ENDED, LIVE
from models.tables.base import new_id

NOW = timedelta(0)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
VIDEO_MODEL = "lightricks/ltx-2-pro/text-to-video"
INPUT = {"prompt": "a lighthouse", "duration": 6, "generate_audio": True}
OUTPUT = "https://example.com/output.mp4"
SHA256 = "0" * 64

State = dict[tuple[str, UUID], str]
Which = UUID | ColumnExpressionArgument[bool]

_ACCEPTED = frozenset({"rendering", "completed", "failed", "timeout", "deleted", "lost"})


@contextmanager
def open_session(url: str) -> Iterator[Session]:
    """A session on a connection of its own; what it does not commit is rolled back."""
    engine = create_engine(driver_url(url), poolclass=NullPool)
    with Session(engine, expire_on_commit=False) as session:
        yield session


class Render(NamedTuple):
    """A job and the prediction that was made for it."""

    account_id: UUID
    job_id: UUID
    prediction_id: UUID
    claim: int = 0


def insert(session: Session, table: str, **columns: Any) -> UUID:
    """One row; a `timedelta` is a time from now on, dicts and lists are JSON."""
    columns = {"id": new_id()} | columns
    spelled = [f"now() + :{name}" if isinstance(value, timedelta) else f":{name}" for name, value in columns.items()]
    values = {name: Jsonb(value) if isinstance(value, dict | list) else value for name, value in columns.items()}
    names = ", ".join(columns)
    session.execute(text(f"INSERT INTO {table} ({names}) VALUES ({', '.join(spelled)})"), values)  # noqa: S608
    return UUID(str(columns["id"]))


def add_account(session: Session, **columns: Any) -> UUID:
    """An account with room for much, unless set otherwise."""
    return insert(session, "account", **{"name": uuid4().hex, "slots": 100, "submits_per_minute": 1000} | columns)


def add_job(session: Session, state: str = JobState.QUEUED, **columns: Any) -> UUID:
    """A job in this state, due now."""
    defaults: dict[str, Any] = {
        "video_model": VIDEO_MODEL,
        "input": INPUT,
        "price": "0.36",
        "state": str(state),
        "ended_at": NOW if state in JOB_ENDED else None,
        "due_at": NOW if state == JobState.QUEUED else None,
        "error_code": "broken" if state == JobState.FAILED else None,
    }
    return insert(session, "job", **defaults | columns)


def add_prediction(session: Session, job_id: UUID, account_id: UUID, state: str, **columns: Any) -> UUID:
    """A prediction in this state, as its moves would have left it; `submitting` ones are claimed but not posted."""
    live = state in LIVE
    is_to_store = state == "completed" and count(session, "job", id=job_id, state="storing") > 0
    defaults: dict[str, Any] = {
        "job_id": job_id,
        "account_id": account_id,
        "attempt": 1 + count(session, "prediction", job_id=job_id),
        "state": str(state),
        "price": "0.36",
        "due_at": {"submitting": 15 * SECOND, "rendering": 10 * MINUTE}.get(state, NOW if is_to_store else None),
        "not_before": NOW,
        "posted_at": None if state in {"submitting", "cancelled"} else NOW,
        "provider_id": uuid4().hex if state in _ACCEPTED else None,
        "accepted_at": NOW if state in _ACCEPTED else None,
        "outputs": [OUTPUT] if state == "completed" else None,
        "ended_at": None if live else NOW,
    }
    return insert(session, "prediction", **defaults | columns)


def add_render(session: Session, state: str, *, account_id: UUID | None = None, **columns: Any) -> Render:
    """A job with one prediction in this state; the job waits for it, or for its video, unless it is a duplicate."""
    account_id = account_id or add_account(session)
    job_state = JobState.STORING if state == PredictionState.COMPLETED else JobState.RENDERING
    job_id = add_job(session, JobState.QUEUED if columns.get("is_duplicate") else job_state)
    prediction_id = add_prediction(session, job_id, account_id, state, **columns)
    return Render(account_id, job_id, prediction_id, columns.get("claim", 0))


def add_artifact(session: Session, job_id: UUID, prediction_id: UUID, **columns: Any) -> UUID:
    """A stored video, unless `kind` says otherwise."""
    defaults = {"kind": "video", "url": "file:///a.mp4", "bytes": 1, "sha256": SHA256}
    return insert(session, "artifact", job_id=job_id, prediction_id=prediction_id, **defaults | columns)


def add_event(session: Session, kind: str, **columns: Any) -> None:
    """An event that has just happened, unless `at` says otherwise."""
    session.add(Event(kind=kind, **columns))
    session.flush()


def put_history_back(session: Session, last_id: int) -> None:
    """Let the next event have a lower id than others had, as after a restore."""
    session.execute(text("SELECT setval('event_id_seq', :last_id)"), {"last_id": last_id})


def change(session: Session, table: str, *which: Which, **columns: Any) -> None:
    """Set columns of every row that has this id and meets these conditions, or of all rows.

    A `timedelta` is a time from now on. A value may be made from a row's own: `claim=Prediction.claim + 1`.
    """
    target = Base.metadata.tables[table]
    conditions = [target.c.id == each if isinstance(each, UUID) else each for each in which]
    session.execute(update(target).where(*conditions).values({name: _spell(value) for name, value in columns.items()}))


def _spell(value: Any) -> Any:
    if isinstance(value, timedelta):
        return func.now() + value
    return null() if value is None else value  # in a column of JSON, None would be its null


def read(session: Session, table: str, row_id: UUID) -> Mapping[str, Any]:
    """One row by its columns."""
    return {**session.execute(text(f"SELECT * FROM {table} WHERE id = :id"), {"id": row_id}).mappings().one()}  # noqa: S608


def list_early_checks(session: Session) -> list[UUID]:
    """The renders in flight that got an early-check request."""
    return list(
        session.scalars(text("SELECT id FROM prediction WHERE state = 'rendering' AND early_check_at > '-infinity'"))
    )


def read_states(session: Session) -> State:
    """The state of every job and prediction."""
    both = "SELECT 'job', id, state FROM job UNION ALL SELECT 'prediction', id, state FROM prediction"
    return {(table, row_id): state for table, row_id, state in session.execute(text(both))}


def read_everything(session: Session) -> dict[str, Any]:
    """Every row there is, by its id."""
    tables = ("account", "batch", "job", "prediction", "artifact", "event", "leader", "worker")
    rows = " UNION ALL ".join(f"SELECT '{table}', to_jsonb(t) FROM {table} AS t" for table in tables)  # noqa: S608
    return {f"{table} {row.get('id') or row}": row for table, row in session.execute(text(rows))}


def count(session: Session, table: str, **columns: Any) -> int:
    """How many rows have these values."""
    where = " AND ".join(f"{name} = :{name}" for name in columns) or "true"
    return int(session.execute(text(f"SELECT count(*) FROM {table} WHERE {where}"), columns).scalar_one())  # noqa: S608


def list_events(session: Session, *, after: int = 0, **columns: Any) -> list[Mapping[str, Any]]:
    """Events in their order, of one job or prediction."""
    where = " AND ".join(["id > :after", *(f"{name} = :{name}" for name in columns)])
    query = text(f"SELECT * FROM event WHERE {where} ORDER BY id")  # noqa: S608
    return [*session.execute(query, {"after": after, **columns}).mappings()]


def kinds(session: Session, **columns: Any) -> list[str]:
    """The kinds of these events, in their order."""
    return [event["kind"] for event in list_events(session, **columns)]


def last_event(session: Session) -> int:
    """The id of the newest event; 0 where there is none."""
    return int(session.execute(text("SELECT coalesce(max(id), 0) FROM event")).scalar_one())
