"""The doctor's checks. Each one is a function that returns its finding and never raises."""

import shutil
import tempfile
from collections.abc import Callable
from decimal import Decimal

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from cli.api import open_api
from cli.doctor.health import Check, Status, check_webhooks, judge_health
from models.db.errors import DatabaseAway
from models.db.session import is_on_reserve, open_sessions
from models.queries.health import EXPECTED_MIGRATION
from rushes.errors import InvalidInput, RushesError
from rushes.monitoring.broker import find_broker_fault, name_broker
from rushes.network import find_proxy, trust_authorities
from rushes.readiness import ReadinessProbe
from rushes.runtime import open_operator_database
from rushes.settings import Settings, load_settings
from rushes.wavespeed.answers import KeyRefused, NoCredit
from rushes.wavespeed.client import Timeouts, WaveSpeedClient
from rushes_client.errors import ClientError
from stack.migrations import name_place

SCARCE_BYTES = 5 * 10**9
EXHAUSTED_BYTES = 500 * 10**6
SCARCE_DOLLARS = 1
DATABASE_SECONDS = 10
PROVIDER_SECONDS = 15


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
    engine = open_operator_database(settings, application="doctor")
    try:
        return _read_database(engine, settings, place=name_place(url))
    finally:
        engine.dispose()


def _read_database(engine: Engine, settings: Settings, *, place: str) -> list[Check]:
    advice = "start it, and check that RUSHES_DATABASE_URL names it with the right user and password"
    sessions = open_sessions(engine)
    try:
        seen = ReadinessProbe(sessions).check(seconds=DATABASE_SECONDS)
        is_full = seen.reachable and is_on_reserve(engine)
    except (SQLAlchemyError, DatabaseAway) as error:
        words = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        return [Check("database", "failed", f"{place}: {words}", advice)]
    if not seen.reachable:
        return [Check("database", "failed", f"{place}: {seen.problem or 'it does not answer'}", advice)]
    reached = Check("database", "ok", f"{place} answers")
    if is_full:
        advice = "close connections of other programs, raise max_connections, or lower RUSHES_DATABASE_CONNECTIONS"
        message = f"{place} has no free connection for the API and the workers; a reserved one answers"
        reached = Check("database", "failed", message, advice)
    if not seen.migrated:
        found = f"at {seen.migration}" if seen.migration else "empty"
        message = f"the database is {found}, this version needs {EXPECTED_MIGRATION}"
        return [
            reached,
            Check("migrations", "failed", message, "run `alembic upgrade head` (`rushes up` does this itself)"),
        ]
    migrated = Check("migrations", "ok", f"at {seen.migration}")
    return [reached, migrated, *judge_health(seen), check_webhooks(settings, sessions)]


def check_redis(settings: Settings) -> Check:
    """Check that Redis answers and evicts no keys."""
    try:
        url = settings.get_redis_url()
    except InvalidInput as error:
        return Check("redis", "failed", str(error), "start `rushes up` in this folder, or set RUSHES_REDIS_URL")
    if fault := find_broker_fault(url, ca_file=settings.ca_file):
        return Check("redis", "failed", fault.message, fault.advice)
    return Check("redis", "ok", f"{name_broker(url)} answers and evicts no keys")


def check_provider(settings: Settings) -> Check:
    """Check that the provider accepts the key and the account has money."""
    place = settings.wavespeed_url
    if settings.wavespeed_api_key is None:
        advice = "set WAVESPEED_API_KEY to render for real; without it `rushes up` uses the simulator"
        return Check("provider", "warning", "no WAVESPEED_API_KEY is set", advice)
    try:
        balance = _ask_balance(settings, settings.wavespeed_api_key.get_secret_value())
    except KeyRefused as error:
        return Check("provider", "failed", f"{place} refuses the key: {error}", "put a valid key in WAVESPEED_API_KEY")
    except NoCredit as error:
        return Check("provider", "failed", str(error), "top up the account")
    except (RushesError, ValueError) as error:
        advice = "check the network, RUSHES_WAVESPEED_URL and the provider's status page; Rushes keeps trying"
        return Check("provider", "failed", f"{place}: {error}", advice)
    if balance <= 0:
        return Check("provider", "failed", f"{place}: the account has ${balance:.2f} left", "top up the account")
    status: Status = "ok" if balance >= SCARCE_DOLLARS else "warning"
    advice = "" if status == "ok" else "top up the account soon"
    return Check("provider", status, f"{place} accepts the key; ${balance:,.2f} left", advice)


def _ask_balance(settings: Settings, key: str) -> Decimal:
    url, timeouts = settings.wavespeed_url, Timeouts(read=PROVIDER_SECONDS, total=PROVIDER_SECONDS)
    tls = trust_authorities(settings.ca_file)
    client = WaveSpeedClient(url, key, timeouts=timeouts, tls=tls, proxy=find_proxy(url))
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
        with open_api(settings) as client:
            readiness = client.get_readiness()
    except ClientError as error:
        return Check("api", "failed", str(error), error.hint)
    if readiness.get("status") != "ready":
        said = f"{client.url} is not ready to accept jobs"
        return Check("api", "failed", said, "see the checks of database and migrations")
    return Check("api", "ok", f"{client.url} accepts jobs")
