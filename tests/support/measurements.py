"""A made-up measurement."""

from bench.arithmetic import Figures
from bench.storing import RATIO

FIGURES = Figures(
    renders=1_000,
    unseen=0,
    seconds=250.0,
    known_seconds=248.0,
    watching_requests=21.8,
    mean_delay=0.51,
    p95_delay=0.97,
    slot_share=0.954,
    most_unfinished=100,
    requests={"result": 21.8, "submit": 1.0},
    cpu_ms={"worker": 12.0, "store worker": 13.0, "Postgres": 7.0, "Redis": 1.0},
    memory_mb={"worker": 100.0, "store worker": 50.0, "Postgres": 80.0},
    simulator_cores=0.1,
    extra={"API errors": 0, RATIO: 1.1},
)
"""Of one contestant under one load."""
