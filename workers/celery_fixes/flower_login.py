"""Flower's login for all of its pages: Flower itself leaves `/metrics` and `/healthcheck` open."""

import sys
from typing import Any


def require_login() -> None:
    """Ask for the login there, too. Does nothing in a process without Flower, which the `celery` command imports."""
    monitor: Any = sys.modules.get("flower.views.monitor")
    if monitor is not None:
        monitor.Metrics.prepare = monitor.Healthcheck.prepare = _check_login


def _check_login(handler: Any) -> None:
    handler.get_current_user()  # raises status 401 without the right login
