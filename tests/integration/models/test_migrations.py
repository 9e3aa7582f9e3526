"""The migrations: from nothing to the models, and back to nothing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import Cursor
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

from models import Base, queries
from sandbox.servers import EmbeddedPostgres
from tests.support import rows
from tests.support.rows import open_session
from tests.support.servers import cloned_database

ROOT = Path(__file__).resolve().parents[3]

# What a database is made of, as Postgres itself tells it: names, types, defaults, rules.
CATALOGUE = {
    "columns": """
        SELECT table_name, column_name, data_type, numeric_precision, numeric_scale, is_nullable, column_default,
            is_identity, identity_generation
        FROM information_schema.columns WHERE table_schema = 'public'
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid), convalidated, condeferrable
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
    """,
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "everything else": """
        SELECT relname, relkind::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT proname, 'function' FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT tgname, 'trigger' FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT typname, 'type' FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype <> 'c'
    """,
}


@pytest.fixture
def empty_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database in which nothing is."""
    with cloned_database(postgres, template="template1") as url:
        yield url


def config_for(url: str) -> Config:
    config = Config(str(ROOT / "alembic.ini"))
    config.attributes["url"] = url
    return config


def describe(session: Session) -> dict[str, set[tuple[Any, ...]]]:
    """The whole schema, but for Alembic's own table."""
    described = {}
    for part, query in CATALOGUE.items():
        rows = {tuple(row) for row in session.execute(text(query))}
        described[part] = {row for row in rows if not str(row[0]).startswith(("alembic_version", "_alembic_version"))}
    return described


def test_upgrading_an_empty_database_makes_what_the_models_say(empty_url: str, database_url: str) -> None:
    with open_session(empty_url) as made, open_session(database_url) as migrated:
        Base.metadata.create_all(made.connection())
        for part, expected in describe(made).items():
            assert expected, part
            assert describe(migrated)[part] == expected, part


def test_alembic_finds_nothing_to_migrate(database_url: str) -> None:
    with open_session(database_url) as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_downgrading_to_base_leaves_nothing(empty_url: str) -> None:
    with open_session(empty_url) as session:
        nothing = describe(session)
    command.upgrade(config_for(empty_url), "head")
    command.downgrade(config_for(empty_url), "base")
    with open_session(empty_url) as session:
        assert describe(session) == nothing
        assert session.execute(text("SELECT count(*) FROM alembic_version")).scalar_one() == 0
    command.upgrade(config_for(empty_url), "head")
    with open_session(empty_url) as session:
        assert queries.health.find_migration(session) == queries.health.EXPECTED_MIGRATION


def test_every_step_can_be_taken_down_and_up_again(empty_url: str) -> None:
    for script in reversed(list(ScriptDirectory.from_config(config_for(empty_url)).walk_revisions())):
        command.upgrade(config_for(empty_url), script.revision)
        command.downgrade(config_for(empty_url), "-1")
        command.upgrade(config_for(empty_url), script.revision)


def test_the_scripts_are_one_line_that_ends_where_the_code_expects(empty_url: str) -> None:
    scripts = ScriptDirectory.from_config(config_for(empty_url))
    assert scripts.get_heads() == [queries.health.EXPECTED_MIGRATION]
    assert len(scripts.get_bases()) == 1


def test_an_empty_database_is_at_no_migration(empty_url: str) -> None:
    with open_session(empty_url) as session:
        assert queries.health.find_migration(session) is None


def test_limits_of_the_role_do_not_hold_for_migrations(empty_url: str) -> None:
    with open_session(empty_url) as session:
        name = session.scalar(text("SELECT current_database()"))
        for limit in ("statement_timeout", "lock_timeout"):
            session.execute(text(f"ALTER DATABASE \"{name}\" SET {limit} = '29s'"))
        session.commit()
    seen = set()

    def note(_: object, cursor: Cursor[Any], statement: str, *__: object) -> None:
        if "CREATE TABLE" in statement:
            cursor.execute("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
            seen.add(cursor.fetchone())

    event.listen(Engine, "before_cursor_execute", note)
    try:
        command.upgrade(config_for(empty_url), "head")
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert seen == {("0", "5s")}


def test_a_migration_that_gets_no_lock_tries_again(empty_url: str) -> None:
    config = config_for(empty_url)
    config.attributes["lock_timeout"] = "10ms"
    command.upgrade(config, "0022")
    refused = []
    with open_session(empty_url) as other:
        other.execute(text("LOCK TABLE job IN ACCESS SHARE MODE"))

        def let_go(seen: object) -> None:
            refused.append(seen)
            other.rollback()

        event.listen(Engine, "handle_error", let_go)
        try:
            command.upgrade(config, "head")
        finally:
            event.remove(Engine, "handle_error", let_go)
        assert len(refused) == 1
        assert queries.health.find_migration(other) == queries.health.EXPECTED_MIGRATION


OLD_EVENTS = {
    "account.ahead": {"ahead": 2},
    "account.deferred": {"reason": "rate"},
    "doubt.decided": {"how": "absent", "by": "mara"},
    "prediction.unconfirmed": {"code": "worker_silent"},
    "prediction.surplus": {},
    "store.silent": {"claim": 3},
    "surplus.not_stored": {"code": "x"},
}
NEW_EVENTS = {
    "account.overcommit": {"overcommit": 2},
    "account.backed_off": {"reason": "rate"},
    "submission.decided": {"how": "not_found", "by": "mara"},
    "prediction.unconfirmed": {"code": "worker_crashed"},
    "prediction.duplicate": {},
    "store.crashed": {"claim": 3},
    "duplicate.not_stored": {"code": "x"},
}


def read_pairs(session: Session, of: str) -> dict[str, Any]:
    return {row[0]: row[1] for row in session.execute(text(f"SELECT {of}"))}


def test_the_vocabulary_is_renamed_in_the_rows_and_back(empty_url: str) -> None:
    command.upgrade(config_for(empty_url), "0011")
    with open_session(empty_url) as session:
        for kind, detail in OLD_EVENTS.items():
            values = {"kind": kind, "detail": json.dumps(detail)}
            session.execute(text("INSERT INTO event (kind, detail) VALUES (:kind, CAST(:detail AS jsonb))"), values)
        session.execute(text("INSERT INTO late_write (kind, count) VALUES ('watch.verdict', 7), ('store.renew', 1)"))
        session.commit()
    command.upgrade(config_for(empty_url), "head")
    with open_session(empty_url) as session:
        assert read_pairs(session, "kind, detail FROM event") == NEW_EVENTS
        assert read_pairs(session, "kind, count FROM stale_write") == {"watch.outcome": 7, "store.renew": 1}
    command.downgrade(config_for(empty_url), "0011")
    with open_session(empty_url) as session:
        assert read_pairs(session, "kind, detail FROM event") == OLD_EVENTS


def test_duplicate_purchases_keep_their_outcome_as_their_state(empty_url: str) -> None:
    before = [("duplicate", None, False), ("duplicate", "completed", False), ("completed", None, False)]
    command.upgrade(config_for(empty_url), "0012")
    with open_session(empty_url) as session:
        account, job = rows.add_account(session), rows.add_job(session)
        for state, outcome, _ in before:
            rows.add_prediction(session, job, account, state, outcome=outcome, provider_id=f"{state} {outcome}")
        session.commit()
        add_events(session, "duplicate.delayed", "duplicate.failed")
    command.upgrade(config_for(empty_url), "head")
    columns = "state, is_duplicate, ended_at IS NULL, early_check_at IS NOT NULL"
    live, completed, own = list_predictions(empty_url, columns)
    assert live == ("rendering", True, True, True)
    assert (completed, own) == (("completed", True, False, False), ("completed", False, False, False))
    command.downgrade(config_for(empty_url), "0012")
    assert list_predictions(empty_url, "state, outcome, ended_at IS NULL") == before
    with open_session(empty_url) as session:
        assert [kind for (kind,) in session.execute(text("SELECT kind FROM event ORDER BY id"))] == [
            "duplicate.delayed",
            "duplicate.failed",
        ]


def test_crashed_submissions_and_warnings_are_read_from_the_history_once(empty_url: str) -> None:
    command.upgrade(config_for(empty_url), "0013")
    with open_session(empty_url) as session:
        account, job = rows.add_account(session), rows.add_job(session)
        for state in ("not_found", "not_found", "failed"):
            rows.add_prediction(session, job, account, state)
        session.commit()
        crash = ("prediction.unconfirmed", '{"code": "worker_crashed"}')
        history = (1, *crash), (1, "job.retried", "{}"), (2, *crash), (3, "prediction.retention_near", "{}")
        for attempt, kind, detail in history:
            session.execute(
                text(
                    "INSERT INTO event (kind, detail, job_id, prediction_id) "
                    "SELECT :kind, CAST(:detail AS jsonb), job_id, id FROM prediction WHERE attempt = :attempt"
                ),
                {"kind": kind, "detail": detail, "attempt": attempt},
            )
        session.commit()
    command.upgrade(config_for(empty_url), "head")
    columns = "submit_crashed, retention_warned_at IS NOT NULL"
    assert list_predictions(empty_url, columns) == [(False, False), (True, False), (False, True)]


def test_a_store_step_moves_from_the_job_to_its_prediction_and_back(empty_url: str) -> None:
    command.upgrade(config_for(empty_url), "0012")
    with open_session(empty_url) as session:
        step: dict[str, Any] = {"claim": 3, "store_attempts": 2, "due_at": rows.MINUTE, "error_code": "store_crashed"}
        job = rows.add_job(session, "storing", **step)
        rows.add_prediction(session, job, rows.add_account(session), "completed", claim=1, due_at=None)
        for kind in ("store.crashed", "store.delayed", "store.crashed"):
            session.execute(text("INSERT INTO event (kind, job_id) VALUES (:kind, :job)"), {"kind": kind, "job": job})
        session.commit()
    command.upgrade(config_for(empty_url), "head")
    columns = "claim, store_attempts, due_at IS NOT NULL, error_code"
    assert list_predictions(empty_url, f"{columns}, store_crashes") == [(3, 2, True, "store_crashed", 1)]
    with open_session(empty_url) as session:
        assert session.execute(text("SELECT due_at, error_code FROM job")).one() == (None, None)
    command.downgrade(config_for(empty_url), "0012")
    with open_session(empty_url) as session:
        assert session.execute(text(f"SELECT {columns} FROM job")).one() == (3, 2, True, "store_crashed")  # noqa: S608


def test_batches_of_before_are_sealed_and_ended_with_their_jobs(empty_url: str) -> None:
    command.upgrade(config_for(empty_url), "0023")
    batches = {"done": ["succeeded", "failed"], "none": ["cancelled", "cancelled"], "open": ["succeeded", "queued"]}
    with open_session(empty_url) as session:
        for name, states in batches.items():
            batch = rows.insert(session, "batch", name=name, job_count=2, created_at=-rows.DAY)
            for number, state in enumerate(states, start=1):
                rows.add_job(session, state, batch_id=batch, number=number)
        rows.insert(session, "batch", name="gone", job_count=2, created_at=-rows.DAY, deleted_at=rows.NOW)
        session.commit()
    command.upgrade(config_for(empty_url), "head")
    facts = "name, sealed_at = created_at, ended_at IS NOT NULL, cancelled_at IS NOT NULL"
    with open_session(empty_url) as session:
        found = session.execute(text(f"SELECT {facts} FROM batch ORDER BY name")).all()  # noqa: S608 - our own words
    assert [tuple(each) for each in found] == [
        ("done", True, True, False),
        ("gone", True, True, False),
        ("none", True, True, True),
        ("open", True, False, False),
    ]


def add_events(session: Session, *kinds: str) -> None:
    """One event of each kind, about the first duplicate purchase."""
    for kind in kinds:
        session.execute(
            text(
                "INSERT INTO event (kind, job_id, prediction_id) "
                "SELECT :kind, job_id, id FROM prediction WHERE attempt = 1"
            ),
            {"kind": kind},
        )
    session.commit()


def list_predictions(url: str, columns: str) -> list[tuple[Any, ...]]:
    with open_session(url) as session:
        return [tuple(row) for row in session.execute(text(f"SELECT {columns} FROM prediction ORDER BY attempt"))]  # noqa: S608
