"""The doctor's checks. Each one is a function that returns its finding and never raises."""

import shutil
import tempfile
from collections.abc import Callable
from decimal import Decimal

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from cli.api_client import ApiClient
from cli.doctor.result import Check, Status
from cli.doctor.webhooks import check_webhooks
from models.db.errors import DatabaseAway
from models.db.session import open_engine, open_sessions
from models.queries.health import EXPECTED_MIGRATION
from rushes.errors import InvalidInput, RushesError
from rushes.jobs.why_waiting import describe_outage
from rushes.monitoring.broker import find_broker_fault, name_broker
from rushes.readiness import Readiness, ReadinessProbe
from rushes.settings import Settings, load_settings
from rushes.wavespeed.answers import KeyRefused, NoCredit
from rushes.wavespeed.client import Timeouts, WaveSpeedClient
from stack.errors import CommandError
from stack.migrations import name_place

SCARCE_BYTES = 5 * 10**9
EXHAUSTED_BYTES = 500 * 10**6
SCARCE_DOLLARS = 1
DATABASE_SECONDS = 10
PROVIDER_SECONDS = 15

STOPPED_SECONDS = 10.0
"""The dispatcher has stopped if it has had no leader for this long. A lease lasts five seconds."""
STUCK_SECONDS = 600.0
"""An account that refuses for this long does not recover by itself."""
UNCONFIRMED_SECONDS = 600.0
"""An unconfirmed submission that needs no person is decided long before this."""
LAG_SECONDS = 60.0
"""In a working farm, nothing that is due waits this long."""

START = "start a worker: `rushes up`, or see docs/operations.md"


def check_everything() -> list[Check]:
    """Run all checks, in the order in which to fix problems."""
    try:
        settings = load_settings()
    except InvalidInput as error:
        advice = "correct these variables; the other checks need them"
        return [Check("settings", "failed", "; ".join(map(str, error.problems)), advice)]
    checks = [Check("settings", "ok", f"can be read; the data folder is {settings.data_dir.absolute()}")]
    checks += _check_database(settings)
    asked: tuple[Callable[[Settings], Check], ...] = (check_redis, check_provider, check_disk, check_api)
    return checks + [check(settings) for check in asked]


def _check_database(settings: Settings) -> list[Check]:
    """Check the database, its migrations, and its rows about dispatcher, workers and account."""
    try:
        url = settings.get_database_url()
    except InvalidInput as error:
        return [Check("database", "failed", str(error), "start `rushes up` in this folder, or set RUSHES_DATABASE_URL")]
    engine = open_engine(url, pool_size=1, application="rushes-doctor")
    try:
        return _read_database(engine, settings, place=name_place(url))
    finally:
        engine.dispose()


def _read_database(engine: Engine, settings: Settings, *, place: str) -> list[Check]:
    advice = "start it, and check that RUSHES_DATABASE_URL names it with the right user and password"
    sessions = open_sessions(engine)
    try:
        seen = ReadinessProbe(sessions).check(seconds=DATABASE_SECONDS)
    except (SQLAlchemyError, DatabaseAway) as error:
        words = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        return [Check("database", "failed", f"{place}: {words}", advice)]
    if not seen.reachable:
        return [Check("database", "failed", f"{place} cannot be reached", advice)]
    reached = Check("database", "ok", f"{place} answers")
    if not seen.migrated:
        found = f"at {seen.migration}" if seen.migration else "empty"
        message = f"the database is {found}, this version needs {EXPECTED_MIGRATION}"
        return [
            reached,
            Check("migrations", "failed", message, "run `alembic upgrade head` (`rushes up` does this itself)"),
        ]
    migrated = Check("migrations", "ok", f"at {seen.migration}")
    return [reached, migrated, *judge_health(seen), check_webhooks(settings, sessions)]


def judge_health(seen: Readiness) -> list[Check]:
    """Judge from the rows the dispatcher, the workers, the account, and the work that is due."""
    checks = [
        _judge_dispatcher(seen),
        _judge_workers(seen),
        _judge_account(seen),
        _judge_lag(seen),
        _judge_ledger(seen),
        _judge_unconfirmed(seen),
        _judge_outputs(seen),
    ]
    return checks + ([_judge_batches(seen)] if seen.health.batches_at_risk else [])


def _judge_dispatcher(seen: Readiness) -> Check:
    health = seen.health
    if health.leader:
        return Check("dispatcher", "ok", f"{health.leader} leads")
    if health.workers and (health.leaderless_seconds or 0) > STOPPED_SECONDS:
        message = f"nobody has led for {health.leaderless_seconds:,.0f} s although workers live, so jobs wait"
        advice = "search for `dispatcher.` in the logs of the workers that consume `submit`, and restart those workers"
        return Check("dispatcher", "failed", message, advice)
    if health.workers and health.leaderless_seconds is not None:
        return Check("dispatcher", "warning", "nobody leads yet", "check again in ten seconds")
    return Check("dispatcher", "failed", "nobody leads, so jobs wait", START)


def _judge_workers(seen: Readiness) -> Check:
    if seen.health.workers:
        return Check("workers", "ok", f"{seen.health.workers} seen in the last 15 s")
    return Check("workers", "failed", "none seen in the last 15 s", START)


def _judge_account(seen: Readiness) -> Check:
    health = seen.health
    if health.paused:
        advice = (
            "after a restore it resumes by itself once no unknown prediction may belong to one of your jobs; otherwise "
            "run `rushes account resume`"
        )
        return Check("account", "warning", f"is paused ({health.paused})", advice)
    if not health.back_off:
        return Check("account", "ok", "takes submissions")
    if (health.back_off_seconds or 0) > STUCK_SECONDS:
        message = f"has taken no submission for {(health.back_off_seconds or 0) / 60:,.0f} min ({health.back_off})"
        advice = "it does not recover by itself: see the provider check, and fix the key, credit or rate"
        return Check("account", "failed", message, advice)
    advice = "jobs wait until the provider accepts them again; see the provider check"
    return Check("account", "warning", f"takes no submissions now ({health.back_off})", advice)


def _judge_lag(seen: Readiness) -> Check:
    message = f"the most overdue row is {seen.health.lag_seconds:,.0f} s late"
    if seen.health.lag_seconds <= LAG_SECONDS:
        return Check("lag", "ok", message)
    advice = "check that every queue has a live worker (`store` has its own), and add workers if the lag keeps growing"
    return Check("lag", "warning", message, advice)


def _judge_batches(seen: Readiness) -> Check:
    message = f"{seen.health.batches_at_risk:,} likely to miss their deadline"
    advice = (
        "`rushes batch show` forecasts the end of each; give the next such batch a higher --priority, or raise the "
        "account's limits"
    )
    return Check("batches", "warning", message, advice)


def _judge_ledger(seen: Readiness) -> Check:
    if not seen.health.duplicates:
        late = f"; {seen.health.stale_writes:,} stale write(s) so far, which changed nothing"
        return Check("ledger", "ok", f"there are no duplicate purchases{late}")
    message = f"{seen.health.duplicates:,} duplicate purchase(s) in seven days: each paid for in addition to another"
    advice = "raise RUSHES_LIST_LAG_SECONDS or RUSHES_FREEZE_ALLOWANCE_SECONDS; `rushes audit` names them"
    return Check("ledger", "warning", message, advice)


def _judge_unconfirmed(seen: Readiness) -> Check:
    health = seen.health
    if health.foreign:
        message = (
            f"the provider's list shows none of our predictions, so {health.foreign:,} submission(s) and render(s) wait"
        )
        advice = "check whether WAVESPEED_API_KEY belongs to another account; if not, decide with `rushes unconfirmed`"
        return Check("unconfirmed", "failed", message, advice)
    if not health.unconfirmed:
        return Check("unconfirmed", "ok", "the outcome of every submission is known")
    seconds = health.oldest_unconfirmed_seconds or 0
    message = f"{health.unconfirmed:,} unconfirmed submission(s), the oldest for {seconds:,.0f} s"
    if seconds <= UNCONFIRMED_SECONDS:
        return Check("unconfirmed", "ok", message)
    return Check("unconfirmed", "warning", message, "`rushes unconfirmed list` shows what they wait for")


def _judge_outputs(seen: Readiness) -> Check:
    if seen.outage is None:
        return Check("outputs", "ok", "no outage of the output host is known")
    advice = (
        "nothing is lost and no job fails: all downloads continue once one succeeds. If the outage lasts, check "
        "whether the host answers from this machine (proxy, firewall, DNS), and whether the provider reports an "
        "incident"
    )
    return Check("outputs", "failed", describe_outage(seen.outage), advice)


def check_redis(settings: Settings) -> Check:
    """Check that Redis answers and evicts no keys."""
    try:
        url = settings.get_redis_url()
    except InvalidInput as error:
        return Check("redis", "failed", str(error), "start `rushes up` in this folder, or set RUSHES_REDIS_URL")
    if fault := find_broker_fault(url):
        return Check("redis", "failed", fault.message, fault.advice)
    return Check("redis", "ok", f"{name_broker(url)} answers and evicts no keys")


def check_provider(settings: Settings) -> Check:
    """Check that the provider accepts the key and the account has money."""
    place = settings.wavespeed_url
    if settings.wavespeed_api_key is None:
        advice = "set WAVESPEED_API_KEY to render for real; without it `rushes up` uses the simulator"
        return Check("provider", "warning", "no WAVESPEED_API_KEY is set", advice)
    try:
        balance = _ask_balance(settings.wavespeed_url, settings.wavespeed_api_key.get_secret_value())
    except KeyRefused as error:
        return Check("provider", "failed", f"{place} refuses the key: {error}", "put a valid key in WAVESPEED_API_KEY")
    except NoCredit as error:
        return Check("provider", "failed", str(error), "top up the account")
    except (RushesError, ValueError) as error:
        return Check("provider", "failed", f"{place}: {error}", "check RUSHES_WAVESPEED_URL and the network")
    if balance <= 0:
        return Check("provider", "failed", f"{place}: the account has ${balance:.2f} left", "top up the account")
    status: Status = "ok" if balance >= SCARCE_DOLLARS else "warning"
    advice = "" if status == "ok" else "top up the account soon"
    return Check("provider", status, f"{place} accepts the key; ${balance:,.2f} left", advice)


def _ask_balance(url: str, key: str) -> Decimal:
    client = WaveSpeedClient(url, key, timeouts=Timeouts(read=PROVIDER_SECONDS, total=PROVIDER_SECONDS))
    try:
        return client.get_balance()
    finally:
        client.close()


def check_disk(settings: Settings) -> Check:
    """Check that videos can be written, and how much space is left."""
    folder = settings.get_artifacts_folder()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(b"x")
        free = shutil.disk_usage(there).free
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return Check("disk", "failed", f"{folder}: {reason}", "set RUSHES_ARTIFACTS_URL to another folder")
    message = f"{free / 10**9:,.1f} GB free for {folder}"
    if free < EXHAUSTED_BYTES:
        return Check("disk", "failed", message, "free space: storing stops when the disk is full")
    if free < SCARCE_BYTES:
        return Check("disk", "warning", message, "make room soon")
    return Check("disk", "ok", message)


def check_api(settings: Settings) -> Check:
    """Check that the API at RUSHES_URL accepts jobs."""
    try:
        with ApiClient(settings.url) as client:
            readiness = client.get_readiness()
    except CommandError as error:
        return Check("api", "failed", str(error), error.hint)
    if readiness.get("status") != "ready":
        return Check(
            "api", "failed", f"{settings.url} is not ready to accept jobs", "see the checks of database and migrations"
        )
    return Check("api", "ok", f"{settings.url} accepts jobs")
