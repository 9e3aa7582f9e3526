"""A container's health check. It exits with 0 while a worker on this host shows signs of life.

Run it with `python -m workers.supervision.healthcheck`.
"""

import socket
import sys

from models.db.session import open_sessions, transaction
from models.queries.health import count_workers_on
from rushes.runtime import open_operator_database
from rushes.settings import load_settings


def main() -> int:
    """Return 0 if a worker on this host was seen in the last 15 seconds, else 1."""
    engine = open_operator_database(load_settings(), application="health")
    try:
        with transaction(open_sessions(engine)) as session:
            alive = count_workers_on(session, socket.gethostname())
    finally:
        engine.dispose()
    return 0 if alive else 1


if __name__ == "__main__":
    sys.exit(main())
